"""The claims of a token that hold the data of its user."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from datafor_token.applications import rules
from datafor_token.errors import RuleError


@dataclasses.dataclass(frozen=True)
class FieldMap:
    """The claims of a token that hold the user's name, display name and email address, by name or JSON Pointer.

    ``name`` and ``email`` may be empty: then no claim holds them. ``extra`` holds the members of its record that this
    version does not know.
    """

    username: str
    name: str
    email: str
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object of the record."""
        return {"username": self.username, "name": self.name, "email": self.email, **self.extra}


def field_map(value: object) -> FieldMap:
    """Read the ``fieldmap`` of a record. A request's has its own schema, with an error for each member."""
    if not isinstance(value, Mapping) or not value.keys() >= {"username", "name", "email"}:
        raise RuleError("must be an object with username, name and email")
    extra = dict(value)
    username = rules.claim_name(extra.pop("username"))
    fieldmap = _plain_field_map(username, *(rules.optional_claim_name(extra.pop(field)) for field in ("name", "email")))
    return dataclasses.replace(fieldmap, extra=extra) if extra else fieldmap


@functools.lru_cache(maxsize=256)
def _plain_field_map(username: str, name: str, email: str) -> FieldMap:
    # The same in most applications, so that it is stored once.
    return FieldMap(username, name, email)
