"""API calls for monitoring: liveness, readiness and metrics."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from datafor_token.errors import Drained, Forbidden, MetricsUnavailable
from datafor_token.requests.schemas import ReadySchema
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.response_schemas import NotReadyResponse, ReadyResponse
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
    query=ReadySchema,
    response=ReadyResponse,
    errors=(Drained,),
    error_responses={503: NotReadyResponse},
)
def readyz(query: Mapping[str, Any]) -> Response:
    """Get whether the store can be read, within half a second.

    The response states whether a change could be stored too; with `write=1` it is 503 if not. To the networks of
    `METRICS_ALLOW`, it also describes the node. A node that drains is 503 with `draining`.
    """
    if services().draining.is_on():
        raise Drained
    unwritable = services().readiness.unwritable()
    if unwritable is None:
        return success(readable=True, writable=True, **_describe_node())
    if query["write"]:
        raise unwritable
    return success(readable=True, writable=False, reason=unwritable.public_reason, **_describe_node())


def _describe_node() -> dict[str, Any]:
    """Return the members that describe this node, as the metrics do; none for a client who may not read those."""
    if not is_directly_from(services().settings.metrics_allow):
        return {}
    return services().node.to_response(services().store)


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
