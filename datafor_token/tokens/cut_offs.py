"""Cut-offs: all tokens of a user, of an application, or of a user from one application are refused up to a time.

They are cached in memory: a request looks only at the stamp of their collection.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.applications.registry import Registry
from datafor_token.applications.rules import LONGEST_EXPIRE
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import InvalidInput, JustRevoked, Message, RecordDamaged
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordIndex
from datafor_token.store.sweeping import LATER, Sweeper
from datafor_token.validation import times
from datafor_token.validation.names import fold

COLLECTION = "cut_offs"
FORMAT = 1
_Place = tuple[str, str]  # user and application, folded; an empty text stands for all


@dataclasses.dataclass(frozen=True)
class CutOff:
    """A cut-off. Without ``user`` it concerns all users, without ``application`` the tokens of all applications.

    Tokens issued up to the second of ``before`` are refused. ``set`` is the time when ``by`` set it; both are in
    milliseconds since 1970. It is in force until ``until``, in seconds since 1970, when the last token from before has
    expired: tokens without ``iat`` are refused too, since they may be from before.
    """

    user: str
    application: str
    before: int
    set: int
    by: str
    until: float

    @property
    def second(self) -> int:
        """The last second whose tokens are refused, since 1970."""
        return self.before // 1000

    def refuses(self, issued: float | None, now: float) -> bool:
        """Return whether a token is refused that was issued at ``issued`` (seconds since 1970; None: unknown)."""
        return now < self.until if issued is None else int(issued) <= self.second

    def until_expiry(self, name: str, expire: float, last_expiry: float) -> "CutOff":
        """Return it in force until the tokens from before of an application have expired, if it concerns that one.

        ``name``, ``expire`` and ``last_expiry`` are as in ``Application``.
        """
        if self.application and fold(self.application) != fold(name):
            return self
        return dataclasses.replace(self, until=max(self.until, self.before / 1000 + expire, last_expiry / 1000))

    def merge(self, other: "CutOff") -> "CutOff":
        """Return the later one of two with the same user and application, in force as long as both."""
        latest = max(self, other, key=lambda one: one.before)
        return dataclasses.replace(latest, until=max(self.until, other.until))

    def to_response(self) -> dict[str, Any]:
        """Return the members that calls and commands show."""
        named = {"user": self.user, "application": self.application}
        return {
            **{name: value for name, value in named.items() if value},
            "before": self.before,
            "set": self.set,
            "by": self.by,
        }

    def describe(self) -> Message:
        """Return the sentence about it."""
        return Message(
            "revoked for %(whom)s on %(time)s by %(actor)s: tokens issued up to %(before)s are refused",
            whom=self._whom(),
            time=times.show(self.set / 1000),
            actor=self.by or "?",
            before=times.show(self.second),
        )

    def refusal(self, issued: float | None) -> Message:
        """Return the sentence about a token that it refuses (see ``refuses``)."""
        if issued is not None:
            return self.describe()
        return Message(
            "%(sentence)s, and until %(until)s also tokens without iat, which may be older",
            sentence=self.describe(),
            until=times.show(self.until),
        )

    def refusal_of_new_user(self, issued: float | None) -> Message:
        """Return the sentence about a token that would create its user (see ``CutOffs.refusing_new_user``)."""
        if issued is not None:
            return self.refusal(issued)
        return Message(
            "%(sentence)s, and a token without iat, which may be older, does not create %(user)s again: add the user,"
            " or give the token an iat",
            sentence=self.describe(),
            user=self.user,
        )

    def _whom(self) -> str:
        if not self.application:
            return self.user or Message("all users")
        if not self.user:
            return Message("all users of %(application)s", application=self.application)
        return Message("%(user)s (tokens of %(application)s)", user=self.user, application=self.application)

    def to_document(self) -> Document:
        """Return the record."""
        return {"format": FORMAT, "name": _name(self.user, self.application), **dataclasses.asdict(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "CutOff":
        """Read a record, which may have been edited by hand; raise ``RecordDamaged``."""
        name = document.get("name")
        if type(document.get("format")) is not int or document["format"] > FORMAT:
            raise RecordDamaged(reason=f"cut-off {name!r}: a newer version of this service wrote the record")
        for member, kinds in _TYPES.items():
            if type(document.get(member)) not in kinds:
                raise RecordDamaged(reason=f"cut-off {name!r}: {member} is missing or has an invalid value")
        found = cls(**{member: document[member] for member in _TYPES})
        if not isinstance(name, str) or fold(name) != fold(_name(found.user, found.application)):
            raise RecordDamaged(reason=f"cut-off {name!r}: user or application has an invalid value")
        return found


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("user", "application", "by"), (str,)),
    **dict.fromkeys(("before", "set"), (int,)),
    "until": (int, float),
}


def merged(present: Document, restored: Document) -> Document:
    """Return the record that refuses what the present one and that of a backup refuse.

    If either is damaged, the present one stays: a damaged one accepts no token that it may concern.
    """
    try:
        return CutOff.from_document(present).merge(CutOff.from_document(restored)).to_document()
    except RecordDamaged:
        return present


class CutOffs:
    """The cut-offs in the store. ``clock`` returns seconds since 1970; ``leeway`` is in seconds.

    Every method raises ``StoreUnavailable`` in an outage, and ``RecordDamaged`` where a damaged record may concern the
    token.
    """

    def __init__(
        self, store: Store, audit: Audit, clock: Callable[[], float], leeway: float, registry: Registry
    ) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._leeway = leeway
        self._registry = registry
        self._index = RecordIndex(store, COLLECTION, CutOff.from_document)
        self._by_place: tuple[int, Mapping[_Place, CutOff | RecordDamaged]] = 0, {}
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def set(self, user: str | None, application: str | None, before: int | None) -> CutOff:
        """Refuse all tokens issued up to ``before`` (milliseconds since 1970; None: now) of a user or application.

        With both, those of the user from this application. As soon as this returns, no process accepts them. An earlier
        cut-off of the same is never taken back: the later time remains.
        """
        wanted = self.wanted(user or "", application or "", before)

        def change(document: Document | None) -> Document:
            return (wanted if document is None else CutOff.from_document(document).merge(wanted)).to_document()

        with self._audit.change() as record:
            record(
                Event(
                    kind=Kind.TOKENS_CUT_OFF,
                    user=user or None,
                    application=application or None,
                    tokens_before=wanted.before,
                )
            )
            stored = self._store.update(COLLECTION, _name(wanted.user, wanted.application), change)
        self._sweeper.sweep_if_due()
        return CutOff.from_document(stored)

    def wanted(self, user: str, application: str, before: int | None) -> CutOff:
        """Return the cut-off that ``set`` would store now if there is no other; an empty text stands for all."""
        now = self._clock()
        before = int(now * 1000) if before is None else before
        if before > now * 1000:
            raise InvalidInput.of("before", "must not be in the future: now revokes all tokens that were issued so far")
        found = CutOff(user, application, before, int(now * 1000), self._audit.actor or "", before / 1000)
        listing = self._registry.index()
        for one in listing.entries:
            found = found.until_expiry(one.name, one.expire, one.last_expiry)
        known = {fold(one.name) for one in listing.entries}
        if listing.damaged or (application and fold(application) not in known):
            # Their ``expire`` is not known: they are damaged, or on another node, or deleted and may be added again.
            found = found.until_expiry(application, LONGEST_EXPIRE, 0)
        return found

    def refusing(self, user: str, application: str, issued: float | None) -> CutOff | None:
        """Return the cut-off that refuses a token issued at ``issued`` (seconds since 1970; None: unknown)."""
        return _first_refusing(self.concerning(user, application), issued, self._expired_by())

    def refusing_new_user(self, user: str, application: str, issued: float | None) -> CutOff | None:
        """Return the cut-off because of which a token does not create its user.

        The user may have been deleted: a token without ``iat`` creates nobody again, however long it is valid.
        """
        found, now = self.concerning(user, application), self._expired_by()
        return next((one for one in found if one.refuses(issued, now) or (issued is None and one.user)), None)

    def new_iat(
        self, user: str, application: str, now: float, is_known: Callable[[], bool] = lambda: True
    ) -> int | None:
        """Return the ``iat`` that a token issued at ``now`` needs because of a cut-off, or None.

        ``is_known`` returns whether the user exists: otherwise the token has to create the user.

        Raises ``JustRevoked`` in the second of the cut-off, whose tokens are refused. Times are in seconds since 1970.
        """
        concerning = self.concerning(user, application)
        if _first_refusing(concerning, None, now - self._leeway) is None and (
            not any(one.user for one in concerning) or is_known()
        ):
            return None
        last = max(one.second for one in concerning)
        wait = last + 1 - int(now)
        if wait > 0:
            raise JustRevoked(wait)
        return int(now)

    def of_user(self, user: str) -> Sequence[CutOff]:
        """Return the cut-offs in force of the user, of all applications and of single ones."""
        return self._in_force(0, user)

    def of_application(self, application: str) -> Sequence[CutOff]:
        """Return the cut-offs in force of the application, of all users and of single ones."""
        return self._in_force(1, application)

    def sweep(self) -> None:
        """Remove the cut-offs that have been older than any token for a day."""
        self._sweeper.sweep()

    def _in_force(self, part: int, name: str) -> Sequence[CutOff]:
        found = [one for place, one in self._all().items() if place[part] == fold(name)]
        valid = [one for one in found if isinstance(one, CutOff) and self._expired_by() < one.until]
        return sorted(valid, key=lambda one: one.before, reverse=True)

    def concerning(self, user: str, application: str) -> list[CutOff]:
        """Return the cut-offs that may refuse a token of this user and application."""
        cut_offs = self._all()
        if not cut_offs:
            return []
        found = [cut_offs[place] for place in _places(user, application) if place in cut_offs]
        for one in found:
            if isinstance(one, RecordDamaged):
                raise one
        return [one for one in found if isinstance(one, CutOff)]

    def _all(self) -> Mapping[_Place, CutOff | RecordDamaged]:
        content = self._index.all(thorough=False)
        # As one value: another thread may replace it meanwhile, by an older one too.
        version, places = self._by_place
        if version != content.version:
            places = {_place(name, one): one for name, one in content.records.values()}
            self._by_place = content.version, places
        return places

    def _expired_by(self) -> float:
        """Return the time up to which the ``exp`` of a refused token lies, in seconds since 1970."""
        return self._clock() - self._leeway

    def _is_over(self, document: Document) -> bool:

        try:
            found = CutOff.from_document(document)
        except RecordDamaged:
            return False
        # A token with ``iat`` that others issued can be valid for as long as the longest ``expire``.
        return self._clock() >= max(found.until, found.second + LONGEST_EXPIRE) + self._leeway + LATER


def _name(user: str, application: str) -> str:
    return f"{user}:{application}"


def _place(name: str, found: CutOff | RecordDamaged) -> _Place:
    if isinstance(found, CutOff):
        return fold(found.user), fold(found.application)
    # The last colon: a user name has none, but a folded one can.
    user, colon, application = fold(name).rpartition(":")
    # A file that was renamed by hand, or a name so long that the store hashed it, may concern everybody.
    return (user, application) if colon and "~" not in name else ("", "")


def _places(user: str, application: str) -> Sequence[_Place]:
    """Return the places of all cut-offs that may concern a token."""
    user, application = fold(user), fold(application)
    return ("", ""), (user, ""), ("", application), (user, application)


def _first_refusing(cut_offs: Sequence[CutOff], issued: float | None, now: float) -> CutOff | None:
    return next((one for one in cut_offs if one.refuses(issued, now)), None)
