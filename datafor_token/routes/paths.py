"""The paths of calls: the two under which the documented product has its own, and what stands before all."""

import re

from flask import request

from datafor_token.services import services

MODELER = "/plugin/datafor-modeler/api"
EXTENSION = "/plugin/datafor/api/extension"


def root_path() -> str:
    """What browsers see before every path: what a believed proxy takes away, and ``URL_PREFIX``."""
    before = request.script_root
    # A header of a believed proxy, but perhaps handed on from a client: a path, or nothing.
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", before):
        before = ""
    return f"{before}{services().settings.url_prefix}"
