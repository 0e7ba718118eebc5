"""Refusals that happened, looked up in the audit log by the request's identifier."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.audit.events import REFUSALS, Kind
from datafor_token.audit.filters import is_of_request
from datafor_token.audit.log import Audit
from datafor_token.audit.repeats import PREFIX
from datafor_token.errors import Message, NotFound
from datafor_token.store.lines import LimitReached
from datafor_token.tokens.recorded_steps import read_steps
from datafor_token.tokens.verifier import Step, failed
from datafor_token.users.users import Users

# Bytes of the audit log that a request reads: 4,000,000 lines. That takes 1 s of processor time, compressed 4 s.
_MOST_READ = 1024**3
_WAYS_OF_TOKENS = ("bearer", "url", "gate", "ticket")
# Steps of refusals that have none in the audit log: of passwords, and of earlier versions.
_OF_TOKENS: Mapping[str, tuple[str, Message]] = {
    "malformed": ("read", Message("the text is not a token, or only a part of one")),
    "header": ("header", Message("the header of the token has no alg, or a member that this service does not accept")),
    "algorithm": ("algorithm", Message("no application that could accept the token expects its algorithm")),
    "signature": ("signature", Message("no secret fits: the token was changed, or signed with another secret")),
    "keys_unavailable": ("keys", Message("there were no keys of the identity provider to verify the token")),
    "several_tokens": ("read", Message("the URL has more than one token or one-time link, and only one can be meant")),
    "ticket": (
        "ticket",
        Message("the one-time link is unknown, was used before or is too old, or its application or user is gone"),
    ),
    "unknown_requirement": (
        "requirement",
        Message("the proxy's configuration asks for a requirement that does not exist; the service's log names it"),
    ),
}
_OF_PASSWORDS: Mapping[str, tuple[str, Message]] = {
    "malformed": ("password", Message("the header Authorization: Basic has no user name and password in UTF-8")),
    "unknown_user": (
        "user",
        Message("no user has this name; it is not shown, as it may be a password that was typed into the wrong field"),
    ),
    "wrong_password": ("password", Message("the user exists and is enabled, and the password is wrong")),
    "disabled_user": ("user", Message("the user is disabled")),
    "throttled": (
        "throttling",
        Message("too many wrong passwords for this name or from this address: the password was not checked"),
    ),
    "overloaded": ("throttling", Message("too many people signed in at once: the password was not checked")),
}
_NO_DETAILS = "details", Message("the audit log has no details of this refusal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PastRefusal:
    """A refusal in the audit log. Its members are those of its line.

    ``user`` exists. ``count`` is set where the line counts several refusals: ``steps`` are those of the first one, at
    the time ``first``.
    """

    reason: str | None
    application: str | None
    user: str | None
    time: str
    way: str | None
    address: str | None
    steps: Sequence[Step]
    count: int | None
    first: str | None

    @property
    def by_password(self) -> bool:
        """True if somebody typed a user name and a password."""
        return self.way not in _WAYS_OF_TOKENS

    def to_response(self) -> dict[str, Any]:
        """Return the members of the response to ``explain``."""
        optional = {name: getattr(self, name) for name in ("user", "time", "way", "address", "count", "first")}
        return {
            "accepted": False,
            "reason": self.reason,
            "application": self.application,
            **{name: value for name, value in optional.items() if value is not None},
            "steps": [step.to_response() for step in self.steps],
        }


class PastRefusals:
    """Refused sign-ins and requests, as the audit log has them."""

    def __init__(self, audit: Audit, users: Users) -> None:
        self._audit = audit
        self._users = users

    def find(self, request_id: str, *, in_all: bool = False) -> PastRefusal:
        """Return the refusal of the request with this identifier; raise ``NotFound``, and ``AuditUnavailable``.

        With ``in_all``, the whole log is searched, however large it is: not for a request.
        """
        most = None if in_all else _MOST_READ
        try:
            # The beginning is enough for the lines that have the identifier, and finds those that count it.
            lines = self._audit.events_with(request_id[:PREFIX], most)
            event = next((one for one in lines if _is_about(one, request_id)), None)
        except LimitReached:
            raise NotFound(
                "no refusal in the newest part of the audit log has this reference; to search all of it, run"
                " datafor-token token explain --request"
            ) from None
        if event is None:
            raise NotFound(
                "no refusal in the audit log has this reference: the request was accepted, it had no credential, its"
                " session had ended, its error was another one, or this node's audit log no longer has it; a repeated"
                " refusal can take a minute to be found, and the service's log has a line for each request"
            )
        target, user = event["target"], event["target"].get("user")
        return PastRefusal(
            reason=event.get("reason"),
            application=target.get("application"),
            # A name that does not exist may be a password in the wrong field.
            user=user if isinstance(user, str) and self._users.get(user) is not None else None,
            time=event["time"],
            way=event.get("way"),
            address=event.get("address"),
            steps=read_steps(event) or self._steps_of_ticket(event, most) or [_step_of_reason(event)],
            count=event.get("count"),
            first=event.get("first"),
        )

    def _steps_of_ticket(self, event: Mapping[str, Any], most: int | None) -> Sequence[Step]:
        """Return the last use of a refused one-time link, or that it was never used, if the log has it."""
        ticket = event["target"].get("token")
        if event.get("reason") != "ticket" or not isinstance(ticket, str):
            return ()
        failures = set()
        with contextlib.suppress(LimitReached):
            for one in self._audit.events_with(ticket, most):
                request_id, detail = one.get("request_id"), _past_of_link(one)
                if "outcome" in one:
                    failures.add(request_id)
                elif detail is not None and one["target"].get("token") == ticket and request_id not in failures:
                    return [_failed("ticket", detail)]
        return ()


def _past_of_link(event: Mapping[str, Any]) -> Message | None:
    """Return why a one-time link is refused after this event, its last; ``None`` for other events."""
    if event["event"] == Kind.LINK_REDEEMED:
        return Message(
            "the one-time link was used before: at %(time)s, from the address %(address)s",
            time=event["time"],
            address=event.get("address") or Message("unknown"),
        )
    if event["event"] == Kind.LINK_MADE:
        return Message(
            "the one-time link of %(time)s was never used: it is too old, or its application or user is refused",
            time=event["time"],
        )
    return None


def _is_about(event: Mapping[str, Any], request_id: str) -> bool:
    """Return whether an event is the refusal of this request, or counts it."""
    return event["event"] in REFUSALS and is_of_request(event, request_id)


def _step_of_reason(event: Mapping[str, Any]) -> Step:
    """Return a step with the sentence for the reason of a refusal."""
    table = _OF_TOKENS if event.get("way") in _WAYS_OF_TOKENS else _OF_PASSWORDS
    reason = str(event.get("reason"))
    name, detail = table.get(reason) or _OF_TOKENS.get(reason) or _NO_DETAILS
    return _failed(name, detail)


def _failed(name: str, detail: Message) -> Step:
    return failed(name, lambda: detail)
