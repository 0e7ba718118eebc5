"""Limit of failed passwords: ten in five minutes for a name and an address, over all workers."""

import contextlib
import io
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.errors import StartError, TooManyAttempts
from datafor_token.limits import storages, tables
from datafor_token.settings import Settings
from datafor_token.store.opening import create_tables
from datafor_token.users import throttle
from datafor_token.users.throttle import Throttle
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.redis_server import Redis
from tests.support import ADMIN_PASSWORD, Clock, Server, basic

LOGIN = "/plugin/datafor/api/extension/auth/login"


@pytest.fixture
def counter(tmp_path: Path, clock: Clock) -> Throttle:
    return Throttle(tmp_path, clock, b"key")


def fail(counter: Throttle, times: int, name: str = "lena", address: str = "10.0.0.1") -> None:
    for _ in range(times):
        counter.check(name, address)
        counter.settle(counter.reserve(name, address), right=False)


def test_ten_in_five_minutes(counter: Throttle, clock: Clock) -> None:
    """The eleventh failure within five minutes is refused; each is counted for its own five minutes."""
    fail(counter, 5)
    clock.advance(100)
    fail(counter, 5)
    for refused in (counter.check, counter.reserve):
        with pytest.raises(TooManyAttempts) as caught:
            refused("lena", "10.0.0.1")
        assert caught.value.retry_after == 200
    clock.advance(200)
    fail(counter, 5)
    with pytest.raises(TooManyAttempts):
        counter.check("lena", "10.0.0.1")


