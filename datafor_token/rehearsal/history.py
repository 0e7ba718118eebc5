"""History of sign-ins: noted in memory, once per token, day and address, and stored in the background."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from datafor_token.audit.events import Origin
from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.records import COLLECTION, DAY, KeptSignIn, UserRecord, claims_of, token_of
from datafor_token.store.background import BackgroundWriter
from datafor_token.store.base import Document, Store
from datafor_token.tokens.networks import ClientSource
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.users.users import Users
from datafor_token.validation import logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

_MOST_NOTED = 50_000  # tokens and addresses of a day in the memory of a worker: about 10 MB
_MOST_WAITING = 5_000  # sign-ins that are not stored yet; in an outage further ones are lost
_WAIT = 1.0  # seconds that a write waits for other writers


class SignInHistory(BackgroundWriter):
    """The accepted sign-ins of the last ``days`` (0: none are kept).

    ``clock`` returns seconds since 1970; ``origin`` returns whose request is being served. What cannot be stored is
    lost: no sign-in fails for it. Methods that read raise ``StoreUnavailable`` in an outage.
    """

    seconds = 5.0

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
        self._noted: set[tuple[str, str | None]] = set()
        self._waiting: dict[tuple[str, int, str], KeptSignIn] = {}
        self._swept = clock()

    def note(self, token: VerifiedToken, client: ClientSource) -> None:
        """Note that a token or one-time link signs in now, unless it did so today from the same address."""
        if not self.days:
            return
        now = self._clock()
        if now // DAY != self._day:
            self._day, self._noted = int(now // DAY), set()
        origin = self._origin()
        noted = token_of(token), origin.address
        is_late = now >= token.expires
        if noted in self._noted and not is_late:
            return
        if len(self._noted) < _MOST_NOTED and len(self._waiting) < _MOST_WAITING:
            self._noted.add(noted)
            kept = self._kept(token, client, now, origin, is_late=is_late)
            before = self._waiting.get(kept.place)
            self._waiting[kept.place] = kept if before is None else before.merge(kept)
            self.wake()

    def _kept(
        self, token: VerifiedToken, client: ClientSource, now: float, origin: Origin, *, is_late: bool
    ) -> KeptSignIn:
        application, found = token.application, client()
        # The service makes one-time links, and has no rules about their claims.
        of_claims = _NO_CLAIMS if token.identifier is None else claims_of(token)
        return KeptSignIn(
            user=token.username,
            application=application.name,
            algorithm=application.algorithm,
            key=self._fingerprints.present(token.signer.key),
            token=token_of(token),
            is_link=token.identifier is None,
            token_name=application.token_name if origin.way == "url" else None,
            address=found.address,
            is_known=found.unknown is None,
            time=now,
            late=now if is_late else None,
            request_id=origin.request_id,
            **of_claims,
        )

    def every(self, since: float) -> Iterator[UserRecord]:
        """Yield the records of all users, with the days since a time (seconds since 1970).

        Sign-ins of other workers in the last seconds may be missing, and those of damaged records are.
        """
        self.flush(_WAIT)
        for _, document in self._store.documents(COLLECTION):
            try:
                if isinstance(document, RecordDamaged):
                    raise document
                yield UserRecord.from_document(document).since(int(since // DAY))
            except RecordDamaged as error:
                log.warning(logs.event("record damaged", reason=error.reason))

    def of_user(self, name: str) -> UserRecord:
        """Return the record of a user; raise ``RecordDamaged``."""
        document = self._store.get(COLLECTION, name)
        return UserRecord(name) if document is None else UserRecord.from_document(document)

    def remove(self, user: str) -> None:
        """Remove the sign-ins of a user, best effort; a sweep removes what remains of a user who does not exist."""
        for place in [place for place, one in list(self._waiting.items()) if fold(one.user) == fold(user)]:
            self._waiting.pop(place, None)
        with contextlib.suppress(StoreUnavailable):
            self._store.delete(COLLECTION, user)

    def store_noted(self, ends: float | None) -> bool:
        """Store the sign-ins in memory, with one write for each user."""
        of_users: dict[str, list[KeptSignIn]] = {}
        for _ in range(len(self._waiting)):
            one = self._waiting.popitem()[1]
            of_users.setdefault(fold(one.user), []).append(one)
        try:
            while of_users and (ends is None or time.monotonic() < ends):
                key, sign_ins = next(iter(of_users.items()))
                with contextlib.suppress(RecordDamaged):
                    self._add(sign_ins)
                del of_users[key]
            if ends is None and abs(self._clock() - self._swept) >= DAY:
                self.sweep()
        except StoreUnavailable:
            self._put_back(of_users)
            return False
        self._put_back(of_users)
        return True

    def _put_back(self, of_users: dict[str, list[KeptSignIn]]) -> None:
        for one in (one for sign_ins in of_users.values() for one in sign_ins):
            later = self._waiting.get(one.place)
            self._waiting[one.place] = one if later is None else one.merge(later)

    def _add(self, sign_ins: list[KeptSignIn]) -> None:
        user = self._users.get(sign_ins[0].user)
        # One who was deleted since, and perhaps created again, has no sign-ins.
        added = [] if user is None else [one for one in sign_ins if one.time >= user.created_date / 1000 - 1]
        if user is None or not added:
            return

        def change(document: Document | None) -> Document:
            stored = UserRecord(user.name) if document is None else UserRecord.from_document(document)
            return stored.since(self._first_day()).add(added).to_document()

        self._store.update(COLLECTION, user.name, change, wait=_WAIT)

    def _first_day(self) -> int:
        return int(self._clock() // DAY) - self.days

    def forget_noted(self) -> None:
        """Forget the sign-ins in memory."""
        self._waiting, self._noted = {}, set()

    def sweep(self) -> None:
        """Remove the days that are over, the sign-ins of users who do not exist, and all if none are to be kept."""
        self._swept = self._clock()
        first = self._first_day()
        for name, document in self._store.documents(COLLECTION):
            try:
                self._sweep_one(name, document, first)
            except StoreUnavailable:
                continue

    def _sweep_one(self, name: str, document: Document | RecordDamaged, first: int) -> None:
        found = None if isinstance(document, RecordDamaged) else UserRecord.from_document(document)
        if not self.days or self._users.get(name) is None:
            self._store.delete(COLLECTION, name)
        elif found is not None and (kept := found.since(first)) != found:
            if kept == UserRecord(found.name):
                self._store.delete(COLLECTION, name)
            else:
                self._store.update(
                    COLLECTION,
                    name,
                    lambda present: (
                        (found if present is None else UserRecord.from_document(present)).since(first).to_document()
                    ),
                    wait=_WAIT,
                )


_NO_CLAIMS = {"typ": "", "times": {}, "claims": (), "username_claim": "", "values": {}, "missing": ()}
