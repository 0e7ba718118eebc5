"""The guide at ``/docs/guide``: the pages of the folder ``docs``, for anyone.

The pages are rendered when they are first asked for, once in each process.
"""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, abort, current_app, render_template
from markupsafe import Markup

from datafor_token.errors import NotFound
from datafor_token.gate import forwarded
from datafor_token.web import compression
from datafor_token.web.api.paths import root_path
from datafor_token.web.current import current
from datafor_token.web.guide import pages
from datafor_token.web.guide.pages import Guide, Page
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.responses import revalidated

blueprint = Blueprint("guide", __name__, template_folder="../guide/templates")
compression.init_blueprint(blueprint)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML = "text/html; charset=utf-8"
# In the extensions of the application: the guide, and its pages as they are sent, by name.
_GUIDE, _PAGES = "datafor_token.guide", "datafor_token.guide_pages"


@blueprint.get("/docs/guide")
@Call(
    id="show_guide",
    access=Access.ANYONE,
    response=None,
    content_types=("text/html",),
    statuses=(200, 304),
    headers=("ETag",),
    stateless=True,
)
def index() -> Response:
    """Show the first page of the guide."""
    return _page(pages.INDEX)


@blueprint.get("/docs/guide/")
@Call(
    id="redirect_guide",
    access=Access.ANYONE,
    response=None,
    content_types=("text/html",),
    statuses=(308,),
    headers=("Location",),
    stateless=True,
)
def index_with_slash() -> Response:
    """Redirect to `/docs/guide`, to which the links of the page are relative."""
    return Response(status=308, headers={"Location": "../guide"})


@blueprint.get("/docs/guide/<page>")
@Call(
    id="show_guide_page",
    access=Access.ANYONE,
    parameters=({"name": "page", "in": "path", "required": True, "schema": {"type": "string"}},),
    response=None,
    content_types=("text/html", *pages.PICTURE_TYPES.values()),
    statuses=(200, 304),
    headers=("ETag",),
    errors=(NotFound,),
    stateless=True,
)
def page(page: str) -> Response:
    """Show a page of the guide, or get one of its pictures."""
    picture = _guide().pictures.get(page)
    if picture is not None:
        return revalidated(picture.read_bytes(), pages.PICTURE_TYPES[picture.suffix], _POLICY)
    if page == pages.INDEX:
        # Its links are relative to the address above.
        abort(404)
    return _page(page)


def error_response(status: int, message: str, members: Mapping[str, Any]) -> Response | None:
    """Return the page for an error in a browser, or ``None`` for the usual envelope."""
    del members
    if not forwarded.accepts_html(current().environ):
        return None
    title = "Page not found" if status == NotFound.status else "Error"
    content = Markup("<h1>{title}</h1>\n<p>{status}: {message}</p>\n").format(
        title=title, status=status, message=message
    )
    shown = _in_layout(Page("", title, content, ()), f"{root_path()}/docs/")
    return Response(shown, status, content_type=_HTML, headers={"Content-Security-Policy": _POLICY})


def _page(name: str) -> Response:
    shown: dict[str, bytes] = current_app.extensions.setdefault(_PAGES, {})
    if name not in shown:
        found = _guide().page(name)
        if found is None:
            abort(404)
        shown[name] = _in_layout(found, pages.docs_of(name))
    return revalidated(shown[name], _HTML, _POLICY)


def _in_layout(shown: Page, docs: str) -> bytes:
    """Return a whole page; ``docs`` is the URL of ``/docs/``."""
    return render_template("guide/page.html", page=shown, guide=_guide(), docs=docs).encode()


def _guide() -> Guide:
    guide: Guide = current_app.extensions.setdefault(_GUIDE, Guide(pages.folder()))
    return guide
