"""Kept sign-ins: what is kept of an accepted token or one-time link, and the records of the users who signed in."""

import collections
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
class Circumstances:
    """Circumstances that many sign-ins of a user share: the application, the key, and what is kept of the claims.

    ``key`` is a keyed fingerprint of the key that signed the token. ``token_name`` is the URL parameter, if the token
    ever came in one. ``is_known`` is false if the client's address may be that of a proxy.

    The rest is empty for a one-time link, which has no claims: ``typ``, the names of the ``claims``, the one that named
    the user, and the ``values`` of those that the policy named at the time; ``missing`` are those of them that the
    token did not have. A value or name that is long, or looks like a token, is not kept; ``further``: the token had
    claims whose names are not kept.
    """

    application: str
    algorithm: str
    key: str
    is_link: bool = False
    token_name: str | None = None
    is_known: bool = False
    typ: str = ""
    claims: Sequence[str] = ()
    further: bool = False
    username_claim: str = ""
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    missing: Sequence[str] = ()

    def to_document(self) -> dict[str, Any]:
        """Return its object in the record, without empty members."""
        members = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in members.items() if value not in (None, False, (), {}, "")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Circumstances":
        """Read an object of a record; raise ``AttributeError``, ``KeyError``, ``TypeError`` or ``ValueError``."""
        if not all(_TYPES[name](value) for name, value in document.items()):
            raise ValueError("the circumstances of a sign-in have an invalid value")
        return cls(**document)

    def merge(self, other: "Circumstances") -> "Circumstances":
        """Return them with what is known of another use of the same token on the same day from the same address."""
        if self == other:
            return self
        # Rules that refuse the token outside of the URL refuse it there too.
        token_name = other.token_name if self.token_name is None else self.token_name
        values = {**other.values, **self.values}
        missing = tuple(dict.fromkeys((*self.missing, *other.missing)))
        return dataclasses.replace(self, token_name=token_name, values=values, missing=missing)


class KeptSignIn(NamedTuple):
    """A sign-in that an application accepted: a token on one day (UTC) from one address, or a one-time link.

    ``token`` is the keyed identifier. ``time`` is the first use, ``late`` the last one after the token's ``exp``, which
    the leeway allowed; both are in seconds since 1970. ``times`` are the times in the token by claim.
    ``request_id`` is that of the first request.
    """

    user: str
    circumstances: Circumstances
    token: str
    address: str
    time: float
    late: float | None
    request_id: str | None
    times: Mapping[str, float]

    @property
    def day(self) -> int:
        """The day, counted from 1970."""
        return int(self.time // DAY)

    @property
    def place(self) -> tuple[str, int, str]:
        """The token, the day and the address: with another one, it is another sign-in."""
        return self.token, int(self.time // DAY), self.address

    @property
    def shown_token(self) -> str:
        """The identifier of the token in the audit log."""
        return short(self.token)

    def merge(self, other: "KeptSignIn") -> "KeptSignIn":
        """Return the first of two uses at one ``place``, with the later of their late uses, as one."""
        first, second = sorted((self, other), key=lambda one: one.time)
        late = max((one for one in (self.late, other.late) if one is not None), default=None)
        return first._replace(late=late, circumstances=first.circumstances.merge(second.circumstances))

    def to_document(self, number: int) -> dict[str, Any]:
        """Return its object in the record, without the user; ``number`` is that of its circumstances."""
        members = {**self._asdict(), "circumstances": number}
        del members["user"]
        return {name: value for name, value in members.items() if value not in (None, {}, "")}

    @classmethod
    def from_document(cls, user: str, known: Sequence[Circumstances], document: Mapping[str, Any]) -> "KeptSignIn":
        """Read an object of the record of a user, whose circumstances are among ``known``.

        Raises ``IndexError``, ``KeyError``, ``TypeError`` or ``ValueError``.
        """
        get = document.get
        number, token, time = document["circumstances"], document["token"], document["time"]
        address, late, request_id = get("address", ""), get("late"), get("request_id")
        times = get("times", _NO_TIMES)
        # A rehearsal reads hundreds of thousands.
        if not (
            type(number) is int
            and number >= 0
            and isinstance(token, str)
            and isinstance(address, str)
            and _is_time(time)
            and (late is None or _is_time(late))
            and (request_id is None or isinstance(request_id, str))
            and isinstance(times, dict)
            and all(map(_is_time, times.values()))
            and document.keys() <= _MEMBERS
        ):
            raise ValueError("a sign-in has an invalid value")
        return cls(user, known[number], token, address, time, late, request_id, times)


_MEMBERS = frozenset(KeptSignIn._fields) - {"user"}
_NO_TIMES: Mapping[str, float] = {}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < _LATEST  # type: ignore[operator]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


_TYPES: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("application", "algorithm", "key", "typ", "username_claim"), _is_text),
    **dict.fromkeys(("is_link", "is_known", "further"), _is_flag),
    "token_name": lambda value: value is None or _is_text(value),
    "values": lambda value: isinstance(value, dict),
    **dict.fromkeys(("claims", "missing"), _are_names),
}


