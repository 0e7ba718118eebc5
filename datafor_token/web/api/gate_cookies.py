"""Cookie of the gate: setting it, and ending its session."""

from typing import Any

from flask import Response

from datafor_token.web.auth import GATE_COOKIE, gate_cookies
from datafor_token.web.current import current
from datafor_token.web.services import services


def set_gate_cookie(response: Response, cookie: str) -> None:
    """Set the cookie for all paths of this host, or of all hosts of ``GATE_COOKIE_DOMAIN``."""
    response.set_cookie(GATE_COOKIE, cookie, domain=_domain(), **_attributes())


def end_gate_session(response: Response) -> None:
    """End the gate session of the request, if any, and clear the cookie."""
    found = gate_cookies()
    for cookie in found:
        services().gate.leave(cookie)
    if GATE_COOKIE in current().cookies:
        # Both, as the setting may have changed since the cookie was set.
        for domain in {None, _domain()}:
            response.delete_cookie(GATE_COOKIE, domain=domain, **_attributes())


def _domain() -> str | None:
    """Return ``GATE_COOKIE_DOMAIN`` if the host of the request is in it: browsers refuse another domain's cookie."""
    domain = services().settings.gate_cookie_domain
    host = current().host.partition(":")[0].lower()
    return domain if domain and (host == domain or host.endswith(f".{domain}")) else None


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
