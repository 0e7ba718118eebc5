"""The blueprint of all pages, with the security headers of their responses."""

from flask import Blueprint, Response

from datafor_token.web import compression

blueprint = Blueprint("console", __name__, template_folder="templates")
compression.init_blueprint(blueprint)

# Nothing from other hosts, nothing inline, never inside a frame.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


@blueprint.after_request
def _add_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    # With no-referrer, browsers would send forms with `Origin: null`, as they do for another site.
    response.headers["Referrer-Policy"] = "same-origin"
    if response.status_code == 401:
        # RFC 9110 section 15.5.2 requires a challenge; for Basic, browsers would open a password dialog.
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="datafor_token"')
    return response