def test_nobody_is_locked_out_from_elsewhere(counter: Throttle) -> None:
    """The limit is per address and name; other spellings of the name are the same name."""
    fail(counter, 10)
    counter.check("lena", "10.0.0.2")
    counter.check("paul", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        counter.check("LENA", "10.0.0.1")


def test_a_whole_network_of_ipv6_is_one_address(counter: Throttle) -> None:
    """The addresses of an IPv6 /64 are counted as one."""
    fail(counter, 10, address="2001:db8:1:2::1")
    with pytest.raises(TooManyAttempts):
        counter.check("lena", "2001:db8:1:2:ffff::9")
    counter.check("lena", "2001:db8:1:3::1")


def test_a_right_password_forgives_no_failure(counter: Throttle) -> None:
    """A right password is not counted, and the wrong ones before it still are."""
    fail(counter, 9)
    for _ in range(20):
        counter.settle(counter.reserve("lena", "10.0.0.1"), right=True)
    fail(counter, 1)
    with pytest.raises(TooManyAttempts):
        counter.check("lena", "10.0.0.1")


def test_a_reservation_lapses(counter: Throttle, clock: Clock) -> None:
    """An attempt without a result (its worker was killed) is counted for ten seconds only."""
    for _ in range(10):
        counter.reserve("lena", "10.0.0.1")
    clock.advance(4)
    for refused in (counter.check, counter.reserve):
        with pytest.raises(TooManyAttempts) as caught:
            refused("lena", "10.0.0.1")
        assert caught.value.retry_after == 6
    clock.advance(6)
    fail(counter, 10)


def test_a_late_result_is_counted(counter: Throttle, clock: Clock) -> None:
    """A wrong password whose reservation has lapsed is still counted, and allows no further attempt."""
    late = [counter.reserve("lena", "10.0.0.1") for _ in range(10)]
    clock.advance(11)
    fail(counter, 5)
    for attempt in late:
        counter.settle(attempt, right=False)
    with pytest.raises(TooManyAttempts) as caught:
        counter.reserve("lena", "10.0.0.1")
    assert caught.value.retry_after == 300


def test_a_clock_that_was_set_back_locks_nobody_out(counter: Throttle, clock: Clock) -> None:
    """Failures in the future are from before the clock was set back, and are ignored."""
    fail(counter, 10)
    clock.advance(-3600)
    fail(counter, 10)


@pytest.fixture
def bounded(tmp_path: Path, clock: Clock) -> Throttle:
    return Throttle(tmp_path, clock, b"key", bound_names=True)


def test_fifty_names_from_one_address(bounded: Throttle, clock: Clock) -> None:
    """At most 50 different names fail from one address in five minutes; each of them up to ten times."""
    for number in range(50):
        fail(bounded, 1, name=f"user{number}")
    clock.advance(200)
    fail(bounded, 1, name="user0")
    for refused in (bounded.check, bounded.reserve):
        with pytest.raises(TooManyAttempts) as caught:
            refused("another", "10.0.0.1")
        assert caught.value.retry_after == 100
    fail(bounded, 8, name="USER0")
    fail(bounded, 1, name="another", address="10.0.0.2")
    clock.advance(100)
    # user0 failed later than the others, and is still one of the 50.
    for number in range(49):
        fail(bounded, 1, name=f"new{number}")
    with pytest.raises(TooManyAttempts):
        bounded.check("another", "10.0.0.1")


def test_right_passwords_do_not_count_as_names(bounded: Throttle) -> None:
    """Any number of people behind one address sign in; a right password does not remove a name that failed."""
    for number in range(120):
        bounded.settle(bounded.reserve(f"user{number}", "10.0.0.1"), right=True)
    for number in range(49):
        fail(bounded, 1, name=f"guessed{number}")
        bounded.settle(bounded.reserve(f"guessed{number}", "10.0.0.1"), right=True)
    fail(bounded, 1, name="last")
    with pytest.raises(TooManyAttempts):
        bounded.check("another", "10.0.0.1")


def test_guesses_at_once_are_limited_too(bounded: Throttle) -> None:
    """Attempts in progress are counted as names until they prove right or lapse."""
    attempts = [bounded.reserve(f"user{number}", "10.0.0.1") for number in range(50)]
    with pytest.raises(TooManyAttempts):
        bounded.reserve("another", "10.0.0.1")
    bounded.settle(attempts[0], right=True)
    bounded.reserve("another", "10.0.0.1")


def test_names_are_not_limited_behind_an_untrusted_proxy(counter: Throttle) -> None:
    """Without TRUSTED_PROXIES, the address may be that of a proxy for all clients."""
    for number in range(60):
        fail(counter, 1, name=f"user{number}")
    counter.check("another", "10.0.0.1")


def test_workers_count_together(tmp_path: Path, clock: Clock) -> None:
    """Two workers count together."""
    fail(Throttle(tmp_path, clock, b"key"), 6)
    fail(Throttle(tmp_path, clock, b"key"), 4)
    with pytest.raises(TooManyAttempts):
        Throttle(tmp_path, clock, b"key").check("lena", "10.0.0.1")


def test_its_files_are_bounded(counter: Throttle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of files, and of names in each, is limited, whatever the number of names tried."""
    monkeypatch.setattr(tables, "_FILES", 2)
    monkeypatch.setattr(tables, "_MOST_KEYS", 5)
    for number in range(60):
        counter.reserve(f"user{number}", "10.0.0.1")
    files = list((tmp_path / "throttle").iterdir())
    assert len(files) <= 2
    assert all(len(json.loads(path.read_text())) <= 5 for path in files)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert "user59" not in "".join(path.read_text() for path in files)


def test_without_a_disk_it_is_counted_in_memory(
    counter: Throttle, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot write counts on its own, logs it, and allows no further attempt."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    fail(counter, 4)
    monkeypatch.setattr("os.posix_fallocate", full)
    fail(counter, 10)
    with pytest.raises(TooManyAttempts):
        counter.check("lena", "10.0.0.1")
    assert 'counted alone" by=worker ' in log.getvalue()


def test_a_full_disk_tears_no_file(counter: Throttle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails changes no file: earlier failures are still counted."""
    fail(counter, 10)
    (path,) = (tmp_path / "throttle").iterdir()
    before = path.read_bytes()
    monkeypatch.setattr(tables, "_FILES", 1)
    monkeypatch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    for number in range(5):
        counter.reserve(f"other{number}", "10.0.0.9")
    assert path.read_bytes() == before


def test_files_cannot_be_predicted(tmp_path: Path, clock: Clock) -> None:
    """The file of a name depends on the installation, so that nobody can displace another name on purpose."""
    for key in (b"one", b"two"):
        Throttle(tmp_path / key.decode(), clock, key).reserve("lena", "10.0.0.1")
    names = [next((tmp_path / key / "throttle").iterdir()).read_text().split('"')[1] for key in ("one", "two")]
    assert names[0] != names[1]


def test_a_damaged_file_is_ignored(counter: Throttle, tmp_path: Path) -> None:
    """A file that was damaged by hand or by a crash prevents no attempt."""
    fail(counter, 1)
    (path,) = (tmp_path / "throttle").iterdir()
    for content in (
        "{",
        "[]",
        '{"x": 5}',
        '{"x": ["y", null, true]}',
        '{"x": {"y": null, "z": true}}',
        "",
        "[" * 100_000,
        '{"a":' * 50_000,
    ):
        path.write_text(content)
        fail(counter, 1)


def host(folder: Path, redis: Redis) -> Throttle:
    """Return the limit on a host with its own folder and a common Redis."""
    return Throttle(folder, time.time, b"key", redis.uri)


def test_hosts_count_together(tmp_path: Path, redis: Redis) -> None:
    """Two hosts with one Redis refuse the eleventh failure together; a right password is not counted."""
    one, other = host(tmp_path / "one", redis), host(tmp_path / "other", redis)
    fail(one, 5)
    for _ in range(20):
        one.settle(one.reserve("lena", "10.0.0.1"), right=True)
    fail(other, 5)
    for counter in (one, other):
        for refused in (counter.check, counter.reserve):
            with pytest.raises(TooManyAttempts) as caught:
                refused("lena", "10.0.0.1")
            assert 1 <= (caught.value.retry_after or 0) <= 300
        counter.check("lena", "10.0.0.2")


def test_a_hundred_at_once_on_two_hosts(tmp_path: Path, redis: Redis) -> None:
    """Of a hundred attempts at once on two hosts, ten are verified."""
    counters = [host(tmp_path / "one", redis), host(tmp_path / "other", redis)]

    def attempt(number: int) -> bool:
        try:
            counters[number % 2].reserve("lena", "10.0.0.1")
        except TooManyAttempts:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(100))) == 10


