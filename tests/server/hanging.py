"""A WSGI application whose requests hang while the file ``HANG`` of the environment exists, except /healthz."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

_FILE = Path(os.environ["HANG"])


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond when the file does not exist."""
    while environ["PATH_INFO"] != "/healthz" and _FILE.exists():
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
