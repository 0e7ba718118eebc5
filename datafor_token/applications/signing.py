"""Keys that sign tokens of an application: the secret before the last rotation, and the key that signed a token."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from datafor_token.applications import rules
from datafor_token.crypto.keys import Key, verification_key
from datafor_token.errors import RuleError


@dataclasses.dataclass(frozen=True)
class Previous:
    """The secret before the last rotation, which stays stored until the next one.

    It is accepted until ``until`` (0: not at all). ``last_used`` and ``rotated`` are the times of its last use and of
    the rotation, ``None`` where unknown. All times are milliseconds since 1970. ``extra`` holds the members of its
    record that this version does not know.
    """

    secret: str = dataclasses.field(repr=False)
    until: int
    last_used: int | None = None
    rotated: int | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object of the record."""
        rotated = {} if self.rotated is None else {"rotatedDate": self.rotated}
        return {"secret": self.secret, "until": self.until, "lastUsed": self.last_used, **rotated, **self.extra}


class Signer(NamedTuple):
    """A key that signs tokens of an application.

    ``name`` is the text that a session proves its key by: the secret, or the thumbprint of a key of a set.
    ``is_previous`` is true for the secret before the last rotation.
    """

    key: Key
    name: str
    is_previous: bool

    def __repr__(self) -> str:
        """Return the key, without the secret."""
        return f"Signer({self.key.kid!r}, is_previous={self.is_previous!r})"


def read_previous(algorithm: str, value: object) -> Previous | None:
    """Read the member ``previous`` of a record; raise ``RuleError`` for one that cannot be used."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or "until" not in value:
        raise RuleError("must be an object with secret and until")
    verification_key(algorithm, rules.secret(value.get("secret")))
    last_used, rotated = value.get("lastUsed"), value.get("rotatedDate")
    known = ("secret", "until", "lastUsed", "rotatedDate")
    return Previous(
        secret=value["secret"],
        until=rules.whole_number(value["until"]),
        last_used=None if last_used is None else rules.whole_number(last_used),
        rotated=None if rotated is None else rules.whole_number(rotated),
        extra={member: inner for member, inner in value.items() if member not in known},
    )
