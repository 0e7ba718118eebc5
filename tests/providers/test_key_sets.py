"""Sets of keys by URL: who fetches, when, and what is used meanwhile."""

import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from datafor_token.crypto.keys import Key
from datafor_token.errors import StoreUnavailable
from datafor_token.providers.client import Client
from datafor_token.providers.key_sets import KeySets, ProviderKeys, Status
from datafor_token.providers.records import COLLECTION, Place
from datafor_token.settings import Settings
from datafor_token.store.base import RequestScoped, Store
from datafor_token.store.opening import open_store
from datafor_token.validation import logs
from tests.providers.idp import Provider, Send, jwk, jwk_set, response
from tests.stores import url_for
from tests.support import Clock, private_key

ISSUER = "https://idp.example/realm"
COLLECTIONS = (COLLECTION, "instance")
MINUTE, DAY = 60, 86_400
ONE, TWO = jwk("ES256", "one"), jwk("ES256-other", "two")

Open = Callable[[], KeySets]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(config_dir=tmp_path, data_dir=tmp_path / "data", store=url_for(tmp_path / "data"))


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings, COLLECTIONS)


@pytest.fixture
def open_sets(settings: Settings, clock: Clock, client: Client, provider: Provider) -> Open:
    """Return a function that opens the sets as another process does, without its background thread."""

    def opened() -> KeySets:
        sets = KeySets(open_store(settings, COLLECTIONS), clock, settings, client=client)
        sets.watch(lambda: [(provider.url(), ISSUER)])
        sets.start = lambda: None  # type: ignore[method-assign] # the tests call ``refresh``
        return sets

    provider.pages["/jwks"] = jwk_set(ONE)
    return opened


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    logs.configure("INFO", "logfmt")
    (handler,) = logging.getLogger("datafor_token").handlers
    assert isinstance(handler, logging.StreamHandler)
    before, handler.stream = handler.stream, io.StringIO()
    yield handler.stream
    handler.stream = before


def source(sets: KeySets, provider: Provider, algorithm: str = "ES256") -> ProviderKeys:
    return sets.source(provider.url(), ISSUER, algorithm)


def status(sets: KeySets, provider: Provider) -> Status:
    return sets.status(Place(provider.url(), ISSUER))


def refetch(sets: KeySets, provider: Provider, kid: str | None = "two") -> bool:
    """Fetch as for a token; return whether the keys have its kid then."""
    sets.refetch([Place(provider.url(), ISSUER)], kid)
    return knows(source(sets, provider), kid)


def knows(keys: ProviderKeys, kid: str | None) -> bool:
    found = keys.current
    return found is not None and (kid is None or kid in found.kids)


def signer(keys: ProviderKeys, kind: str, kid: str | None) -> Key | None:
    message = b"message"
    return keys.signer(message, Key("ES256", private_key(kind)).sign(message), kid)


