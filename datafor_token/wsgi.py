"""WSGI application for a server: ``datafor_token.wsgi:app``."""

import sys

from datafor_token.errors import StoreNotReady
from datafor_token.factory import create_app

try:
    app = create_app()
except StoreNotReady as error:
    sys.stderr.write(f"{error}\n")
    # The exit status of commands in an outage.
    sys.exit(3)
