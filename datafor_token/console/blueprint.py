"""The blueprint of all pages, and the headers that keep them to themselves."""

from flask import Blueprint, Response

blueprint = Blueprint("console", __name__, template_folder="templates")

# Nothing from elsewhere, nothing inline, in nobody's frame.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


@blueprint.after_request
def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    # Not no-referrer: under that, browsers send forms with `Origin: null`, which nobody can tell from another site.
    response.headers["Referrer-Policy"] = "same-origin"
    if response.status_code == 401:
        # RFC 9110 section 15.5.2 wants one; Basic would put a password box over the page.
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="datafor_token"')
    return response
