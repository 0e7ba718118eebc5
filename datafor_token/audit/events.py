"""Events of the audit log: their types, and who is acting."""

import enum
from collections.abc import Sequence
from typing import NamedTuple

# Why a token is refused (contract section 7).
REASONS = (
    "malformed", "header", "algorithm", "signature", "no_expiry", "expired", "not_yet_valid", "invalid_time",
    "no_username", "invalid_username", "revoked", "disabled_application", "unknown_user", "disabled_user",
    "administrator_refused",
)  # fmt: skip


class Kind(enum.StrEnum):
    """What can happen. README's table of events says when each of them is recorded."""

    APPLICATION_ADDED = "application_added"
    APPLICATION_CHANGED = "application_changed"
    APPLICATION_ROTATED = "application_rotated"
    APPLICATION_DELETED = "application_deleted"
    TOKEN_GENERATED = "token_generated"  # noqa: S105 - an event's name
    TOKEN_PERSONAL = "token_personal"  # noqa: S105 - the same
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the same
    LINK_MADE = "link_made"
    LINK_REDEEMED = "link_redeemed"
    SIGN_IN = "sign_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    USER_MADE = "user_made"
    USER_CHANGED = "user_changed"
    USER_DELETED = "user_deleted"
    STORE_RESTORED = "store_restored"
    STORE_REPAIRED = "store_repaired"
    STORE_REKEYED = "store_rekeyed"


class Event(NamedTuple):
    """An event and its subject: names of an application and a user, the identifier of a token or ticket.

    ``unknown_user`` is a name under which somebody tried to sign in and whose user there is not: it may
    be a password that was typed into the wrong field, and is kept as a keyed hash.
    """

    kind: Kind
    application: str | None = None
    user: str | None = None
    unknown_user: str | None = None
    token: str | None = None
    fields: Sequence[str] | None = None
    reason: str | None = None

    def __repr__(self) -> str:
        """Without ``unknown_user``."""
        return f"Event({self.kind}, {self.application!r}, {self.user!r}, {self.token!r}, {self.reason!r})"


class Origin(NamedTuple):
    """Who is acting: a user's name (``None``: nobody yet), how they signed in, from which address, in which request."""

    actor: str | None
    way: str | None
    address: str | None
    request_id: str | None
