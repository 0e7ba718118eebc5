"""Cookie of the gate: setting it, and ending its session."""

from typing import Any

from flask import Response

from datafor_token.web import cookies
from datafor_token.web.auth import GATE_COOKIE, all_gate_cookies, gate_cookie_domain
from datafor_token.web.current import current
from datafor_token.web.services import services


def set_gate_cookie(response: Response, cookie: str) -> None:
    """Set the cookie for all paths of this host, or of all hosts of ``GATE_COOKIE_DOMAIN``."""
    domain = gate_cookie_domain()
    response.set_cookie(GATE_COOKIE, cookies.marked(cookie, domain), domain=domain, **_attributes())


def end_gate_session(response: Response) -> None:
    """End the gate sessions of the request, if any, and clear the cookie of this host, and that of the domain."""
    for cookie in all_gate_cookies():
        services().gate.leave(cookie)
    if GATE_COOKIE in current().cookies:
        # Both, since the setting may have changed after the cookie was set.
        for domain in {None, gate_cookie_domain()}:
            response.delete_cookie(GATE_COOKIE, domain=domain, **_attributes())


def _attributes() -> dict[str, Any]:
    samesite = services().settings.gate_samesite
    across_sites = samesite == "None"
    return {
        "path": "/",
        "httponly": True,
        "samesite": samesite,
        # Browsers accept SameSite=None only with Secure, and store a partitioned cookie per embedding site.
        "secure": across_sites or current().is_secure,
        "partitioned": across_sites,
    }
