"""The request that is being served, and the caller it signs in."""

from typing import Literal, NamedTuple

import flask

from datafor_token.applications.record import Application
from datafor_token.audit.events import Origin
from datafor_token.errors import NotAuthenticated
from datafor_token.tokens.verification import Verification
from datafor_token.users.users import ADMINISTRATOR, User

REQUEST_ID = "datafor_token.request_id"  # in the WSGI environment, for the header


class Caller(NamedTuple):
    """A signed-in user, and how they signed in."""

    user: User
    way: Literal["basic", "bearer", "url", "session", "gate"]
    application: Application | None = None  # the issuer of the token, if a token signed the user in
    verdict: Verification | None = None
    token: str | None = None  # its identifier in the audit log

    @property
    def is_administrator(self) -> bool:
        """Return whether the user's type is Administrator."""
        return self.user.type == ADMINISTRATOR

    @property
    def by_token(self) -> bool:
        """Return whether a token signed the user in, rather than a password or a session."""
        return self.way in ("bearer", "url")


class Request(flask.Request):
    """A request, with the data that is added while it is served."""

    id = ""  # random, 32 hexadecimal digits
    started = 0.0  # seconds of the monotonic clock
    way: str | None = None  # how the caller signs in, for logs; also set where a sign-in is refused
    username: str | None = None  # of the caller, for logs
    application_name: str | None = None  # that the request is about, for logs
    refusal: Exception | None = None  # the error that became the response, for logs
    signed_in: Caller | None = None

    def refer(self, request_id: str) -> None:
        """Give the request its identifier: 32 hexadecimal digits, for the response, the audit log and the log."""
        self.environ[REQUEST_ID] = self.id = request_id

    @property
    def preferred_language(self) -> Literal["en", "zh-Hans"]:
        """Return the supported language that the browser prefers; Simplified Chinese stands for any Chinese."""
        for language, _ in self.accept_languages:
            primary = language.lower().replace("_", "-").partition("-")[0]
            if primary in ("en", "zh"):
                return "en" if primary == "en" else "zh-Hans"
        return "en"

    @property
    def caller(self) -> Caller:
        """Return the caller; raise ``NotAuthenticated`` if nobody is signed in."""
        if self.signed_in is None:
            raise NotAuthenticated
        return self.signed_in


def current() -> Request:
    """Return the request that is being served.

    This is the request itself, not Flask's proxy: an attribute read through the proxy takes 0.8 us instead of 0.1 us,
    and serving ``token/generate``, which takes 170 us, reads about 20.
    """
    # Flask documents this method ("Notes On Proxies"); its types leave it out.
    request: Request = flask.request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return request


def origin() -> Origin:
    """Return the origin of an event: the caller of the request, or else the system user."""
    if flask.has_request_context():
        request = current()
        return Origin(request.username, request.way, request.remote_addr, request.id or None, request.refer)
    return Origin.of_command()
