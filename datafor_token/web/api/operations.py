"""API calls for monitoring: liveness, readiness and metrics."""

from flask import Blueprint, Response

from datafor_token.errors import Drained, Forbidden, MetricsUnavailable
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.response_schemas import DrainedResponse, ReadyResponse
from datafor_token.web.proxies import is_directly_from
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("operations", __name__)


@blueprint.get("/healthz")
@Call(id="is_alive", access=Access.ANYONE, stateless=True)
def healthz() -> Response:
    """Get whether the process is alive.

    The store is not touched.
    """
    return success()


@blueprint.get("/readyz")
@Call(
    id="is_ready",
    access=Access.ANYONE,
    response=ReadyResponse,
    errors=(Drained,),
    error_responses={503: DrainedResponse},
)
def readyz() -> Response:
    """Get whether the store can be read.

    The response states whether it can be written too. A node that drains is 503 with `draining`.
    """
    if services().draining.is_on():
        raise Drained
    return success(readable=True, writable=services().readiness.writable())


@blueprint.get("/metrics")
@Call(
    id="get_metrics",
    access=Access.ANYONE,
    response=None,
    content_types=("text/plain", "application/openmetrics-text"),
    errors=(Forbidden, MetricsUnavailable),
    stateless=True,
)
def metrics() -> Response:
    """Get the metrics in the text format of Prometheus, or as OpenMetrics.

    Only the networks of `METRICS_ALLOW` may call.
    """
    if not is_directly_from(services().settings.metrics_allow):
        raise Forbidden
    text, content_type = services().metrics.exposition(current().headers.get("Accept", ""))
    return Response(text, content_type=content_type)