def test_the_rules_are_the_same_in_a_redis(tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a Redis too, a reservation lapses, a late result is counted, and names are limited."""
    monkeypatch.setattr(throttle, "_LAPSE", 0.05)
    one = Throttle(tmp_path, time.time, b"key", redis.uri, bound_names=True)
    late = [one.reserve("lena", "10.0.0.1") for _ in range(10)]
    time.sleep(0.1)
    for attempt in late:
        one.settle(attempt, right=False)
    monkeypatch.setattr(throttle, "_LAPSE", 10)
    with pytest.raises(TooManyAttempts):
        one.check("lena", "10.0.0.1")
    for number in range(49):
        one.settle(one.reserve(f"right{number}", "10.0.0.1"), right=True)
        fail(one, 1, name=f"wrong{number}")
    with pytest.raises(TooManyAttempts):
        one.reserve("another", "10.0.0.1")
    one.reserve("wrong0", "10.0.0.1")
    one.check("another", "10.0.0.2")


def test_without_its_redis_a_host_counts_alone(
    tmp_path: Path, redis: Redis, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the Redis is down, each host counts on its own and logs it; afterwards they count together."""
    monkeypatch.setattr(storages, "_RETRY_SECONDS", 0)
    failed: list[str] = []
    one = Throttle(tmp_path / "one", time.time, b"key", redis.uri, failed.append)
    other = host(tmp_path / "other", redis)
    fail(one, 1, name="otto")
    assert failed == []
    redis.stop()
    fail(one, 10)
    assert set(failed) == {"redis"}
    with pytest.raises(TooManyAttempts):
        one.check("lena", "10.0.0.1")
    other.check("lena", "10.0.0.1")
    assert 'counted alone" by=host ' in log.getvalue()
    redis.start()
    fail(one, 5, name="paul")
    fail(other, 5, name="paul")
    with pytest.raises(TooManyAttempts):
        one.check("paul", "10.0.0.1")


def test_a_hanging_redis_is_left_alone(tmp_path: Path) -> None:
    """A Redis that accepts connections but does not respond is tried once, then not for a while."""
    asked = 0
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        hanging.settimeout(0.1)
        one = Throttle(tmp_path, time.time, b"key", f"redis://127.0.0.1:{hanging.getsockname()[1]}")
        fail(one, 10)
        with pytest.raises(TooManyAttempts):
            one.check("lena", "10.0.0.1")
        with contextlib.suppress(TimeoutError):
            while True:
                hanging.accept()[0].close()
                asked += 1
    # The client retries once, in another connection.
    assert 1 <= asked <= 2


def test_a_uri_that_is_not_of_a_redis(tmp_path: Path, clock: Clock) -> None:
    """A URI that cannot be read stops the start, and the message repeats no part of it."""
    with pytest.raises(StartError, match="RATELIMIT_STORAGE_URI") as caught:
        Throttle(tmp_path, clock, b"key", "redis://:marked@host:port/0")
    assert "marked" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "setting", "extra"),
    [("redis", "RATELIMIT_STORAGE_URI", "redis"), ("datafor_token.store.sql.engine", "STORE", "sql")],
)
def test_packages_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, setting: str, extra: str
) -> None:
    """A setting whose packages are missing names what installs them, in a checkout and for the package."""
    monkeypatch.setitem(sys.modules, package, None)
    settings = Settings(store="sqlite:////nowhere/records.db", data_dir=tmp_path)
    with pytest.raises(StartError, match=f"- {setting}: .*`make sql` .*`pip install 'datafor-token\\[{extra}]'`"):
        Throttle(tmp_path, time.time, b"key", "redis://localhost") if extra == "redis" else create_tables(settings)


