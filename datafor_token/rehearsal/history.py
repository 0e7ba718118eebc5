"""History of sign-ins: noted in memory, once per token, day and address, and stored in the background."""

import collections
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from datafor_token.audit.events import Origin
from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.records import (
    COLLECTION,
    DAY,
    MOST,
    Circumstances,
    KeptSignIn,
    UserRecord,
    claims_of,
    kept_days,
    remove_record,
    times_of,
    token_of,
)
from datafor_token.store.background import BackgroundWriter
from datafor_token.store.base import Document, Store
from datafor_token.tokens.networks import ClientSource
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.users.users import User, Users
from datafor_token.validation import logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

_MOST_NOTED = 50_000  # tokens and addresses of a day in the memory of a worker: about 10 MB
_MOST_WAITING = 5_000  # sign-ins that are not stored yet; in an outage further ones are lost
_WAIT = 1.0  # seconds that a write waits for other writers
# Seconds between writes. A user with a new token for each request has a record that takes 50 ms: with 200 of them, the
# writes would take a core. So a pause is longer than the writes before it, up to the limit, at which these writes take
# a seventh of a core: a rehearsal in another worker does not know what waits, and a crash loses it.
_SHORTEST_PAUSE, _LONGEST_PAUSE, _TIMES = 5.0, 60.0, 20


class _Noted(NamedTuple):
    """A sign-in that is not stored yet, and the ``created_date`` of its user.

    With ``number``, it stands for so many of the user and day that are only counted.
    """

    kept: KeptSignIn
    created: int
    number: int = 0

    @property
    def place(self) -> tuple[str, int, str]:
        """The place of the sign-in, or one for all of the user and day that are only counted."""
        return ("", self.kept.day, fold(self.kept.user)) if self.number else self.kept.place

    def merge(self, other: "_Noted") -> "_Noted":
        """Return both as one; of two users of one name, only the later one's."""
        if self.created != other.created:
            return max(self, other, key=lambda one: one.created)
        kept = self.kept if self.number else self.kept.merge(other.kept)
        return _Noted(kept, self.created, self.number + other.number)


