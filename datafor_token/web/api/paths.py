"""The paths of calls: the two under which the documented product has its own, and what stands before all."""

import re
from typing import Any

from datafor_token.web.current import current
from datafor_token.web.services import services

MODELER = "/plugin/datafor-modeler/api"
EXTENSION = "/plugin/datafor/api/extension"


def proxy_prefix() -> str:
    """What a believed proxy takes away from the beginning of every path."""
    before = current().script_root
    # A header of a believed proxy, but perhaps handed on from a client: a path, or nothing.
    return before if re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", before) else ""


def root_path() -> str:
    """What browsers see before every path: what a believed proxy takes away, and ``URL_PREFIX``."""
    return f"{proxy_prefix()}{services().settings.url_prefix}"


def cookie_attributes() -> dict[str, Any]:
    """What every cookie has that is for this service's own paths alone."""
    return {"path": root_path() or "/", "httponly": True, "samesite": "Lax", "secure": current().is_secure}
