"""Responses: the JSON envelope, error responses, common headers, and the log line of each request."""

import hashlib
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response, current_app
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException

from datafor_token.errors import (
    BodyTooLarge,
    DataforTokenError,
    Drained,
    InvalidInput,
    Message,
    NotAuthenticated,
    predicate_of,
    without_values,
)
from datafor_token.requests.schemas import field_names
from datafor_token.validation import logs
from datafor_token.validation.strict_json import compact
from datafor_token.web.current import REQUEST_ID, current
from datafor_token.web.services import services

log = logging.getLogger(__name__)
_RENDERERS = "datafor_token.error_renderers"  # in the extensions of the application

_JSON_TYPE = ("Content-Type", "application/json")
_COMMON = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
# Constant headers of most responses: our worker does not check them in each response.
FIXED_HEADERS = (_JSON_TYPE, *_COMMON)

# Messages for errors of Flask and Werkzeug.
_HTTP_MESSAGES = {404: Message("not found"), 405: Message("method not allowed"), 413: BodyTooLarge.message}
_BROKEN_BODY = Message("the request body cannot be read")
_OTHER_HTTP_MESSAGE = Message("the request cannot be read")

BODY_READ = "datafor_token.body_read"  # in the WSGI environment when the whole body was read


class ServiceResponse(Response):
    """Response that adds the common headers when it is sent, unless it has its own.

    Werkzeug's own method corrects headers such as Location, which no response of ours needs, and takes ten times as
    long.
    """

    constant_headers: Sequence[tuple[str, str]] = ()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the response (PEP 3333)."""
        headers = [*self.constant_headers, *self.headers.to_wsgi_list()]
        # The console's files have another Cache-Control, its pages another Referrer-Policy.
        present = {name for name, _ in headers}
        headers += [common for common in _COMMON if common[0] not in present]
        headers.append(("X-Request-ID", environ.get(REQUEST_ID, "")))
        # A proxy that keeps a connection to a node that drains would send its next request there.
        if _leaves_body(environ) or services().draining.is_on():
            _close_connection(start_response)
        start_response(self.status, headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return ()
        return self.iter_encoded()


def _leaves_body(environ: WSGIEnvironment) -> bool:
    """Return whether the request has a body that was not read to its end."""
    has_body = environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ
    return has_body and BODY_READ not in environ


def _close_connection(start_response: StartResponse) -> None:
    """End the connection with this response, and announce that (RFC 9112 section 9.6).

    The rest of a request body must be read before the next request. After a response that announces keep-alive,
    gunicorn reads up to 65,535 bytes of it, for up to 5 seconds, and then closes the connection: a proxy that has sent
    its next request by then reports 502.
    """
    # A WSGI application may not send the header itself (PEP 3333); this is a method of gunicorn's response.
    force_close = getattr(getattr(start_response, "__self__", None), "force_close", None)
    if force_close is not None:
        force_close()


class _Json(ServiceResponse):
    """JSON response, whose type and length are not set through Werkzeug."""

    default_mimetype = None


def success(**members: Any) -> Response:
    """Return the response of a successful call: ``success`` and these members."""
    return _json({"success": True, **members})


def revalidated(content: bytes, content_type: str, policy: str) -> Response:
    """Return a file that browsers store and ask about each time, or 304 if theirs is the same.

    ``policy`` is its Content-Security-Policy.
    """
    etag = hashlib.sha256(content).hexdigest()[:32]
    is_same = current().if_none_match.contains_weak(etag)
    response = Response(b"" if is_same else content, 304 if is_same else 200, content_type=content_type)
    response.set_etag(etag)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = policy
    if is_same:
        del response.headers["Content-Length"]
    return response


def _json(members: Mapping[str, Any], status: int = 200) -> Response:
    body = compact(members).encode() + b"\n"
    response = _Json([body], status)
    response.constant_headers = (_JSON_TYPE, ("Content-Length", str(len(body))))
    return response


def init_app(app: Flask) -> None:
    """Give each request an identifier, an error response if it fails, and a log line."""
    app.before_request(_begin)
    app.after_request(_end)
    app.register_error_handler(DataforTokenError, _refused)
    app.register_error_handler(HTTPException, _refused_by_flask)
    app.register_error_handler(ParseException, _broken_body)
    app.register_error_handler(NoMoreData, _broken_body)
    app.register_error_handler(Exception, _bug)


def _begin() -> None:
    request = current()
    # Not a secret. Python seeds the generator again in each worker.
    request.refer(f"{random.getrandbits(128):032x}")
    request.started = time.monotonic()


def _end(response: Response) -> Response:
    request = current()
    seconds = time.monotonic() - request.started
    status, rule = response.status_code, request.url_rule
    # The template of the path: the path itself can be any text of a client.
    services().metrics.request(rule.rule if rule else None, request.method, status, seconds)
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    if isinstance(request.refusal, Drained):
        # Every probe of a load balancer, until the node is stopped as its administrator wants.
        level = logging.INFO
    if log.isEnabledFor(level):
        # Without the query string, which can contain a token.
        path = logs.safe_path(request.path) if rule is None or rule.arguments else rule.rule
        line = logs.event(
            "request",
            request_id=request.id,
            method=request.method,
            path=path,
            status=status,
            ms=round(seconds * 1000),
            address=request.remote_addr or "",
            user=request.username,
            way=request.way,
            application=request.application_name,
            **_refusal_fields(request.refusal),
        )
        logs.write(log, level, line, request.refusal if status == DataforTokenError.status else None)
    return response


def _refusal_fields(error: Exception | None) -> Mapping[str, str | None]:
    """Return the fields of the log line that say why a request failed, without values that a client sent."""
    if isinstance(error, InvalidInput):
        fields = dict.fromkeys(filter(None, map(_own_field, error.errors)))
        return {"reason": without_values(predicate_of(error.message)), "fields": ",".join(fields) or None}
    if isinstance(error, DataforTokenError):
        return {"reason": error.reason or without_values(error.message), "detail": error.log_detail}
    if isinstance(error, HTTPException):
        return {"reason": _HTTP_MESSAGES.get(error.code or 500, _OTHER_HTTP_MESSAGE)}
    if isinstance(error, (ParseException, NoMoreData)):
        return {"reason": _BROKEN_BODY}
    return {} if error is None else {"reason": "bug"}


def _own_field(path: str) -> str:
    """Return the path of a field up to the first name that a client chose, which may be part of a secret."""
    return ".".join(itertools.takewhile(field_names().__contains__, path.split(".")))


ErrorRenderer = Callable[[int, str, Mapping[str, Any]], Response | None]


def set_error_renderer(app: Flask, blueprint: str, render: ErrorRenderer) -> None:
    """Register the function that creates a blueprint's error responses from status, message and further members.

    If it returns None, the response is the JSON envelope.
    """
    app.extensions.setdefault(_RENDERERS, {})[blueprint] = render


def _error_response(status: int, message: str, **members: Any) -> Response:
    render: ErrorRenderer | None = current_app.extensions.get(_RENDERERS, {}).get(current().blueprint)
    rendered = None if render is None else render(status, message, members)
    if rendered is not None:
        return rendered
    return _json({"success": False, "code": str(status), "msg": message, **members}, status)


def _refused(error: DataforTokenError) -> Response:
    current().refusal = error
    response = _error_response(error.status, error.message, **error.members)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if response.status_code == NotAuthenticated.status:
        _challenge(response)
    return response


def _challenge(response: Response) -> None:
    """Add the challenges (RFC 9110 section 11.6.1). Browsers get none for Basic: they would show a password prompt."""
    response.headers.add("WWW-Authenticate", 'Bearer realm="datafor_token"')
    request = current()
    by_browser = any(name.lower().startswith("sec-fetch-") for name, _ in request.headers)
    if request.blueprint not in ("gate", "console") and not by_browser:
        response.headers.add("WWW-Authenticate", 'Basic realm="datafor_token", charset="UTF-8"')


def _refused_by_flask(error: HTTPException) -> Response:
    status, current().refusal = error.code or 500, error
    response = _error_response(status, _HTTP_MESSAGES.get(status, _OTHER_HTTP_MESSAGE))
    # RFC 9110 section 15.5.6: a 405 lists the allowed methods.
    allow = error.get_response().headers.get("Allow")
    if allow is not None:
        response.headers["Allow"] = allow
    return response


def _broken_body(error: Exception) -> Response:
    current().refusal = error
    return _error_response(400, _BROKEN_BODY)


def _bug(error: Exception) -> Response:
    current().refusal = error
    return _error_response(500, "internal error", request_id=current().id)
