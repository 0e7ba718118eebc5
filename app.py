"""Local server without gunicorn, for experiments: ``.venv/bin/python app.py``."""

from datafor_token import create_app

if __name__ == "__main__":
    create_app().run(host="127.0.0.1", port=28080)
