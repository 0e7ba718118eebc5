"""The stylesheet and the script: the only files that a page loads, and the only answers that are cached."""

import hashlib
from pathlib import Path

from flask import Response

from datafor_token.console.blueprint import blueprint
from datafor_token.errors import NotFound

_TYPES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
_CONTENT = {name: (Path(__file__).parent / "static" / name).read_bytes() for name in _TYPES}
# In their addresses, so that a new version is another file.
VERSION = hashlib.sha256(b"\0".join(_CONTENT.values())).hexdigest()[:12]


@blueprint.get("/assets/<version>/<name>")
def asset(version: str, name: str) -> Response:
    """One of the files; a worker of another version must not leave its own in a cache under this address."""
    if version != VERSION or name not in _CONTENT:
        raise NotFound("not found")
    response = Response(_CONTENT[name], mimetype=_TYPES[name])
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
