"""The paths of calls: the two under which the documented product has its own, and what stands before all."""

from flask import request

from datafor_token.services import services

MODELER = "/plugin/datafor-modeler/api"
EXTENSION = "/plugin/datafor/api/extension"


def root_path() -> str:
    """What browsers see before every path: what a believed proxy takes away, and ``URL_PREFIX``."""
    return f"{request.script_root}{services().settings.url_prefix}"
