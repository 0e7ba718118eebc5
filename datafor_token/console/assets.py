"""The stylesheet, the script and the icon: the only files that a page loads, and the only cached responses."""

import hashlib
from pathlib import Path

from flask import Response

from datafor_token.console.blueprint import blueprint
from datafor_token.errors import NotFound

_TYPES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
_CONTENT = {name: (Path(__file__).parent / "static" / name).read_bytes() for name in _TYPES}
# A part of the URLs, so that browsers load the files of a new version.
VERSION = hashlib.sha256(b"\0".join(_CONTENT.values())).hexdigest()[:12]


@blueprint.get("/assets/<version>/<name>")
def asset(version: str, name: str) -> Response:
    """Return one of the files. The URL of another version is 404: browsers would cache the wrong content."""
    if version != VERSION or name not in _CONTENT:
        raise NotFound("not found")
    response = Response(_CONTENT[name], mimetype=_TYPES[name])
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
