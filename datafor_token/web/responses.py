"""The envelope: ``success()``, and the one place where errors become answers."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response, current_app
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException

from datafor_token.errors import BodyTooLarge, DataforTokenError, NotAuthenticated
from datafor_token.validation import logs
from datafor_token.validation.strict_json import compact
from datafor_token.web.current import current
from datafor_token.web.services import services

log = logging.getLogger(__name__)
_ANSWERS = "datafor_token.answers"

_JSON_TYPE = ("Content-Type", "application/json")
_COMMON = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
# The headers that the responses have in common, as they are: the server need not check them in each response.
FIXED_HEADERS = (_JSON_TYPE, *_COMMON)

# The public words for what Flask and Werkzeug refuse by themselves.
_HTTP_MESSAGES = {404: "not found", 405: "method not allowed", 413: BodyTooLarge.message}

_REQUEST_ID = "datafor_token.request_id"  # in the WSGI environment, for the header
BODY_READ = "datafor_token.body_read"  # in the WSGI environment, once the whole body was read


class Answer(Response):
    """A response with the common headers, which are put there as they are when it is sent, where it has no others.

    Werkzeug looks each header through, for what no answer of ours has, at ten times the cost.
    """

    own: Sequence[tuple[str, str]] = ()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it, as WSGI has it (PEP 3333)."""
        headers = [*self.own, *self.headers.to_wsgi_list()]
        # The console's stylesheet says otherwise how long it is kept, its pages have another policy: see there.
        there = {name for name, _ in headers}
        headers += [common for common in _COMMON if common[0] not in there]
        headers.append(("X-Request-ID", environ.get(_REQUEST_ID, "")))
        if _leaves_body(environ):
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

    What is left of a body would have to be read before the next request. After a response that announces keep-alive,
    gunicorn reads up to 65,535 bytes of it, for up to 5 seconds, and then closes: a proxy that has sent its next
    request by then reports 502.
    """
    # A WSGI application may not send the header itself (PEP 3333); this is a method of gunicorn's response.
    force_close = getattr(getattr(start_response, "__self__", None), "force_close", None)
    if force_close is not None:
        force_close()


class _Json(Answer):
    """One whose type and length Werkzeug need not look through either."""

    default_mimetype = None


def success(**members: Any) -> Response:
    """The answer to a call that went well: ``success`` and exactly these members."""
    return _json({"success": True, **members})


def _json(members: Mapping[str, Any], status: int = 200) -> Response:
    body = compact(members).encode() + b"\n"
    answer = _Json([body], status)
    answer.own = (_JSON_TYPE, ("Content-Length", str(len(body))))
    return answer


def init_app(app: Flask) -> None:
    """Let every request begin with an identifier and end in the envelope, with the common headers and one log line."""
    app.before_request(_begin)
    app.after_request(_end)
    app.register_error_handler(DataforTokenError, _refused)
    app.register_error_handler(HTTPException, _refused_by_flask)
    app.register_error_handler(ParseException, _broken_body)
    app.register_error_handler(NoMoreData, _broken_body)
    app.register_error_handler(Exception, _bug)


def _begin() -> None:
    # To tell requests apart: nothing is signed or hidden with it. Each process has random numbers of its own.
    name = f"{random.getrandbits(128):032x}"
    request = current()
    request.environ[_REQUEST_ID] = request.id = name
    request.started = time.monotonic()


def _end(response: Response) -> Response:
    request = current()
    seconds = time.monotonic() - request.started
    status, rule = response.status_code, request.url_rule
    # The template: in the path itself stands whatever a stranger wrote there.
    services().metrics.request(rule.rule if rule else None, request.method, status, seconds)
    if log.isEnabledFor(logging.INFO):
        # The path alone: a token can stand in the query string.
        path = logs.safe_path(request.path) if rule is None or rule.arguments else rule.rule
        user, way = request.username, request.way
        # Put together here: ``logs.event`` for any values costs more than all the rest of the line.
        line = (
            f"request_id={request.id} method={logs.quoted(request.method)} path={logs.quoted(path)} status={status}"
            f" ms={round(seconds * 1000)} address={logs.quoted(request.remote_addr or '')}"
            f"{'' if user is None else f' user={logs.quoted(user)}'}{'' if way is None else f' way={way}'}"
        )
        log.info(line)
    return response


def answer_errors_as(
    app: Flask, blueprint: str, answer: Callable[[int, str, Mapping[str, Any]], Response | None]
) -> None:
    """Let ``answer`` make of status, message and further members what the errors of a blueprint look like.

    Where it returns ``None``, the error is an envelope as everywhere else.
    """
    app.extensions.setdefault(_ANSWERS, {})[blueprint] = answer


def _envelope(status: int, message: str, **members: Any) -> Response:
    answer = current_app.extensions.get(_ANSWERS, {}).get(current().blueprint)
    other: Response | None = None if answer is None else answer(status, message, members)
    if other is not None:
        return other
    return _json({"success": False, "code": str(status), "msg": message, **members}, status)


def _refused(error: DataforTokenError) -> Response:
    response = _envelope(error.status, error.message, **error.members)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if response.status_code == NotAuthenticated.status:
        _challenge(response)
    if error.reason is not None or error.status >= 500:
        level = logging.ERROR if error.status >= 500 else logging.WARNING
        reason = logs.event(request_id=current().id, error=type(error).__name__, reason=error.reason)
        log.log(level, reason)
    return response


def _challenge(response: Response) -> None:
    """RFC 7235. Basic only where no browser asks, which would put a password box over the page."""
    response.headers.add("WWW-Authenticate", 'Bearer realm="datafor_token"')
    request = current()
    by_browser = any(name.lower().startswith("sec-fetch-") for name, _ in request.headers)
    if request.blueprint not in ("gate", "console") and not by_browser:
        response.headers.add("WWW-Authenticate", 'Basic realm="datafor_token", charset="UTF-8"')


def _refused_by_flask(error: HTTPException) -> Response:
    status = error.code or 500
    response = _envelope(status, _HTTP_MESSAGES.get(status, "the request cannot be read"))
    # RFC 9110 section 15.5.6: a 405 says which methods are allowed.
    allow = error.get_response().headers.get("Allow")
    if allow is not None:
        response.headers["Allow"] = allow
    return response


def _broken_body(_: Exception) -> Response:
    return _envelope(400, "the request body cannot be read")


def _bug(error: Exception) -> Response:
    log.error(logs.event(request_id=current().id, error="bug"), exc_info=error)
    return _envelope(500, "internal error", request_id=current().id)