class TestUse:
    """The stored keys verify, in every process."""

    def test_before_the_first_fetch(self, open_sets: Open, provider: Provider) -> None:
        """Without a set there are no keys, which differs from a set without the right key."""
        sets = open_sets()
        assert source(sets, provider).current is None
        assert source(sets, provider).all() == ()
        assert signer(source(sets, provider), "ES256", "one") is None
        assert status(sets, provider) == ([], None, None)

    def test_the_keys(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """After a fetch the keys for the algorithm verify, by their kid, in another process too."""
        provider.pages["/jwks"] = jwk_set(ONE, TWO, jwk("rsa", "three", use="sig"), jwk("rsa-other", use="sig"))
        first, second = open_sets(), open_sets()
        first.refresh()
        for sets in (first, second):
            keys = source(sets, provider)
            found = signer(keys, "ES256", "one")
            assert found is not None
            assert signer(keys, "ES256", "two") is None
            assert signer(keys, "ES256", None) == found
            assert len(keys.all()) == 2
            assert (knows(keys, "two"), knows(keys, "three")) == (True, False)
            assert knows(source(sets, provider, "RS256"), "three")
            assert source(sets, provider, "EdDSA").current is not None
            assert source(sets, provider, "EdDSA").all() == ()
            kids, fetched, error = status(sets, provider)
            assert set(kids) == {"one", "two", "three", source(sets, provider, "RS256").all()[1].kid}
            assert (fetched, error) == (int(clock() * 1000), None)

    def test_the_same_object(self, open_sets: Open, provider: Provider, clock: Clock, store: Store) -> None:
        """``current`` is the same object until the keys change, so that a result for it can be cached."""
        sets, name = open_sets(), Place(provider.url(), ISSUER).name
        sets.refresh()
        # The version of a file that was just written is not repeated.
        _until(lambda: store.version(COLLECTION, name) == store.version(COLLECTION, name))
        before = source(sets, provider).current
        clock.advance(11 * MINUTE)
        sets.refresh()
        assert source(sets, provider).current is before
        provider.pages["/jwks"] = jwk_set(TWO)
        clock.advance(11 * MINUTE)
        sets.refresh()
        assert source(sets, provider).current is not before

    def test_another_issuer(self, open_sets: Open, provider: Provider) -> None:
        """Two applications with the same URL and another issuer have sets of their own."""
        sets = open_sets()
        sets.refresh()
        assert sets.source(provider.url(), ISSUER + "/other", "ES256").current is None

    def test_the_records_have_no_private_text(self, open_sets: Open, provider: Provider, store: Store) -> None:
        """A set is stored as its public members; the record names its URL and issuer."""
        provider.pages["/jwks"] = jwk_set({**ONE, "x5c": ["certificate"], "note": "text"})
        open_sets().refresh()
        found = store.get(COLLECTION, Place(provider.url(), ISSUER).name)
        assert found is not None
        assert (found["uri"], found["issuer"], found["keys"]) == (provider.url(), ISSUER, [ONE])


class TestRefresh:
    """One process fetches for all, every 10 minutes."""

    def test_the_interval(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """A set is fetched again when the last attempt is 10 minutes old."""
        first, second = open_sets(), open_sets()
        for seconds, requests in ((0, 1), (1, 1), (598, 1), (1, 2), (1, 2)):
            clock.advance(seconds)
            first.refresh()
            second.refresh()
            assert len(provider.seen) == requests

    def test_without_a_set(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """While there is no set, an attempt follows each minute."""
        provider.pages["/jwks"] = response(b"", "503 Unavailable")
        sets = open_sets()
        for seconds, requests in ((0, 1), (59, 1), (1, 2)):
            clock.advance(seconds)
            sets.refresh()
            assert len(provider.seen) == requests
        provider.pages["/jwks"] = jwk_set(ONE)
        clock.advance(MINUTE)
        sets.refresh()
        assert knows(source(sets, provider), "one")

    def test_an_interrupted_attempt(
        self, open_sets: Open, provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After an attempt without a result, whose process was killed, the next one follows in a minute."""
        sets = open_sets()
        sets.refresh()
        clock.advance(10 * MINUTE)
        with monkeypatch.context() as killed:
            killed.setattr("datafor_token.providers.documents.fetch", mock.Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                sets.refresh()
        for seconds, requests in ((59, 1), (1, 2)):
            clock.advance(seconds)
            open_sets().refresh()
            assert len(provider.seen) == requests

    def test_a_clock_that_was_set_back(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """An attempt in the future does not stop the attempts."""
        sets = open_sets()
        sets.refresh()
        clock.advance(-DAY)
        sets.refresh()
        assert len(provider.seen) == 2

    def test_many_processes_at_once(self, open_sets: Open, provider: Provider) -> None:
        """Of many threads and processes at the same moment, one fetches."""
        every = [open_sets() for _ in range(4)]
        threads = [threading.Thread(target=sets.refresh) for sets in every for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(provider.seen) == 1
        assert all(knows(source(sets, provider), "one") for sets in every)

    def test_writes(self, open_sets: Open, provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """The set is written only when it changes."""
        sets = open_sets()
        sets.refresh()
        monkeypatch.delattr(type(sets._store), "put")
        clock.advance(11 * MINUTE)
        sets.refresh()
        assert len(provider.seen) == 2
        assert status(sets, provider).fetched == int(clock() * 1000)

    def test_a_removed_key(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """A key that the provider removed is refused after the next fetch, in every process."""
        first, second = open_sets(), open_sets()
        provider.pages["/jwks"] = jwk_set(ONE, TWO)
        first.refresh()
        assert signer(source(second, provider), "ES256", "one")
        provider.pages["/jwks"] = jwk_set(TWO)
        clock.advance(11 * MINUTE)
        first.refresh()
        for sets in (first, second):
            assert signer(source(sets, provider), "ES256", "one") is None
            assert signer(source(sets, provider), "ES256", None) is None

    @pytest.mark.parametrize(
        "page",
        [
            jwk_set(),
            jwk_set({**TWO, "use": "enc"}),
            jwk_set(TWO, {**TWO, "d": "secret"}),
            response(b"<html>"),
            response(b"", "404 Not Found"),
            response(b"", "301 Moved", Location="/elsewhere"),
        ],
    )
    def test_an_unusable_set(
        self, open_sets: Open, provider: Provider, clock: Clock, log: io.StringIO, page: bytes
    ) -> None:
        """A response without usable keys never replaces good ones; the error is shown and logged until it is over."""
        sets = open_sets()
        sets.refresh()
        fetched = status(sets, provider).fetched
        provider.pages["/jwks"] = page
        clock.advance(11 * MINUTE)
        sets.refresh()
        kids, when, error = status(sets, provider)
        assert (kids, when) == (["one"], fetched)
        assert error is not None
        assert error.startswith(provider.url())
        assert signer(source(sets, provider), "ES256", "one")
        assert "level=warning logger=datafor_token.providers.key_sets pid=" in log.getvalue()
        assert 'event="keys not fetched"' in log.getvalue()
        assert "secret" not in log.getvalue() + error
        provider.pages["/jwks"] = jwk_set(ONE)
        clock.advance(11 * MINUTE)
        sets.refresh()
        assert status(sets, provider).error is None

    def test_the_log(self, open_sets: Open, log: io.StringIO) -> None:
        """Changed keys are logged with their identifiers, once."""
        open_sets().refresh()
        open_sets().refresh()
        assert log.getvalue().count(f'event="keys changed" issuer={ISSUER} kids=one\n') == 1


class TestAway:
    """The provider is away."""

    def test_seven_days(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """The last good set is used for 7 days after the last success, also after a restart, and no second longer."""
        sets = open_sets()
        sets.refresh()
        clock.advance(2 * DAY)
        sets.refresh()
        provider.stop()
        clock.advance(7 * DAY - 1)
        for one in (sets, open_sets()):
            one.refresh()
            assert signer(source(one, provider), "ES256", "one")
        clock.advance(1)
        for one in (sets, open_sets()):
            assert source(one, provider).current is None
            assert signer(source(one, provider), "ES256", "one") is None
            assert status(one, provider).kids == ["one"]
            assert "refused" in str(status(one, provider).error)

    def test_another_process_reaches_it(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """A success of another process counts, although the set did not change."""
        first, second = open_sets(), open_sets()
        first.refresh()
        assert source(first, provider).current
        clock.advance(6 * DAY)
        second.refresh()
        clock.advance(6 * DAY)
        assert source(first, provider).current

    def test_it_comes_back_with_other_keys(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """After 7 days without keys, the next success gives new ones."""
        sets = open_sets()
        sets.refresh()
        clock.advance(8 * DAY)
        assert source(sets, provider).current is None
        provider.pages["/jwks"] = jwk_set(TWO)
        sets.refresh()
        assert signer(source(sets, provider), "ES256-other", "two")


def test_no_key_for_the_algorithm(open_sets: Open, provider: Provider) -> None:
    """The state of a set without a key for the application's algorithm says so: no token of it can be verified."""
    sets = open_sets()
    sets.refresh()
    assert source(sets, provider).status().error is None
    found = source(sets, provider, "RS256").status()
    assert found.kids == ["one"]
    assert found.error == "jwks_uri has no key for RS256: is it the provider's algorithm?"


class TestRefetch:
    """A token with an unknown kid, or without a set."""

    def test_new_keys(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """The new keys are fetched while the request waits."""
        sets = open_sets()
        sets.refresh()
        provider.pages["/jwks"] = jwk_set(ONE, TWO)
        clock.advance(MINUTE)
        assert refetch(sets, provider)
        assert signer(source(sets, provider), "ES256-other", "two")

    def test_the_first_keys(self, open_sets: Open, provider: Provider) -> None:
        """Without a set, the first token fetches it."""
        sets = open_sets()
        assert refetch(sets, provider, None)
        assert knows(source(sets, provider), "one")

    def test_nothing_new(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """If the provider does not know the kid either, nothing has changed."""
        sets = open_sets()
        sets.refresh()
        clock.advance(MINUTE)
        assert not refetch(sets, provider)
        assert len(provider.seen) == 2

    def test_once_a_minute(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """Whatever strangers send, there is one attempt a minute over all processes, and little is remembered."""
        first, second = open_sets(), open_sets()
        first.refresh()
        for requests in (1, 2, 3):
            for number in range(200):
                assert not refetch(first, provider, f"kid-{number}")
                assert not refetch(second, provider, f"kid-{number}")
            _settle(first, second)
            assert len(provider.seen) == requests
            clock.advance(MINUTE)
        for sets in (first, second):
            assert max(len(value) for value in vars(sets).values() if hasattr(value, "__len__")) <= 1

    def test_another_process_has_fetched(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """A set that another process fetched meanwhile is seen without a fetch."""
        first, second = open_sets(), open_sets()
        first.refresh()
        assert knows(source(second, provider), "one")
        provider.pages["/jwks"] = jwk_set(ONE, TWO)
        clock.advance(MINUTE)
        assert refetch(first, provider)
        assert refetch(second, provider)
        assert len(provider.seen) == 2

    def test_another_process_is_fetching(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """A request waits for the fetch of another process."""
        first, second = open_sets(), open_sets()
        first.refresh()
        clock.advance(MINUTE)
        begun, finish = threading.Event(), threading.Event()
        provider.pages["/jwks"] = _held(begun, finish, jwk_set(TWO))
        thread = threading.Thread(target=refetch, args=(first, provider))
        thread.start()
        begun.wait()
        timer = threading.Timer(0.3, finish.set)
        timer.start()
        assert refetch(second, provider)
        assert knows(source(second, provider), "two")
        thread.join()
        assert len(provider.seen) == 2

    def test_one_waits(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """One request of a process waits, for at most 2 s; the others return at once."""
        sets = open_sets()
        sets.refresh()
        clock.advance(MINUTE)
        begun, finish = threading.Event(), threading.Event()
        provider.pages["/jwks"] = _held(begun, finish, jwk_set(TWO))
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(refetch(sets, provider)))
        start = time.monotonic()
        thread.start()
        begun.wait()
        # Few: on a busy machine, all of them must be over before the first one.
        for _ in range(5):
            assert not refetch(sets, provider)
        assert results == []
        thread.join()
        assert results == [False]
        assert time.monotonic() - start < 10
        finish.set()
        _settle(sets)
        assert knows(source(sets, provider), "two")

    def test_several_places(self, open_sets: Open, provider: Provider) -> None:
        """A request waits at most 2 s for all places of an issuer together, which are fetched at the same time."""
        sets = open_sets()
        begun, finish = [threading.Event() for _ in range(3)], threading.Event()
        places = [Place(provider.url(f"/{number}"), ISSUER) for number in range(3)]
        for number in range(3):
            provider.pages[f"/{number}"] = _held(begun[number], finish, jwk_set(TWO))
        thread = threading.Thread(target=sets.refetch, args=(places, "two"))
        thread.start()
        for one in begun:
            one.wait()
        assert thread.is_alive()
        finish.set()
        thread.join()
        assert all(sets.usable(place) for place in places)

    def test_a_request_of_a_database(self, open_sets: Open, provider: Provider, clock: Clock) -> None:
        """A request sees the keys that were fetched while it waited, although a database's store caches versions."""
        sets = open_sets()
        sets.refresh()
        clock.advance(MINUTE)
        provider.pages["/jwks"] = jwk_set(TWO)
        store = sets._store
        if isinstance(store, RequestScoped):
            store.begin_request()
        assert not knows(source(sets, provider), "two")
        assert refetch(sets, provider)
        assert knows(source(sets, provider), "two")
        if isinstance(store, RequestScoped):
            store.end_request()

    def test_in_a_command(self, settings: Settings, store: Store, clock: Clock, provider: Provider) -> None:
        """If ``watch`` was not called, as in a command, nothing is fetched and no thread starts."""
        sets = KeySets(store, clock, settings)
        before = _threads("fetch keys")
        assert not refetch(sets, provider)
        sets.wake()
        sets.refresh()
        sets.sweep()
        assert source(sets, provider).current is None
        assert provider.seen == []
        assert not _threads("fetch keys") - before


class TestOutage:
    """The store cannot be written."""

    def test_a_read_only_store(
        self, open_sets: Open, provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
    ) -> None:
        """Fetched keys are used in memory, no more often fetched than otherwise, and stored later."""
        sets, other = open_sets(), open_sets()

        def refuse(*_: object, **__: object) -> Any:
            raise StoreUnavailable(reason="read-only")

        with monkeypatch.context() as patch:
            patch.setattr(sets._store, "put", refuse)
            patch.setattr(sets._store, "update", refuse)
            sets.refresh()
            sets.refresh()
            assert len(provider.seen) == 1
            assert signer(source(sets, provider), "ES256", "one")
            assert source(other, provider).current is None
            assert 'event="keys not stored"' in log.getvalue()
            clock.advance(6 * DAY)
            sets.refresh()
            clock.advance(6 * DAY)
            assert signer(source(sets, provider), "ES256", "one")
        sets.refresh()
        assert knows(source(other, provider), "one")

    def test_a_damaged_record(self, open_sets: Open, provider: Provider, store: Store) -> None:
        """A record that is not valid counts as none, and does not stop the refresh."""
        place = Place(provider.url(), ISSUER)
        store.put(COLLECTION, {"format": 1, "name": place.name, "keys": 5})
        store.put(COLLECTION, {"format": 1, "name": place.attempt_name, "attempted": "yesterday"})
        sets = open_sets()
        assert source(sets, provider).current is None
        assert status(sets, provider) == ([], None, None)
        sets.refresh()
        assert knows(source(sets, provider), "one")


class TestSweep:
    """Sets that no application uses are deleted."""

    def test_an_unused_set(self, open_sets: Open, provider: Provider, clock: Clock, store: Store) -> None:
        """The set of a URL that no application has named for a day is deleted, and no other."""
        sets = open_sets()
        sets.refresh()
        clock.advance(30 * DAY)
        sets.sweep()
        assert len(store.names(COLLECTION)) == 2
        sets.refresh()
        sets.watch(lambda: [(provider.url("/other"), ISSUER)])
        sets.sweep()
        clock.advance(DAY - 1)
        sets.sweep()
        assert len(store.names(COLLECTION)) == 2
        clock.advance(1)
        sets.sweep()
        assert store.names(COLLECTION) == []


class TestThread:
    """The background thread."""

    @pytest.fixture
    def sets(self, store: Store, settings: Settings, clock: Clock, client: Client) -> Iterator[KeySets]:
        sets = KeySets(store, clock, settings, client=client)
        yield sets
        sets.stop()
        _until(lambda: not _threads())

    def test_it_starts_with_the_first_use(self, sets: KeySets, provider: Provider) -> None:
        """The first use of a source starts one thread, which fetches."""
        provider.pages["/jwks"] = jwk_set(ONE)
        before = _threads()
        sets.watch(lambda: [(provider.url(), ISSUER)])
        assert _threads() == before
        for _ in range(5):
            source(sets, provider).all()
        assert len(_threads() - before) == 1
        _until(lambda: knows(source(sets, provider), "one"))

    def test_it_survives_errors(self, sets: KeySets, provider: Provider, log: io.StringIO) -> None:
        """Whatever goes wrong, the thread continues, and wakes at once when it is asked to."""
        provider.pages["/jwks"] = jwk_set(ONE)
        errors: list[Exception] = [StoreUnavailable(reason="gone"), ValueError("secret")]
        called = threading.Event()

        def wanted() -> list[tuple[str, str]]:
            called.set()
            if errors:
                raise errors.pop(0)
            return [(provider.url(), ISSUER)]

        sets.watch(wanted)
        sets.start()
        for left in (1, 0):
            _until(lambda left=left: len(errors) == left and called.is_set())  # type: ignore[misc]
            called.clear()
            sets.wake()
        _until(lambda: knows(source(sets, provider), "one"))
        assert 'event="keys not refreshed" reason=gone' in log.getvalue()
        assert 'event="fetching keys failed"' in log.getvalue()
        assert "secret" not in log.getvalue()

    def test_its_end(self, sets: KeySets) -> None:
        """The thread ends with the process, and at once when it is asked to."""
        sets.watch(list)
        sets.start()
        assert all(thread.daemon for thread in _threads())
        sets.stop()
        _until(lambda: not _threads())

    def test_a_fork(self, sets: KeySets, monkeypatch: pytest.MonkeyPatch) -> None:
        """A forked process starts a thread of its own."""
        sets.watch(list)
        sets.start()
        before, woken = _threads(), sets._woken
        monkeypatch.setattr("os.getpid", lambda: -1)
        sets.start()
        sets.start()
        assert len(_threads() - before) == 1
        # The first thread, which a real fork would not have here, waits for this.
        sets.stop()
        woken.set()


def _threads(*others: str) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in ("key sets", *others)}


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def _settle(*sets: KeySets) -> None:
    """Wait until no fetch for a request runs."""
    _until(lambda: not any(one._fetches for one in sets))


def _held(begun: threading.Event, finish: threading.Event, page: bytes) -> Callable[[Send], None]:
    def held(send: Send) -> None:
        begun.set()
        finish.wait()
        with contextlib.suppress(OSError):
            send(page)

    return held


def test_the_place_of_a_set() -> None:
    """Another URL or issuer is another record."""
    places = [Place("https://a", "b"), Place("https://a", "c"), Place("https://b", "b"), Place("https://a\nb", "")]
    assert len({place.name for place in places}) == 4
