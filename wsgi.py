"""For gunicorn and the flask command: ``wsgi:app``."""

from datafor_token import create_app

app = create_app()
