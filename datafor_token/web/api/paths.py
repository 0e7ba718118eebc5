"""Path prefixes of the calls: the two documented ones, that of a reverse proxy, and the setting ``URL_PREFIX``."""

import re
from typing import Any

from datafor_token.web.current import current
from datafor_token.web.services import services

MODELER = "/plugin/datafor-modeler/api"
EXTENSION = "/plugin/datafor/api/extension"


def proxy_prefix() -> str:
    """Return the prefix that a trusted proxy removes from every path."""
    prefix = current().script_root
    # A trusted proxy may have passed on the header of a client.
    return prefix if re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix) else ""


def root_path() -> str:
    """Return the prefix of every path as browsers see it: that of the proxy, and ``URL_PREFIX``."""
    return f"{proxy_prefix()}{services().settings.url_prefix}"


def cookie_attributes() -> dict[str, Any]:
    """Return the attributes of cookies that browsers send to this service only."""
    return {"path": root_path() or "/", "httponly": True, "samesite": "Lax", "secure": current().is_secure}