def kept_days(now: float, days: int) -> range:
    """Return the days that are kept at ``now``, of which the last may have begun on another node only."""
    today = int(now // DAY)
    return range(today - days, today + 2)


def claims_of(token: VerifiedToken) -> dict[str, Any]:
    """Return what is kept of the claims of a token: the members of ``Circumstances`` that a link does not have."""
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
        "claims": names if may_be_kept else tuple(name for name in names if name in _ALWAYS or name in TIME_CLAIMS),
        "further": not may_be_kept,
        "username_claim": application.fieldmap.username,
        "values": kept,
        "missing": tuple(missing),
    }


def times_of(token: VerifiedToken) -> Mapping[str, float]:
    """Return the times in a token by claim."""
    return {name: token.claims[name] for name in TIME_CLAIMS if name in token.claims}


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

    def add(self, added: Sequence[KeptSignIn], further: Mapping[int, int] | None = None) -> "UserRecord":
        """Return the record with more sign-ins; those over ``MOST`` of a day, or ``MOST_OF_USER``, are only counted.

        So are the ``further`` ones, whose number is given by day.
        """
        sign_ins, left_out = dict(self.sign_ins), collections.Counter(self.left_out)
        left_out.update(further)
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
                left_out[one.day] += 1
        while len(sign_ins) > MOST_OF_USER:
            oldest = min(one.day for one in sign_ins.values())
            places = [place for place, one in sign_ins.items() if one.day == oldest]
            left_out[oldest] += len(places)
            for place in places:
                del sign_ins[place]
        return dataclasses.replace(self, sign_ins=sign_ins, left_out=left_out)

    def within(self, days: range) -> "UserRecord":
        """Return the record with only these days."""
        if all(one.day in days for one in self.sign_ins.values()) and all(day in days for day in self.left_out):
            return self
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
        """Return the record as it is stored: circumstances only once, and their numbers in the sign-ins."""
        circumstances: list[dict[str, Any]] = []
        numbers: dict[str, int] = {}
        # By identity too: those that were read from a record are the same objects.
        known: dict[int, int] = {}
        sign_ins = []
        for one in self.sign_ins.values():
            number = known.get(id(one.circumstances))
            if number is None:
                document = one.circumstances.to_document()
                number = numbers.setdefault(strict_json.compact(document), len(circumstances))
                if number == len(circumstances):
                    circumstances.append(document)
                known[id(one.circumstances)] = number
            sign_ins.append(one.to_document(number))
        return {
            "format": FORMAT,
            "name": self.name,
            "created": self.created,
            "circumstances": circumstances,
            "sign_ins": sign_ins,
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
            known = [Circumstances.from_document(one) for one in document["circumstances"]]
            found = [KeptSignIn.from_document(name, known, one) for one in document["sign_ins"]]
            left_out = {int(day): int(number) for day, number in document["left_out"].items()}
            created = document["created"]
            if type(created) is not int or not all(map(_is_time, (*left_out, *left_out.values()))):
                raise ValueError
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
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
