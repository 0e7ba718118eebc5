"""Events of the audit log, and their origin."""

import enum
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

# Reasons for which a token is refused.
REASONS = (
    "malformed", "header", "algorithm", "signature", "no_expiry", "expired", "not_yet_valid", "invalid_time",
    "no_username", "invalid_username", "revoked", "disabled_application", "unknown_user", "disabled_user",
    "administrator_refused", "audience", "issuer", "claim", "too_long_lived", "network", "not_own_user",
    "keys_unavailable",
)  # fmt: skip
# Further reasons for which a sign-in is refused.
SIGN_IN_REASONS = ("wrong_password", "throttled", "overloaded", "several_tokens", "ticket")
# Reasons for which the gate refuses a user who is signed in.
ACCESS_REASONS = ("requirement", "unknown_requirement")


class Kind(enum.StrEnum):
    """Kind of an event. The table of events in docs/audit.md states when each is recorded."""

    APPLICATION_ADDED = "application_added"
    APPLICATION_CHANGED = "application_changed"
    APPLICATION_ROTATED = "application_rotated"
    APPLICATION_DELETED = "application_deleted"
    TOKEN_GENERATED = "token_generated"  # noqa: S105 - the name of an event
    TOKEN_PERSONAL = "token_personal"  # noqa: S105 - the same
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the same
    TOKENS_CUT_OFF = "tokens_cut_off"
    LINK_MADE = "link_made"
    LINK_REDEEMED = "link_redeemed"
    SIGN_IN = "sign_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    ACCESS_REFUSED = "access_refused"
    RULE_REPORTED = "rule_reported"
    USER_MADE = "user_made"
    USER_CHANGED = "user_changed"
    USER_SYNCED = "user_synced"
    USER_DELETED = "user_deleted"
    SESSION_ENDED = "session_ended"
    GATE_KEY_ROTATED = "gate_key_rotated"
    STORE_RESTORED = "store_restored"
    STORE_REPAIRED = "store_repaired"
    STORE_REKEYED = "store_rekeyed"


REFUSALS = (Kind.SIGN_IN_REFUSED, Kind.ACCESS_REFUSED)


class Explanation(NamedTuple):
    """The steps of a refusal, which are composed only if a line has them.

    Refusals of the same ``variant`` have the same steps, but for their times. ``steps`` returns them for a line of the
    log. ``closer`` is set if no key signed the token: anybody can send any number of such tokens. It returns what a
    search for the cause found for this token alone, or None. ``text_hash`` distinguishes the token from others of the
    variant, in memory only.
    """

    variant: str
    steps: Callable[[], Sequence[Mapping[str, Any]]]
    closer: Callable[[], Sequence[Mapping[str, Any]] | None] | None = None
    text_hash: int | None = None


class Event(NamedTuple):
    """An event and its target: the name of an application or user, or the identifier of a token or ticket.

    ``unknown_user`` is the name of a sign-in whose user does not exist. It may be a password that was typed into the
    wrong field, and is stored as a keyed hash. ``audience`` has the audiences of a token that was accepted although its
    application has none. ``before`` and ``after`` have the values of changed fields by name, as ``changes.recorded``
    returns them: no secret, password or key.
    ``tokens_before`` is the time of a cut-off in milliseconds since 1970. ``expires`` and ``iat``, if it has one, are
    of an issued token, in seconds since 1970, and ``jti`` its claim of that name, if it has one. ``explanation`` has
    the steps of a refusal. ``rule`` is the field of an application whose rule is only reported, and would have refused
    for ``reason``.
    """

    kind: Kind
    application: str | None = None
    user: str | None = None
    unknown_user: str | None = None
    token: str | None = None
    fields: Sequence[str] | None = None
    reason: str | None = None
    audience: Sequence[str] | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    tokens_before: int | None = None
    expires: int | None = None
    iat: int | None = None
    jti: str | None = None
    explanation: Explanation | None = None
    rule: str | None = None

    def __repr__(self) -> str:
        """Return the event without ``unknown_user``."""
        return f"Event({self.kind}, {self.application!r}, {self.user!r}, {self.token!r}, {self.reason!r})"


class Origin(NamedTuple):
    """Origin of an event: the acting user (None before a sign-in), way of signing in, client address, and request.

    ``refer`` gives the request another identifier.
    """

    actor: str | None
    way: str | None
    address: str | None
    request_id: str | None
    refer: Callable[[str], None] = lambda _: None

    @classmethod
    def of_command(cls) -> "Origin":
        """Return the origin of events of a command: the system user who runs it, also through sudo."""
        uid = os.geteuid()
        if uid == 0 and os.environ.get("SUDO_USER"):
            return cls(os.environ["SUDO_USER"], "command", None, None)
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid {uid}"
        return cls(name, "command", None, None)
