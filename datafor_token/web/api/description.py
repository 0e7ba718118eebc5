"""The calls, described: for programs as OpenAPI 3.1, for people as a page that shows it.

The page is Swagger UI, whose files lie in the package flask-swagger-ui; nothing comes from another host.
"""

import importlib.resources
import json
import re
from pathlib import Path

from flask import Blueprint, Response, abort, current_app
from werkzeug.routing import Rule

from datafor_token.web.api.paths import root_path
from datafor_token.web.openapi.calls import CALLS, DOCS_FILES
from datafor_token.web.openapi.document import Route, described
from datafor_token.web.services import services

blueprint = Blueprint("description", __name__)
_OURS = Path(__file__).parent.parent / "openapi" / "page"
_SWAGGER_UI = importlib.resources.files("flask_swagger_ui") / "dist"
# All that the page needs. Its pictures are data: URLs within its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MADE = "datafor_token.description"


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The description of all calls, in OpenAPI 3.1."""
    servers = json.dumps([{"url": root_path() or "/"}]).encode()
    return Response(b'{"servers":' + servers + b"," + _description()[1:], content_type="application/json")


@blueprint.get("/docs")
def docs() -> Response:
    """The same as a page to read and to try the calls on."""
    return _page((_OURS / "index.html").read_bytes(), "text/html; charset=utf-8")


@blueprint.get("/docs/<file>")
def docs_file(file: str) -> Response:
    """A file of that page."""
    if file not in DOCS_FILES:
        abort(404)
    folder = _OURS if (_OURS / file).is_file() else _SWAGGER_UI
    return _page((folder / file).read_bytes(), DOCS_FILES[file])


def _page(content: bytes, content_type: str) -> Response:
    return Response(content, content_type=content_type, headers={"Content-Security-Policy": _POLICY})


def _description() -> bytes:
    """Made once for each application, which is what a worker process has one of."""
    made: dict[str, bytes] = current_app.extensions
    if _MADE not in made:
        # The console's pages are for people: no client calls them.
        rules = [_route(rule) for rule in current_app.url_map.iter_rules() if not rule.endpoint.startswith("console.")]
        found = described(rules, CALLS)
        made[_MADE] = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    return made[_MADE]


def _route(rule: Rule) -> Route:
    path = re.sub("<([a-z]+)>", r"{\1}", rule.rule.removeprefix(services().settings.url_prefix))
    methods = None if rule.methods is None else rule.methods - {"HEAD"}
    says = current_app.view_functions[rule.endpoint].__doc__ or ""
    return Route(path, methods, rule.endpoint, says)
