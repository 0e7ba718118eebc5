"""Cut-offs: all tokens of a user, of an application, or of a user from one application are refused up to a time.

They are cached in memory: a request looks only at the stamp of their collection.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.applications.registry import Registry
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import InvalidInput, JustRevoked, Message, RecordDamaged
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordIndex
from datafor_token.store.sweeping import Sweeper
from datafor_token.validation import times
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

COLLECTION = "cut_offs"
FORMAT = 1
# Seconds, the longest ``expire`` of an application: a token with ``iat`` that others issued can be valid for as long.
_KEPT = 315_360_000
_Place = tuple[str, str]  # user and application, folded; an empty text stands for all


@dataclasses.dataclass(frozen=True)
class CutOff:
    """A cut-off. Without ``user`` it concerns all users, without ``application`` the tokens of all applications.

    Tokens issued up to the second of ``before`` are refused. ``set`` is the time when ``by`` set it; both are in
    milliseconds since 1970. Until ``until``, in seconds since 1970, tokens without ``iat`` are refused too, since they
    may be from before.
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

    def to_response(self) -> dict[str, Any]:
        """Return the members that calls and commands show."""
        named = {"user": self.user, "application": self.application}
        return {
            **{name: value for name, value in named.items() if value},
            "before": self.before,
            "set": self.set,
            "by": self.by,
        }

    def describe(self, issued: float | None) -> Message:
        """Return the sentence about a token that it refuses, issued at ``issued``."""
        whom = Message("%(user)s", user=self.user) if self.user else Message("all users")
        if self.application:
            whom = Message("%(whom)s of %(application)s", whom=whom, application=self.application)
        sentence = Message(
            "revoked for %(whom)s on %(time)s by %(actor)s: tokens issued up to %(before)s are refused",
            whom=whom,
            time=times.show(self.set / 1000),
            actor=self.by,
            before=times.show(self.second),
        )
        if issued is not None:
            return sentence
        return Message("%(first)s, and this one does not say when it was issued: it has no iat", first=sentence)

    def to_document(self) -> Document:
        """Return the record."""
        return {"format": FORMAT, "name": _name(self.user, self.application), **dataclasses.asdict(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "CutOff":
        """Read a record, which may have been edited by hand; raise ``RecordDamaged``."""
        try:
            found = cls(**{field.name: document[field.name] for field in dataclasses.fields(cls)})
        except KeyError as error:
            raise RecordDamaged(reason=f"cut-off {document.get('name')!r}: {error} is missing") from None
        for field, kinds in _TYPES.items():
            if type(getattr(found, field)) not in kinds:
                raise RecordDamaged(reason=f"cut-off {document.get('name')!r}: {field} has an invalid value")
        if type(document.get("format")) is not int or document["format"] > FORMAT:
            raise RecordDamaged(reason=f"cut-off {document.get('name')!r}: a newer version wrote the record")
        return found


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("user", "application", "by"), (str,)),
    **dict.fromkeys(("before", "set"), (int,)),
    "until": (int, float),
}


def merged(present: Document, restored: Document) -> Document:
    """Return the cut-off of a backup or the present one of the same name, whichever refuses more.

    A present record that is damaged is replaced.
    """
    theirs = CutOff.from_document(restored)
    try:
        ours = CutOff.from_document(present)
    except RecordDamaged:
        return restored
    return _later(ours, theirs).to_document()


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
        wanted = self._wanted(user or "", application or "", before)

        def change(document: Document | None) -> Document:
            stored = None if document is None else CutOff.from_document(document)
            if stored is None:
                return wanted.to_document()
            return _later(stored, wanted).to_document()

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

    def _wanted(self, user: str, application: str, before: int | None) -> CutOff:
        now = self._clock()
        before = int(now * 1000) if before is None else before
        if before > now * 1000:
            raise InvalidInput.of("before", "must not be in the future: give a time in milliseconds since 1970, or now")
        entries = self._registry.index().entries
        concerned = [entry for entry in entries if fold(entry.name) == fold(application)] or entries
        expire_by = max((entry.tokens_expire_by(before / 1000) for entry in concerned), default=before / 1000)
        return CutOff(user, application, before, int(now * 1000), self._audit.actor or "", expire_by + self._leeway)

    def refusing(self, user: str, application: str, issued: float | None) -> CutOff | None:
        """Return the cut-off that refuses a token issued at ``issued`` (seconds since 1970; None: unknown)."""
        return _first_refusing(self.concerning(user, application), issued, self._clock())

    def refusing_now(self, user: str, application: str, issued: float | None) -> CutOff | None:
        """Do the same from the store itself, and not as of the beginning of the request.

        It is called under the lock of another collection, so that no cut-off that was set before is missed.
        """
        documents = [self._store.get(COLLECTION, _name(*place)) for place in _places(user, application)]
        found = [CutOff.from_document(document) for document in documents if document is not None]
        return _first_refusing(found, issued, self._clock())

    def new_iat(self, user: str, application: str, now: float) -> int | None:
        """Return the ``iat`` that a token issued at ``now`` needs because of a cut-off, or None.

        Raises ``JustRevoked`` in the second of the cut-off, whose tokens are refused. Times are in seconds since 1970.
        """
        in_force = [one for one in self.concerning(user, application) if now < one.until or int(now) <= one.second]
        if not in_force:
            return None
        last = max(one.second for one in in_force)
        if int(now) <= last:
            raise JustRevoked(last + 1 - int(now))
        return int(now)

    def of_user(self, user: str) -> Sequence[CutOff]:
        """Return the cut-offs in force of the user, of all applications and of single ones."""
        return self._in_force(0, user)

    def of_application(self, application: str) -> Sequence[CutOff]:
        """Return the cut-offs in force of the application, of all users and of single ones."""
        return self._in_force(1, application)

    def sweep(self) -> None:
        """Remove the cut-offs that are older than any token can be."""
        self._sweeper.sweep()

    def _in_force(self, part: int, name: str) -> Sequence[CutOff]:
        now = self._clock()
        found = [one for place, one in self._all().items() if place[part] == fold(name)]
        valid = [one for one in found if isinstance(one, CutOff) and now < one.until]
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
        if self._by_place[0] != content.version:
            places = {_place(name): one for name, one in content.records.values()}
            self._by_place = content.version, places
        return self._by_place[1]

    def _is_over(self, document: Document) -> bool:
        try:
            found = CutOff.from_document(document)
        except RecordDamaged:
            return False
        return self._clock() >= max(found.until, found.second + _KEPT + self._leeway)


def _later(one: CutOff, other: CutOff) -> CutOff:
    """Return the later of two cut-offs of the same tokens, in force as long as one of them."""
    latest = max(one, other, key=lambda found: found.before)
    return dataclasses.replace(latest, until=max(one.until, other.until))


def _name(user: str, application: str) -> str:
    # Neither name can have a colon.
    return f"{user}:{application}"


def _place(name: str) -> _Place:
    # A damaged record can have any name. Without a colon, it may concern everybody.
    user, _, application = fold(name).partition(":") if ":" in name else ("", "", "")
    return user, application


def _places(user: str, application: str) -> Sequence[_Place]:
    """Return the places of all cut-offs that may concern a token."""
    user, application = fold(user), fold(application)
    return ("", ""), (user, ""), ("", application), (user, application)


def _first_refusing(cut_offs: Sequence[CutOff], issued: float | None, now: float) -> CutOff | None:
    return next((one for one in cut_offs if one.refuses(issued, now)), None)
