"""For gunicorn and the flask command: ``wsgi:app``."""

import sys

from datafor_token import create_app
from datafor_token.errors import StoreNotReady

try:
    app = create_app()
except StoreNotReady as error:
    sys.stderr.write(f"{error}\n")
    # As commands end in an outage.
    sys.exit(3)
