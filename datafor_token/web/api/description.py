"""OpenAPI 3.1 document of the API, and the page ``/docs`` that shows it.

The page is Swagger UI. Its files come from the package flask-swagger-ui; nothing is loaded from another host.
"""

import importlib.resources
import json
import re
from pathlib import Path

from flask import Blueprint, Response, abort, current_app
from werkzeug.routing import Rule

from datafor_token.errors import NotFound
from datafor_token.web import compression
from datafor_token.web.api.paths import root_path
from datafor_token.web.openapi.call import Access, Call, call_of
from datafor_token.web.openapi.document import Route, document
from datafor_token.web.responses import revalidated
from datafor_token.web.services import services

blueprint = Blueprint("description", __name__)
compression.init_blueprint(blueprint)
_PACKAGE = Path(__file__).parent.parent.parent
_PAGE_FOLDER = _PACKAGE / "web" / "openapi" / "page"
_SWAGGER_UI = importlib.resources.files("flask_swagger_ui") / "dist"
_CONSOLE = _PACKAGE / "console" / "static"
# The page needs nothing else. Its images are data: URLs in its stylesheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "start.js": (_PAGE_FOLDER, "text/javascript"),
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css"),
    "favicon-32x32.png": (_SWAGGER_UI, "image/png"),
    # The guide looks like the console.
    "guide.css": (_PACKAGE / "web" / "guide", "text/css"),
    "console.css": (_CONSOLE, "text/css"),
    "console.js": (_CONSOLE, "text/javascript"),
    "icon.svg": (_CONSOLE, "image/svg+xml"),
}
_DOCUMENT = "datafor_token.openapi"


@blueprint.get("/openapi.json")
@Call(id="get_description", access=Access.ANYONE, response=None, stateless=True)
def openapi() -> Response:
    """Get this OpenAPI document."""
    servers = json.dumps([{"url": root_path() or "/"}]).encode()
    return Response(b'{"servers":' + servers + b"," + _document()[1:], content_type="application/json")


@blueprint.get("/docs")
@Call(
    id="show_docs",
    access=Access.ANYONE,
    response=None,
    content_types=("text/html",),
    statuses=(200, 304),
    headers=("ETag",),
    stateless=True,
)
def docs() -> Response:
    """Show the OpenAPI document as a page on which calls can be tried."""
    content = (_PAGE_FOLDER / "index.html").read_bytes()
    return revalidated(content, "text/html; charset=utf-8", _POLICY)


@blueprint.get("/docs/")
@Call(
    id="redirect_docs",
    access=Access.ANYONE,
    response=None,
    content_types=("text/html",),
    statuses=(308,),
    headers=("Location",),
    stateless=True,
)
def docs_with_slash() -> Response:
    """Redirect to `/docs`, to which the links of the page are relative."""
    return Response(status=308, headers={"Location": "../docs"})


@blueprint.get("/docs/<file>")
@Call(
    id="get_docs_file",
    access=Access.ANYONE,
    parameters=({"name": "file", "in": "path", "required": True, "schema": {"enum": list(_FILES)}},),
    response=None,
    content_types=tuple(content_type for _, content_type in _FILES.values()),
    statuses=(200, 304),
    headers=("ETag",),
    errors=(NotFound,),
    stateless=True,
)
def docs_file(file: str) -> Response:
    """Get a file of the page `/docs` or of the guide."""
    if file not in _FILES:
        abort(404)
    folder, content_type = _FILES[file]
    return revalidated((folder / file).read_bytes(), content_type, _POLICY)


def _document() -> bytes:
    """Return the document without ``servers``, which depend on the request; built once per process."""
    cache: dict[str, bytes] = current_app.extensions
    if _DOCUMENT not in cache:
        # The console's pages are for people, not for clients of the API.
        rules = [rule for rule in current_app.url_map.iter_rules() if not rule.endpoint.startswith("console.")]
        built = document([_route(rule) for rule in rules])
        cache[_DOCUMENT] = json.dumps(built, ensure_ascii=False, separators=(",", ":")).encode()
    return cache[_DOCUMENT]


def _route(rule: Rule) -> Route:
    path = re.sub("<([a-z]+)>", r"{\1}", rule.rule.removeprefix(services().settings.url_prefix))
    methods = None if rule.methods is None else rule.methods - {"HEAD"}
    view = current_app.view_functions[rule.endpoint]
    return Route(path, methods, rule.endpoint.partition(".")[0], view.__doc__ or "", call_of(view))