def test_the_responses_of_the_calls(caller: Caller, app: Flask) -> None:
    """Ten wrong passwords are 401, the next is 429 with Retry-After, right or wrong; a cached one passes."""
    elsewhere = {"environ_base": {"REMOTE_ADDR": "10.9.9.9"}}
    wrong = basic("admin", "wrong")
    for _ in range(10):
        assert caller.get("list", wrong, **elsewhere).status_code == 401
    for headers in (wrong, basic()):
        response = caller.get("list", headers, **elsewhere)
        assert (response.status_code, response.json["code"]) == (429, "429")
        assert 1 <= int(response.headers["Retry-After"]) <= 300
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    assert caller.post(LOGIN, body, {}, **elsewhere).status_code == 429
    response = caller.get("/auth/check", basic(), **elsewhere)
    assert (response.status_code, int(response.headers["Retry-After"]) > 0) == (401, True)
    assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']
    assert caller.get("list").status_code == 200
    assert caller.get("list", **elsewhere).status_code == 200


def test_names_are_limited_behind_a_trusted_proxy(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TRUSTED_PROXIES the 51st name from one address is 429, from another address it is 401."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    app = create_app(replace(settings, trusted_proxies=1), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    caller = Caller(app.test_client())

    def guess(number: int, address: str) -> int:
        return caller.get("list", {**basic(f"user{number}", "x"), "X-Forwarded-For": address}).status_code

    assert [guess(number, "203.0.113.5") for number in range(51)] == [401] * 50 + [429]
    assert guess(50, "203.0.113.6") == 401


@pytest.mark.slow
def test_two_hundred_at_once(tmp_path: Path) -> None:
    """Of 200 parallel wrong sign-ins at most ten are verified, and the right password from another address works."""
    server = Server(tmp_path).start()
    try:
        with ThreadPoolExecutor(32) as pool:
            wrong = basic("admin", "wrong")
            statuses = list(pool.map(lambda _: server.request("GET", "/auth/check", headers=wrong), range(200)))
        verified = [response for response in statuses if response.json["msg"] == "wrong password"]
        assert len(verified) == 10
        assert {response.status for response in statuses} == {401}
        server.client_address = "127.0.0.7"
        assert server.request("GET", "/auth/check").status == 200
    finally:
        server.stop()
