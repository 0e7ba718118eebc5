"""Kept sign-ins: what is kept of an accepted token or one-time link, and the records of the users who signed in."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.applications import policy
from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.tokens.identifiers import revocation_names, short
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.validation import claims, logs, strict_json

log = logging.getLogger(__name__)

COLLECTION = "sign_ins"
FORMAT = 1
DAY = 86_400  # seconds
MOST = 100  # sign-ins of a user and day
MOST_OF_USER = 3000  # sign-ins of a user: about 6 MB at most, and a record may have 16
_LONGEST, _LONGEST_OF_ALL = 512, 1024  # characters of a kept value, and of all values of a token, as JSON
_LONGEST_NAMES = 1024  # characters of the names of all claims, as JSON
_LATEST = 1e11  # seconds since 1970; int() of a larger number may fail
_OTHER_TYPE = "(not kept)"
_ALWAYS = ("aud", "iss")  # claims whose values are kept, whatever the policy names


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptSignIn:
    """A sign-in that an application accepted: a token on one day (UTC) from one address, or a one-time link.

    ``key`` is a keyed fingerprint of the key that signed it, ``token`` the keyed identifier. ``token_name`` is the URL
    parameter, if it came in one. ``time`` is the first use, ``late`` the last one after the token's ``exp``, which the
    leeway allowed; both are in seconds since 1970. ``is_known`` is false if ``address`` may be that of a proxy.
    ``request_id`` is that of the first request.

    The rest is empty for a one-time link, which has no claims: ``typ``, the times by claim, the names of the claims,
    the one that named the user, and the ``values`` of those that the policy named at the time; ``missing`` are those of
    them that the token did not have. A value or name that is long, or looks like a token, is not kept; ``further``: the
    token had claims whose names are not kept.
    """

    user: str
    application: str
    algorithm: str
    key: str
    token: str
    is_link: bool = False
    token_name: str | None = None
    address: str = ""
    is_known: bool = False
    time: float
    late: float | None = None
    request_id: str | None = None
    typ: str = ""
    times: Mapping[str, float] = dataclasses.field(default_factory=dict)
    claims: Sequence[str] = ()
    further: bool = False
    username_claim: str = ""
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    missing: Sequence[str] = ()

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
        """Return the first of two uses at one ``place``, with the later of their late uses, and a URL parameter."""
        late = max((one for one in (self.late, other.late) if one is not None), default=None)
        # Rules that refuse the token outside of the URL refuse it there too.
        token_name = other.token_name if self.token_name is None else self.token_name
        return dataclasses.replace(min(self, other, key=lambda one: one.time), late=late, token_name=token_name)

    def to_document(self) -> dict[str, Any]:
        """Return its object in the record, without the user."""
        members = dataclasses.asdict(self)
        del members["user"]
        return {name: value for name, value in members.items() if value not in (None, False, (), {}, "")}

    @classmethod
    def from_document(cls, user: str, document: Mapping[str, Any]) -> "KeptSignIn":
        """Read an object of the record of a user; raise ``TypeError``."""
        found = cls(**{**document, "user": user})
        if not all(fits(getattr(found, name)) for name, fits in _TYPES.items()):
            raise TypeError("a sign-in has an invalid value")
        return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < _LATEST  # type: ignore[operator]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


_TYPES: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("user", "application", "algorithm", "key", "token", "address", "typ", "username_claim"), _is_text),
    **dict.fromkeys(("is_link", "is_known", "further"), _is_flag),
    **dict.fromkeys(("token_name", "request_id"), lambda value: value is None or _is_text(value)),
    "time": _is_time,
    "late": lambda value: value is None or _is_time(value),
    "times": lambda value: isinstance(value, dict) and all(map(_is_time, value.values())),
    "values": lambda value: isinstance(value, dict),
    **dict.fromkeys(("claims", "missing"), _are_names),
}


def kept_days(now: float, days: int) -> range:
    """Return the days that are kept at ``now``, of which the last may have begun on another node only."""
    today = int(now // DAY)
    return range(today - days, today + 2)


def claims_of(token: VerifiedToken) -> dict[str, Any]:
    """Return what is kept of the claims of a token: the members of ``KeptSignIn`` that a link does not have."""
    application = token.application
    kept: dict[str, Any] = {}
    missing = []
    left = _LONGEST_OF_ALL
    for name in dict.fromkeys((*_ALWAYS, *(application.require or ()))):
        value = claims.find(token.claims, name)
        if value is claims.MISSING:
            missing.append(name)
        elif (length := _kept_length(value)) is not None and length <= left:
            kept[name] = value
            left -= length
    names = tuple(token.claims)
    may_be_kept = len(strict_json.compact(names)) <= _LONGEST_NAMES and not any(map(claims.may_be_token, names))
    can_be_named = policy.is_type(policy.plain_type(token.typ)) and not claims.may_be_token(token.typ)
    return {
        # A type that no policy can name is refused by every one.
        "typ": token.typ if can_be_named else _OTHER_TYPE,
        "times": {name: token.claims[name] for name in TIME_CLAIMS if name in token.claims},
        "claims": names if may_be_kept else tuple(name for name in names if name in _ALWAYS or name in TIME_CLAIMS),
        "further": not may_be_kept,
        "username_claim": application.fieldmap.username,
        "values": kept,
        "missing": tuple(missing),
    }


def _kept_length(value: Any) -> int | None:
    """Return the characters of a value that is kept, as JSON, or ``None``."""
    text = strict_json.compact(value)
    return len(text) if len(text) <= _LONGEST and not claims.may_be_token(text) else None


def token_of(token: VerifiedToken) -> str:
    """Return the keyed identifier of a token or one-time link."""
    return token.identifier or token.revocation_names[0]


def revocations_of(kept: KeptSignIn) -> Sequence[str]:
    """Return the names of the records that revoke the token of a sign-in by its identifier."""
    return revocation_names(kept.token)


@dataclasses.dataclass(frozen=True)
class UserRecord:
    """The kept sign-ins of one user, by ``KeptSignIn.place``; ``left_out`` has the number of further ones by day.

    ``created`` is the ``created_date`` of the user: another user of the same name has none of these sign-ins.
    """

    name: str
    created: int
    sign_ins: Mapping[tuple[str, int, str], KeptSignIn] = dataclasses.field(default_factory=dict)
    left_out: Mapping[int, int] = dataclasses.field(default_factory=dict)

    def add(self, added: Sequence[KeptSignIn]) -> "UserRecord":
        """Return the record with more sign-ins; those over ``MOST`` of a day, or ``MOST_OF_USER``, are only counted."""
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
        while len(sign_ins) > MOST_OF_USER:
            oldest = min(one.day for one in sign_ins.values())
            places = [place for place, one in sign_ins.items() if one.day == oldest]
            left_out[oldest] = left_out.get(oldest, 0) + len(places)
            for place in places:
                del sign_ins[place]
        return dataclasses.replace(self, sign_ins=sign_ins, left_out=left_out)

    def within(self, days: range) -> "UserRecord":
        """Return the record with only these days."""
        return dataclasses.replace(
            self,
            sign_ins={place: one for place, one in self.sign_ins.items() if one.day in days},
            left_out={day: number for day, number in self.left_out.items() if day in days},
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing is known of the user."""
        return not self.sign_ins and not self.left_out

    def to_document(self) -> Document:
        """Return the record as it is stored."""
        return {
            "format": FORMAT,
            "name": self.name,
            "created": self.created,
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
            created = document["created"]
            if type(created) is not int or not all(map(_is_time, (*left_out, *left_out.values()))):
                raise ValueError
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise RecordDamaged(reason=f"{COLLECTION}/{name}: created, sign_ins or left_out is not valid") from None
        return cls(name, created, {one.place: one for one in found}, left_out)


def remove_record(store: Store, name: str) -> None:
    """Remove the sign-ins of a user, best effort. No store deletes a record that is no document: that is logged."""
    try:
        store.delete(COLLECTION, name)
    except RecordDamaged as error:
        log.warning(logs.event("record damaged", reason=error.reason))
    except StoreUnavailable:
        return
