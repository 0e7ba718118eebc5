"""Sets of keys by URL: fetched in the background, stored for all workers and nodes, and used while a provider is away.

Every process looks at the version of the stored set at each use. Fetching is claimed in the store first, so that one
process fetches for all of them, and as often as the limits below allow, whatever tokens arrive.
"""

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from datafor_token import blocking
from datafor_token.crypto.keys import Key, KeySet
from datafor_token.errors import Overloaded, RecordDamaged, StoreUnavailable
from datafor_token.fifo_cache import FifoCache
from datafor_token.providers.records import (
    COLLECTION,
    Attempt,
    Place,
    StoredSet,
    attempt_of,
    is_attempt,
    place_of,
    set_of,
)
from datafor_token.settings import Settings
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache
from datafor_token.validation import logs

if TYPE_CHECKING:
    from datafor_token.providers.client import Client

log = logging.getLogger(__name__)

# In milliseconds.
REFRESH = 600_000  # between two attempts
RETRY = 60_000  # between two attempts for an unknown kid, or without a set
USABLE = 7 * 86_400_000  # how long a set is used after the last attempt that succeeded
UNUSED = 86_400_000  # after which the set of a place that no application names is deleted

LONGEST_WAIT = 2.0  # seconds that a request waits for keys
_LOOK, _SWEEP = 20.0, 3600.0  # seconds between two looks of the background thread, and between two sweeps
_POLL = 0.05  # seconds between two looks at the attempt of another process
_MOST = 4096  # places
_MOST_FETCHES = 4  # for unknown kids, at once in a process

Wanted = Callable[[], Iterable[tuple[str, str]]]


class Status(NamedTuple):
    """The state of a place.

    - ``kids``: of the stored keys, whatever their age.
    - ``fetched``: when they were last fetched, in milliseconds since 1970, or None.
    - ``error``: the sentence of the last attempt if it failed, or why no key is usable, or None.
    """

    kids: Sequence[str]
    fetched: int | None
    error: str | None


class ProviderKeys:
    """``KeySource`` of an application with ``jwks_uri``: the keys that are stored now, looked up at each use.

    Every method raises ``StoreUnavailable`` in an outage.
    """

    __slots__ = ("_algorithm", "_sets", "place")

    def __init__(self, sets: "KeySets", place: Place, algorithm: str) -> None:
        self.place = place
        self._sets = sets
        self._algorithm = algorithm

    def status(self) -> Status:
        """Return what is known of the keys. A set without a key for the algorithm is an error too."""
        found, keys = self._sets.status(self.place), self.current
        if found.error is None and keys is not None and not keys.all():
            return found._replace(error=f"jwks_uri has no key for {self._algorithm}: is it the provider's algorithm?")
        return found

    @property
    def current(self) -> KeySet | None:
        """The keys: the same object while their record has the same version. None: none for the last 7 days."""
        found = self._sets.usable(self.place)
        return None if found is None else found.for_algorithm(self._algorithm)

    def signer(self, message: bytes, signature: bytes, kid: str | None) -> Key | None:
        """Return the key that made the signature, or None."""
        keys = self.current
        return None if keys is None else keys.signer(message, signature, kid)

    def all(self) -> Sequence[Key]:
        """Return all keys."""
        keys = self.current
        return () if keys is None else keys.all()


