"""What stands between a client and this service: believed proxies, and pages of other origins (CORS)."""

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.sansio.utils import host_is_trusted

from datafor_token.errors import Forbidden
from datafor_token.validation import addresses, logs
from datafor_token.web.current import current
from datafor_token.web.services import services

log = logging.getLogger(__name__)

_FORWARDING = ("x-real-ip", "via", "cf-connecting-ip", "x-envoy-external-address", "x-proxyuser-ip")
# What every proxy in use sends at least one of, as WSGI calls it.
_COMMON_FORWARDING = frozenset({"HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP"})
_FORWARDING_PARTS = ("forwarded", "x-original-", "client-ip")
_METHODS, _HEADERS = "GET, POST", "Authorization, Content-Type"
_PREFLIGHT_SECONDS = 600
_PAGES = "console"
_FOR_OPERATIONS = ("operations.healthz", "operations.readyz", "operations.metrics")


def init_app(app: Flask) -> None:
    """Believe as many proxies as the settings say, and answer the pages of the origins that they name."""
    with app.app_context():
        settings = services().settings
    trusted = settings.trusted_proxies
    app.wsgi_app = _prepared(app.wsgi_app)  # type: ignore[method-assign, assignment]
    if trusted:
        # Our own reading of these headers would be one more way to get the counting wrong. X-Forwarded-Prefix is only
        # believed on demand: few proxies remove it from what a client sent.
        prefixes = trusted if settings.trust_forwarded_prefix else 0
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=trusted, x_proto=trusted, x_host=trusted, x_prefix=prefixes
        )
    else:
        app.before_request(_Warning())
    if settings.trusted_hosts:
        app.before_request(_check_host)
    if settings.cors_origins:
        app.before_request(_preflight)
        app.after_request(_allow_origin)


def is_forwarded() -> bool:
    """Whether the request says that a proxy sent it on; such a one is never local, believed or not."""
    names = [name.lower() for name, _ in current().headers]
    return any(name in _FORWARDING or any(part in name for part in _FORWARDING_PARTS) for name in names)


def is_directly_from(networks: Sequence[str]) -> bool:
    """Whether the request comes from one of the networks (such as ``10.0.0.0/8``), and no proxy sent it on."""
    if is_forwarded():
        return False
    # Who is at the other end, whatever a believed proxy says of others.
    environ = current().environ
    original = environ.get("werkzeug.proxy_fix.orig", {})
    address = addresses.parse(original.get("REMOTE_ADDR") or environ.get("REMOTE_ADDR", ""))
    # A socket in the file system has no address.
    return address is not None and any(address in ipaddress.ip_network(network) for network in networks)


def _prepared(application: WSGIApplication) -> WSGIApplication:
    """Give the application a normalized client address, and no WebSocket handshake.

    A proxy may ask about a handshake, and no call here speaks WebSocket: it is answered like any request.
    """

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.pop("HTTP_UPGRADE", None)
        # Here, so that the log, the audit and the throttle cannot differ.
        environ["REMOTE_ADDR"] = addresses.normalize(environ.get("REMOTE_ADDR", ""))
        return application(environ, start_response)

    return wrapped


class _Warning:
    """Says once, in each worker, that a proxy is there and not believed."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self) -> None:
        if not self._said and not _COMMON_FORWARDING.isdisjoint(current().environ):
            self._said = True
            advice = "set TRUSTED_PROXIES if a proxy of yours sends these headers"
            log.warning(logs.event(event="forwarding headers are not believed", advice=advice))


def _check_host() -> None:
    """Refuse requests for another host (``TRUSTED_HOSTS``): 403, which the check may answer too.

    Probes and Prometheus ask an address, not a host name.
    """
    request = current()
    if request.endpoint in _FOR_OPERATIONS:
        return
    if not host_is_trusted(request.host.lower(), services().settings.trusted_hosts):
        raise Forbidden("this host is none of TRUSTED_HOSTS")


def _preflight() -> Response | None:
    """What a browser asks before it lets another origin's page call (Fetch standard, CORS-preflight fetch)."""
    request = current()
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers or not _origin():
        return None
    if request.endpoint == "gate.check":
        # That is a question about another application's preflight: a 204 would let it in.
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = _METHODS
    response.headers["Access-Control-Allow-Headers"] = _HEADERS
    response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return response


def _allow_origin(response: Response) -> Response:
    response.headers.add("Vary", "Origin")
    if _origin():
        response.headers["Access-Control-Allow-Origin"] = _origin()
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = "X-Request-ID, Retry-After"
    return response


def _origin() -> str:
    request = current()
    if request.blueprint == _PAGES:
        # What stands in the console's pages is for whoever looks at them, not for another origin's script.
        return ""
    origin = request.headers.get("Origin", "")
    return origin if origin in services().settings.cors_origins else ""
