"""Local server without gunicorn, for experiments: ``.venv/bin/python app.py``."""

import logging

from datafor_token import create_app
from datafor_token.validation import logs
from datafor_token.web import hooks

if __name__ == "__main__":
    with hooks.starting():
        app = create_app()
    # The lines of Werkzeug for each request have the query string, and with it tokens.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    logs.write(logging.getLogger("datafor_token"), logging.INFO, logs.event("Listening at: http://127.0.0.1:28080"))
    app.run(host="127.0.0.1", port=28080)