class KeySets:
    """The sets of keys of all places.

    ``clock`` returns seconds since 1970. ``counted`` is called with ``fetched`` or ``failed`` after each attempt.
    ``renew`` lets the current request see what was stored since it began.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        clock: Callable[[], float],
        settings: Settings,
        counted: Callable[[str], None] = lambda _: None,
        client: "Client | None" = None,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self._renew = renew
        self._store = store
        self._clock = clock
        self._counted = counted
        self._settings = settings
        self._client = client
        self._sets = RecordCache(store, COLLECTION, set_of)
        self._attempts = RecordCache(store, COLLECTION, attempt_of)
        # Sets that could not be stored, by name.
        self._unstored: FifoCache[str, StoredSet] = FifoCache(_MOST)
        # The times of the last attempt of this process, and of the last success that it knows.
        self._attempted: FifoCache[str, int] = FifoCache(_MOST)
        self._succeeded: FifoCache[str, int] = FifoCache(_MOST)
        # When this process may next fetch for an unknown kid.
        self._next: FifoCache[str, int] = FifoCache(_MOST)
        self._fetches: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._waiting = threading.Lock()
        self._wanted: Wanted | None = None
        self._thread: tuple[int, threading.Thread] | None = None
        self._woken = threading.Event()
        self._swept = time.monotonic()

    def source(self, uri: str, issuer: str, algorithm: str) -> ProviderKeys:
        """Return the keys of an application, which looks them up at each use."""
        return ProviderKeys(self, Place(uri, issuer), algorithm)

    def status(self, place: Place) -> Status:
        """Return what is known of a place; raise ``StoreUnavailable`` in an outage."""
        found, attempt = self._set(place), self._attempt(place)
        fetched = max((one for one in (found and found.fetched, attempt.fetched) if one), default=None)
        return Status([] if found is None else found.kids, fetched, attempt.error)

    def usable(self, place: Place) -> StoredSet | None:
        """Return the stored set of a place, or None if none was fetched in the last 7 days."""
        self.start()
        found = self._set(place)
        if found is None:
            return None
        oldest = self._now() - USABLE
        if found.fetched > oldest or (self._succeeded.get(place.name) or 0) > oldest:
            # The last success is only looked up when the known one is too old.
            return found
        fetched = self._attempt(place).fetched or 0
        self._succeeded.put(place.name, fetched)
        return found if fetched > oldest else None

    # Fetching in the background.

    def watch(self, wanted: Wanted) -> None:
        """Allow this installation to fetch. ``wanted`` returns URL and issuer of each application that has them.

        The background thread starts with ``start``, in each process that serves requests; never in a command.
        """
        self._wanted = wanted

    def start(self) -> None:
        """Start the background thread of this process, if ``watch`` was called and it does not run yet."""
        if self._wanted is None or (self._thread is not None and self._thread[0] == os.getpid()):
            return
        with self._lock:
            if self._thread is None or self._thread[0] != os.getpid():
                # A fork takes over the attributes, but no thread.
                self._woken = threading.Event()
                self._fetches = {}
                thread = threading.Thread(target=self._run, name="key sets", daemon=True)
                self._thread = os.getpid(), thread
                thread.start()

    def stop(self) -> None:
        """End the background thread after what it does now, and fetch no more."""
        self._wanted = None
        self._woken.set()

    def wake(self) -> None:
        """Look for places to fetch now: after an application was stored."""
        self.start()
        self._woken.set()

    def refresh(self) -> None:
        """Fetch the keys of every wanted place whose last attempt was too long ago, unless another process does."""
        if self._wanted is None:
            return
        for uri, issuer in dict.fromkeys(self._wanted()):
            place = Place(uri, issuer)
            interval = RETRY if self._set(place) is None else REFRESH
            if self._is_due(self._attempt(place), interval) and self._claim(place, interval):
                self._fetch(place)

    def sweep(self) -> None:
        """Delete the sets of places that no application has named for a day; raise ``StoreUnavailable``."""
        if self._wanted is None:
            return
        wanted = {Place(uri, issuer).name for uri, issuer in self._wanted()}
        used: dict[str, int] = {}
        names = []
        for name, document in self._store.documents(COLLECTION):
            with contextlib.suppress(RecordDamaged):
                if isinstance(document, RecordDamaged):
                    continue
                names.append(name)
                last = attempt_of(document).attempted if is_attempt(name) else set_of(document).fetched
                place = place_of(document).name
                used[place] = max(used.get(place, 0), last)
        for place, last in used.items():
            if place not in wanted and self._now() - last >= UNUSED:
                for name in names:
                    if name.startswith(place):
                        self._store.delete(COLLECTION, name)

    def _run(self) -> None:
        while self._wanted is not None:
            try:
                self.refresh()
                if time.monotonic() - self._swept >= _SWEEP:
                    self._swept = time.monotonic()
                    self.sweep()
            except StoreUnavailable as error:
                log.warning(logs.event("keys not refreshed", reason=error.reason))
            except Exception:
                # The thread must live: nothing else refreshes the keys.
                log.exception(logs.event("fetching keys failed"))
            self._woken.wait(_LOOK)
            self._woken.clear()

    # Fetching for a request.

    def refetch(self, places: Iterable[Place], kid: str | None) -> None:
        """Fetch the keys of the places of which none has this ``kid``, each at most once a minute over all processes.

        One request of each process waits up to 2 s for all results together; others return at once.
        """
        if self._wanted is None:
            return
        sets = {place: self.usable(place) for place in places}
        lacking = [place for place, found in sets.items() if found is None or kid not in found.kids]
        fetches = [fetch for place in lacking if (fetch := self._begin(place)) is not None]
        if not fetches or not self._waiting.acquire(blocking=False):
            return
        end = time.monotonic() + LONGEST_WAIT
        try:
            # Without a free thread for other requests, it does not wait.
            with contextlib.suppress(Overloaded), blocking.waiting():
                for fetch in fetches:
                    fetch.wait(max(0.0, end - time.monotonic()))
        finally:
            self._waiting.release()
        self._renew()

    def _begin(self, place: Place) -> threading.Event | None:
        """Return the fetch of a place that runs in this process; begin one if the limits allow."""
        with self._lock:
            running = self._fetches.get(place.name)
            now = self._now()
            # A time too far ahead is from before the clock was set back.
            if running is not None or 0 < (self._next.get(place.name) or 0) - now <= RETRY:
                return running
            if len(self._fetches) >= _MOST_FETCHES:
                return None
            self._next.put(place.name, now + RETRY)
            fetch = self._fetches[place.name] = threading.Event()
        threading.Thread(target=self._fetch_once, args=(place, fetch), name="fetch keys", daemon=True).start()
        return fetch

    def _fetch_once(self, place: Place, done: threading.Event) -> None:
        # In a thread of its own, also because a request of a SQL store sees no changes of others until it ends.
        try:
            if self._claim(place, RETRY):
                self._fetch(place)
            else:
                self._wait_for_others(place)
            # What this thread reads and caches, the waiting request sees too.
            self._set(place)
        except StoreUnavailable as error:
            log.warning(logs.event("keys not refreshed", reason=error.reason))
        except Exception:
            log.exception(logs.event("fetching keys failed"))
        finally:
            with self._lock:
                self._fetches.pop(place.name, None)
            done.set()

    def _wait_for_others(self, place: Place) -> None:
        """Wait until the attempt of another process has a result, and note when the next one may begin."""
        attempt = self._attempt(place)
        self._next.put(place.name, attempt.attempted + RETRY)
        end = time.monotonic() + LONGEST_WAIT
        while attempt.is_pending and time.monotonic() < end:
            time.sleep(_POLL)
            attempt = self._attempt(place)

    # The fetch itself.

    def _fetch(self, place: Place) -> None:
        """Fetch the keys of a place, after ``_claim``, and store the result."""
        # Importing them takes 40 ms, and a command fetches nothing.
        from datafor_token.providers import documents  # noqa: PLC0415
        from datafor_token.providers.client import Client, FetchError  # noqa: PLC0415

        client = self._client or Client(self._settings.jwks_ca_file, self._settings.jwks_http_hosts)
        known = self._set(place)
        try:
            keys = documents.fetch(client, place.uri, place.issuer, () if known is None else known.keys)
        except FetchError as error:
            self._counted("failed")
            log.warning(logs.event("keys not fetched", issuer=place.issuer, reason=str(error)))
            self._store_result(place, None, str(error))
            return
        self._counted("fetched")
        now = self._now()
        if known is None or known.keys != keys or self._unstored.get(place.name) is not None:
            self._store_set(place, StoredSet(keys, now))
        self._succeeded.put(place.name, now)
        self._store_result(place, now, None)

    def _store_set(self, place: Place, found: StoredSet) -> None:
        kids = ",".join(found.kids)
        log.info(logs.event("keys changed", issuer=place.issuer, kids=kids))
        if place.uri.lower().startswith("http:"):
            log.warning(logs.event("keys fetched by http", issuer=place.issuer))
        try:
            self._store.put(COLLECTION, found.to_document(place))
            self._unstored.discard(place.name)
        except StoreUnavailable as error:
            # With a read-only disk, this process uses them nevertheless.
            self._unstored.put(place.name, found)
            log.warning(logs.event("keys not stored", issuer=place.issuer, reason=error.reason))

    def _store_result(self, place: Place, fetched: int | None, error: str | None) -> None:
        def change(document: Document | None) -> Document:
            before = Attempt() if document is None else attempt_of(document)
            after = dataclasses.replace(before, is_pending=False, fetched=fetched or before.fetched, error=error)
            return after.to_document(place)

        with contextlib.suppress(StoreUnavailable):
            # Without it, the attempt counts as interrupted.
            self._store.update(COLLECTION, place.attempt_name, change)

    def _claim(self, place: Place, interval: int) -> bool:
        """Begin an attempt, unless one of any process began less than ``interval`` milliseconds ago."""
        now = self._now()

        def change(document: Document | None) -> Document:
            before = Attempt() if document is None else attempt_of(document)
            if not self._is_due(before, interval):
                raise _ClaimedByOther
            return dataclasses.replace(before, attempted=now, is_pending=True).to_document(place)

        try:
            self._store.update(COLLECTION, place.attempt_name, change)
        except _ClaimedByOther:
            return False
        except StoreUnavailable:
            # Nothing can be written: this process attempts for itself.
            if not self._is_due(Attempt(self._attempted.get(place.name) or 0), interval):
                return False
        self._attempted.put(place.name, now)
        return True

    def _is_due(self, attempt: Attempt, interval: int) -> bool:
        # One without a result after a minute was interrupted. One in the future is from before the clock was set back.
        interval = RETRY if attempt.is_pending else interval
        return not 0 <= self._now() - attempt.attempted < interval

    # The store.

    def _set(self, place: Place) -> StoredSet | None:
        """Return the latest set of a place, whatever its age."""
        unstored = self._unstored.get(place.name)
        try:
            stored = self._sets.get(place.name)
        except RecordDamaged:
            stored = None
        if unstored is None or (stored is not None and stored.fetched > unstored.fetched):
            return stored
        return unstored

    def _attempt(self, place: Place) -> Attempt:
        """Return the last attempt of a place."""
        try:
            return self._attempts.get(place.attempt_name) or Attempt()
        except RecordDamaged:
            return Attempt()

    def _now(self) -> int:
        return int(self._clock() * 1000)


class _ClaimedByOther(Exception):
    """Another process, or this one, has begun an attempt recently."""
