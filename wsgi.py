"""WSGI application for gunicorn and the flask command: ``wsgi:app``."""

import sys

from datafor_token import create_app
from datafor_token.errors import StoreNotReady

try:
    app = create_app()
except StoreNotReady as error:
    sys.stderr.write(f"{error}\n")
    # The exit status of commands in an outage.
    sys.exit(3)
