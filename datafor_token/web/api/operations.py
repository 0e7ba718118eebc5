"""Calls for whoever watches the service."""

from flask import Blueprint, Response

from datafor_token.errors import Forbidden
from datafor_token.web.current import current
from datafor_token.web.proxies import is_directly_from
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("operations", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 while the process answers; the store is not touched."""
    return success()


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 while the store can be read; the body says whether it can be written too."""
    return success(readable=True, writable=services().readiness.writable())


@blueprint.get("/metrics")
def metrics() -> Response:
    """What is counted, in the text format of Prometheus or as OpenMetrics, for the networks of ``METRICS_ALLOW``."""
    if not is_directly_from(services().settings.metrics_allow):
        raise Forbidden
    text, content_type = services().metrics.exposition(current().headers.get("Accept", ""))
    return Response(text, content_type=content_type)
