"""Trusted proxies, and requests from pages of other origins (CORS)."""

import functools
import logging
from collections.abc import Iterable, Sequence
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response
from werkzeug.http import parse_list_header
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.sansio.utils import host_is_trusted

from datafor_token.errors import Forbidden, Message
from datafor_token.settings import Settings
from datafor_token.tokens.networks import Client
from datafor_token.validation import addresses, logs
from datafor_token.web.current import current
from datafor_token.web.services import services

log = logging.getLogger(__name__)

_FORWARDING = ("x-real-ip", "via", "cf-connecting-ip", "x-envoy-external-address", "x-proxyuser-ip")
# Every common proxy sends at least one of these; names as in WSGI.
_COMMON_FORWARDING = frozenset({"HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP"})
_FORWARDING_PARTS = ("forwarded", "x-original-", "client-ip")
_METHODS, _HEADERS = "GET, POST", "Authorization, Content-Type"
_PREFLIGHT_SECONDS = 600
_PAGES = "console"
_FOR_OPERATIONS = ("operations.healthz", "operations.readyz", "operations.metrics")


def init_app(app: Flask, settings: Settings) -> None:
    """Trust as many proxies as the settings state, and let pages of the configured origins call."""
    trusted = settings.trusted_proxies
    app.wsgi_app = _normalized(app.wsgi_app)  # type: ignore[method-assign, assignment]
    if trusted:
        # Werkzeug parses these headers: our own parser would be one more place to count the proxies wrongly. Few
        # proxies remove an X-Forwarded-Prefix that a client sent, so it has a setting of its own.
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
    """Return whether a header shows that a proxy, trusted or not, passed the request on."""
    return _is_from_proxy(tuple(current().environ))


@functools.lru_cache(maxsize=256)
def _is_from_proxy(names: tuple[str, ...]) -> bool:
    # Cached: each client sends the same headers again and again, and looking through them takes 15 us.
    if not _COMMON_FORWARDING.isdisjoint(names):
        return True
    headers = [name[5:].replace("_", "-").lower() for name in names if name.startswith("HTTP_")]
    return any(name in _FORWARDING or any(part in name for part in _FORWARDING_PARTS) for name in headers)


def client() -> Client:
    """Return the client of the request, whose address is not known if the proxies are others than the settings say."""
    request, trusted = current(), services().settings.trusted_proxies
    address = request.remote_addr or ""
    if is_forwarded():
        if not trusted:
            return Client(address, Message("a proxy sent the request, and TRUSTED_PROXIES is 0"))
        header = request.environ.get("HTTP_X_FORWARDED_FOR", "")
        added = [entry.strip(' \t"') for entry in header.split(",")[-trusted:]]
        if len(parse_list_header(header)) < trusted or not all(added):
            # Otherwise the address of a proxy, or one that the client sent, would count as the client's: Werkzeug skips
            # empty entries.
            detail = Message(
                "X-Forwarded-For has fewer addresses than TRUSTED_PROXIES says: %(number)s", number=trusted
            )
            return Client(address, detail)
    if not address:
        return Client(address, Message("the client has no IP address"))
    return Client(address)


def is_directly_from(networks: Sequence[str]) -> bool:
    """Return whether the request comes from one of the networks (such as ``10.0.0.0/8``), without a proxy."""
    if is_forwarded():
        return False
    # The address of the peer, whatever address a trusted proxy reports.
    environ = current().environ
    original = environ.get("werkzeug.proxy_fix.orig", {})
    address = addresses.parse(original.get("REMOTE_ADDR") or environ.get("REMOTE_ADDR", ""))
    # A socket in the file system has no address.
    return address is not None and any(address in addresses.parse_network(network) for network in networks)


def _normalized(application: WSGIApplication) -> WSGIApplication:
    """Normalize the client address, and handle a WebSocket handshake like any other request.

    A proxy may ask about a handshake to another application; no call of this service uses WebSocket.
    """

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.pop("HTTP_UPGRADE", None)
        # Normalized here, so that log, audit log and throttle use the same text.
        environ["REMOTE_ADDR"] = addresses.normalize(environ.get("REMOTE_ADDR", ""))
        return application(environ, start_response)

    return wrapped


class _Warning:
    """Warning, logged once in each worker, that a proxy sends headers and is not trusted."""

    def __init__(self) -> None:
        self._logged = False

    def __call__(self) -> None:
        if not self._logged and not _COMMON_FORWARDING.isdisjoint(current().environ):
            self._logged = True
            advice = "set TRUSTED_PROXIES if a proxy of yours sends these headers"
            log.warning(logs.event("forwarding headers are not trusted", advice=advice))


def _check_host() -> None:
    """Refuse requests for hosts other than ``TRUSTED_HOSTS`` with 403, which proxies accept from ``auth/check``.

    Probes and Prometheus use an address, not a host name.
    """
    request = current()
    if request.endpoint in _FOR_OPERATIONS:
        return
    if not host_is_trusted(request.host.lower(), services().settings.trusted_hosts):
        raise Forbidden("this host is not one of TRUSTED_HOSTS")


def _preflight() -> Response | None:
    """Respond to the preflight request that a browser sends before a call from another origin (Fetch standard)."""
    request = current()
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers or not _origin():
        return None
    if request.endpoint == "gate.check":
        # The proxy asks about a preflight request to another application: a 204 would let it pass.
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = _METHODS
    response.headers["Access-Control-Allow-Headers"] = _HEADERS
    response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return response


def _allow_origin(response: Response) -> Response:
    """Let the page of a configured origin read the response."""
    response.headers.add("Vary", "Origin")
    if _origin():
        response.headers["Access-Control-Allow-Origin"] = _origin()
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = "X-Request-ID, Retry-After"
    return response


def _origin() -> str:
    """Return the origin of the request if it is configured, else empty text."""
    request = current()
    if request.blueprint == _PAGES:
        # Scripts of other origins must not read the pages of the console.
        return ""
    origin = request.headers.get("Origin", "")
    return origin if origin in services().settings.cors_origins else ""
