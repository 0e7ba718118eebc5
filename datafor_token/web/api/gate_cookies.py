"""Cookie of the gate: setting it, and ending its session."""

from typing import Any

from flask import Response

from datafor_token.web.auth import GATE_COOKIE, gate_cookies
from datafor_token.web.current import current
from datafor_token.web.services import services


def set_gate_cookie(response: Response, cookie: str) -> None:
    """Set the cookie for all paths of this host."""
    response.set_cookie(GATE_COOKIE, cookie, **_attributes())


def end_gate_session(response: Response) -> None:
    """End the gate session of the request, if any, and clear the cookie."""
    found = gate_cookies()
    for cookie in found:
        services().gate.leave(cookie)
    if GATE_COOKIE in current().cookies:
        response.delete_cookie(GATE_COOKIE, **_attributes())


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
