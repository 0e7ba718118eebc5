"""Kept sign-ins: what is kept of an accepted token or one-time link, and the records of the users who signed in."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document
from datafor_token.tokens.identifiers import revocation_names, short
from datafor_token.tokens.verifier import VerifiedToken, is_compact
from datafor_token.validation import claims, strict_json

COLLECTION = "sign_ins"
FORMAT = 1
DAY = 86_400  # seconds
MOST = 100  # sign-ins of a user and day
_LONGEST = 512  # characters of a kept value, as JSON
_ALWAYS = ("aud", "iss")  # claims whose values are kept, whatever the policy names


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptSignIn:
    """A sign-in that an application accepted: a token on one day (UTC) from one address, or a one-time link.

    ``key`` is a keyed fingerprint of the key that signed it, ``token`` the keyed identifier. ``token_name`` is the URL
    parameter, if it came in one. ``time`` is the first use, ``late`` the last one after the token's ``exp``, which the
    leeway allowed; both are in seconds since 1970. ``is_known`` is false if ``address`` may be that of a proxy.
    ``request_id`` is that of the first request.

    The rest is empty for a one-time link, which has no claims: ``typ``, the times by claim, the names of all claims,
    the one that named the user, and the ``values`` of those that the policy named at the time; ``missing`` are those of
    them that the token did not have. A value that is long, or looks like a token, is not kept.
    """

    user: str
    application: str
    algorithm: str
    key: str
    token: str
    is_link: bool
    token_name: str | None
    address: str
    is_known: bool
    time: float
    late: float | None
    request_id: str | None
    typ: str
    times: Mapping[str, float]
    claims: Sequence[str]
    username_claim: str
    values: Mapping[str, Any]
    missing: Sequence[str]

    @property
    def day(self) -> int:
        """The day, counted from 1970."""
        return int(self.time // DAY)

    @property
    def place(self) -> tuple[str, int, str]:
        """The token, the day and the address: with another one, it is another sign-in."""
        return self.token, self.day, self.address

    @property
    def shown_token(self) -> str:
        """The identifier of the token in the audit log."""
        return short(self.token)

    def merge(self, other: "KeptSignIn") -> "KeptSignIn":
        """Return the first of two uses at one ``place``, with the later of their late uses."""
        late = max((one for one in (self.late, other.late) if one is not None), default=None)
        return dataclasses.replace(min(self, other, key=lambda one: one.time), late=late)

    def to_document(self) -> dict[str, Any]:
        """Return its object in the record, without the user."""
        members = dataclasses.asdict(self)
        del members["user"]
        return {name: value for name, value in members.items() if value not in (None, False, (), {}, "")}

    @classmethod
    def from_document(cls, user: str, document: Mapping[str, Any]) -> "KeptSignIn":
        """Read an object of the record of a user; raise ``ValueError``."""
        members = {**_EMPTY, **document, "user": user}
        if not members.keys() == _TYPES.keys() or any(
            not isinstance(members[name], kinds) for name, kinds in _TYPES.items()
        ):
            raise ValueError("a sign-in has an invalid value")
        return cls(**members)


_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("user", "application", "algorithm", "key", "token", "address", "typ", "username_claim"), str),
    **dict.fromkeys(("is_link", "is_known"), bool),
    **dict.fromkeys(("token_name", "request_id"), str | None),
    "time": int | float,
    "late": int | float | None,
    **dict.fromkeys(("times", "values"), dict),
    **dict.fromkeys(("claims", "missing"), list | tuple),
}
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("is_link", "is_known"), False),
    **dict.fromkeys(("token_name", "request_id", "late")),
    **dict.fromkeys(("typ", "username_claim", "address"), ""),
    **dict.fromkeys(("claims", "missing"), ()),
    "times": {},
    "values": {},
}


def claims_of(token: VerifiedToken) -> dict[str, Any]:
    """Return what is kept of the claims of a token: the members of ``KeptSignIn`` that a link does not have."""
    application = token.application
    kept: dict[str, Any] = {}
    missing = []
    for name in dict.fromkeys((*_ALWAYS, *(application.require or ()))):
        value = claims.find(token.claims, name)
        if value is claims.MISSING:
            missing.append(name)
        elif _may_be_kept(value):
            kept[name] = value
    return {
        "typ": token.typ,
        "times": {name: token.claims[name] for name in TIME_CLAIMS if name in token.claims},
        "claims": tuple(token.claims),
        "username_claim": application.fieldmap.username,
        "values": kept,
        "missing": tuple(missing),
    }


def _may_be_kept(value: Any) -> bool:
    if len(strict_json.compact(value)) > _LONGEST:
        return False
    texts = value if isinstance(value, list) else [value]
    return not any(isinstance(text, str) and is_compact(text) for text in texts)


def token_of(token: VerifiedToken) -> str:
    """Return the keyed identifier of a token or one-time link."""
    return token.identifier or token.revocation_names[0]


def revocations_of(kept: KeptSignIn) -> Sequence[str]:
    """Return the names of the records that revoke the token of a sign-in by its identifier."""
    return revocation_names(kept.token)


@dataclasses.dataclass(frozen=True)
class UserRecord:
    """The kept sign-ins of one user, by ``KeptSignIn.place``; ``left_out`` has the number of further ones by day."""

    name: str
    sign_ins: Mapping[tuple[str, int, str], KeptSignIn] = dataclasses.field(default_factory=dict)
    left_out: Mapping[int, int] = dataclasses.field(default_factory=dict)

    def add(self, added: Sequence[KeptSignIn]) -> "UserRecord":
        """Return the record with more sign-ins, of which those over ``MOST`` of a day are only counted."""
        sign_ins, left_out = dict(self.sign_ins), dict(self.left_out)
        of_day: dict[int, int] = {}
        for _, day, _ in sign_ins:
            of_day[day] = of_day.get(day, 0) + 1
        for one in added:
            place = one.place
            if place in sign_ins:
                sign_ins[place] = sign_ins[place].merge(one)
            elif of_day.get(one.day, 0) < MOST:
                sign_ins[place] = one
                of_day[one.day] = of_day.get(one.day, 0) + 1
            else:
                left_out[one.day] = left_out.get(one.day, 0) + 1
        return UserRecord(self.name, sign_ins, left_out)

    def since(self, day: int) -> "UserRecord":
        """Return the record without the days before one."""
        return UserRecord(
            self.name,
            {place: one for place, one in self.sign_ins.items() if one.day >= day},
            {one: number for one, number in self.left_out.items() if one >= day},
        )

    def to_document(self) -> Document:
        """Return the record as it is stored."""
        return {
            "format": FORMAT,
            "name": self.name,
            "sign_ins": [one.to_document() for one in self.sign_ins.values()],
            "left_out": {str(day): number for day, number in self.left_out.items()},
        }

    @classmethod
    def from_document(cls, document: Document) -> "UserRecord":
        """Read a record; raise ``RecordDamaged``."""
        name = document["name"]
        version = document.get("format")
        if type(version) is not int or version > FORMAT:
            raise RecordDamaged(reason=f"{COLLECTION}/{name}: a newer version of this service wrote the record")
        try:
            found = [KeptSignIn.from_document(name, one) for one in document["sign_ins"]]
            left_out = {int(day): int(number) for day, number in document["left_out"].items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RecordDamaged(reason=f"{COLLECTION}/{name}: sign_ins or left_out has an invalid value") from None
        return cls(name, {one.place: one for one in found}, left_out)