class SignInHistory(BackgroundWriter):
    """The accepted sign-ins of the last ``days`` (0: none are kept).

    ``clock`` returns seconds since 1970; ``origin`` returns whose request is being served. What cannot be stored is
    lost: no sign-in fails for it. Methods that read raise ``StoreUnavailable`` in an outage.
    """

    seconds = _SHORTEST_PAUSE

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        users: Users,
        fingerprints: Fingerprints,
        clock: Callable[[], float],
        origin: Callable[[], Origin],
        days: int,
    ) -> None:
        super().__init__()
        self.days = days
        self._store = store
        self._users = users
        self._fingerprints = fingerprints
        self._clock = clock
        self._origin = origin
        self._day = 0
        self._noted: set[tuple[str, str | None, bool]] = set()
        # Of this day, by user and ``created_date``.
        self._numbers: collections.Counter[tuple[str, int]] = collections.Counter()
        self._waiting: dict[tuple[str, int, str], _Noted] = {}
        self._is_losing = False

    def note(self, token: VerifiedToken, client: ClientSource, user: User) -> None:
        """Note that a token or one-time link signs in a user now, unless it did so today from the same address."""
        if not self.days:
            return
        now = self._clock()
        if now // DAY != self._day:
            self._day = int(now // DAY)
            self._forget_day()
        origin = self._origin()
        # In the URL, fewer applications may accept it.
        noted = token_of(token), origin.address, origin.way == "url"
        is_late = now >= token.expires
        if noted in self._noted and not is_late:
            return
        if len(self._noted) >= _MOST_NOTED:
            # They are stored again, which changes nothing.
            self._forget_day()
        is_new = self._noted.isdisjoint(((*noted[:2], True), (*noted[:2], False)))
        of_user = fold(user.name), user.created_date
        # Of one user no more are kept: further ones must not take the place of those of other users.
        is_left_out = is_new and self._numbers[of_user] >= MOST
        kept = self._kept(token, client, now, origin, is_late=is_late)
        one = _Noted(kept, user.created_date, int(is_left_out))
        if one.place not in self._waiting and len(self._waiting) >= _MOST_WAITING:
            self._warn_of_loss()
            return
        self._noted.add(noted)
        self._numbers[of_user] += is_new
        self._wait(one)
        self.wake()

    def _wait(self, noted: _Noted) -> None:
        before = self._waiting.get(noted.place)
        self._waiting[noted.place] = noted if before is None else before.merge(noted)

    def _warn_of_loss(self) -> None:
        if not self._is_losing:
            self._is_losing = True
            log.warning(logs.event("sign-ins not kept", number=len(self._waiting)))

    def _kept(
        self, token: VerifiedToken, client: ClientSource, now: float, origin: Origin, *, is_late: bool
    ) -> KeptSignIn:
        application, found = token.application, client()
        is_link = token.identifier is None
        circumstances = Circumstances(
            application=application.name,
            algorithm=application.algorithm,
            key=self._fingerprints.present(token.signer.key),
            is_link=is_link,
            token_name=application.token_name if origin.way == "url" else None,
            is_known=found.unknown is None,
            # The service creates one-time links, and has no rules about their claims.
            **({} if is_link else claims_of(token)),
        )
        return KeptSignIn(
            user=token.username,
            circumstances=circumstances,
            token=token_of(token),
            address=found.address,
            time=now,
            late=now if is_late else None,
            request_id=origin.request_id,
            times={} if is_link else times_of(token),
        )

    def every(
        self, since: float, find: Callable[[str], User | None], damaged: Callable[[], object] = lambda: None
    ) -> Iterator[UserRecord]:
        """Yield the records of all users that ``find`` returns by name, with the days since a time (s since 1970).

        Sign-ins of other workers in the last seconds may be missing. ``damaged`` is called for each record that cannot
        be read, which is left out.
        """
        self.flush(_WAIT)
        if self._waiting:
            self.wake()
        present = kept_days(self._clock(), self.days)
        days = range(max(int(since // DAY), present.start), present.stop)
        for _, document in self._store.documents(COLLECTION):
            try:
                if isinstance(document, RecordDamaged):
                    raise document
                record = UserRecord.from_document(document)
                user = find(record.name)
            except RecordDamaged as error:
                log.warning(logs.event("record damaged", reason=error.reason))
                damaged()
                continue
            if user is not None and user.created_date == record.created:
                yield record.within(days)

    def remove(self, user: str) -> None:
        """Remove the sign-ins of a deleted user, best effort; a sweep removes what remains.

        To be called after the user is deleted: what another worker stores later, it removes itself.
        """
        for place, noted in self._waiting.copy().items():
            if fold(noted.kept.user) == fold(user):
                self._waiting.pop(place, None)
        remove_record(self._store, user)

    def store_noted(self, ends: float | None) -> bool:
        """Store the sign-ins in memory, with one write for each user."""
        begun = time.monotonic()
        of_users: dict[str, list[_Noted]] = {}
        # A rehearsal may take them too.
        with contextlib.suppress(KeyError):
            for _ in range(len(self._waiting)):
                one = self._waiting.popitem()[1]
                of_users.setdefault(fold(one.kept.user), []).append(one)
        try:
            while of_users and (ends is None or time.monotonic() < ends):
                key, noted = next(iter(of_users.items()))
                with contextlib.suppress(RecordDamaged):
                    self._add(noted)
                del of_users[key]
                self._is_losing = False
        except StoreUnavailable:
            return False
        finally:
            for one in (one for noted in of_users.values() for one in noted):
                self._wait(one)
            self.seconds = min(max(_SHORTEST_PAUSE, (time.monotonic() - begun) * _TIMES), _LONGEST_PAUSE)
        return True

    def _add(self, noted: list[_Noted]) -> None:
        """Add sign-ins to the record of their user, unless the user is deleted, or another one, by now."""
        user = self._users.get(noted[0].kept.user)
        if user is None:
            # Also what an earlier attempt stored when the user was being deleted.
            self._store.delete(COLLECTION, noted[0].kept.user)
            return
        name, created = user.name, user.created_date
        added = [one for one in noted if one.created == created]
        if not added:
            return
        kept = [one.kept for one in added if not one.number]
        left_out = {one.kept.day: one.number for one in added if one.number}

        def change(document: Document | None) -> Document:
            stored = UserRecord(name, created) if document is None else UserRecord.from_document(document)
            if stored.created != created:
                stored = UserRecord(name, created)
            return stored.add(kept, left_out).within(kept_days(self._clock(), self.days)).to_document()

        self._store.update(COLLECTION, name, change, wait=_WAIT)
        # The deletion of a user is followed by that of the sign-ins: one of both sees the other's change.
        if self._users.get(name) is None:
            self._store.delete(COLLECTION, name)

    def forget_noted(self) -> None:
        """Forget the sign-ins in memory."""
        self._waiting = {}
        self._forget_day()

    def _forget_day(self) -> None:
        self._noted = set()
        self._numbers.clear()
