"""Many sign-ins at once on a real server: right ones all succeed, and guesses delay nobody."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import argon2
import pytest
from flask import Flask

from datafor_token.store.files.store import FileStore
from datafor_token.users import hashing_queue
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.console.client import Client
from tests.support import ADMIN_PASSWORD, Clock, HttpResponse, Server, basic

LOGIN = "/plugin/datafor/api/extension/auth/login"
DETAIL = "/plugin/datafor-modeler/api/user/detail"
GUESSES = 24


def at_once(number: int, call: Callable[[int], HttpResponse]) -> list[HttpResponse]:
    """Make so many calls at the same moment."""
    start = threading.Barrier(number)

    def one(place: int) -> HttpResponse:
        start.wait(60)
        return call(place)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_twenty_people_sign_in_at_once(tmp_path: Path) -> None:
    """Twenty people, each with their own password, and one person twenty times: all of them are signed in."""
    server = Server(tmp_path).start()
    try:
        server.both_workers()
        hashed = argon2.PasswordHasher().hash("the-Password-of-a-person")
        store = FileStore(server.data_dir, ("users",), lock_timeout=5)
        for number in range(20):
            store.put("users", User(name=f"person-{number}", password=hashed).to_document())

        def login(name: str, password: str) -> HttpResponse:
            return server.request("POST", LOGIN, {"username": name, "password": password}, {})

        responses = at_once(20, lambda number: login(f"person-{number}", "the-Password-of-a-person"))
        assert [response.status for response in responses] == [200] * 20
        responses = at_once(20, lambda _: login("admin", ADMIN_PASSWORD))
        assert [response.status for response in responses] == [200] * 20
    finally:
        server.stop()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Server]:
    """A server whose hashes wait while ``hold`` exists in its config folder."""
    server = Server(tmp_path)
    server.application = "tests.users.slow_hashes:app"
    server.start()
    server.both_workers()
    yield server
    (server.config_dir / "hold").unlink(missing_ok=True)
    server.stop()


def threads_of(server: Server) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in server.workers())


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def held(server: Server, pool: ThreadPoolExecutor, number: int) -> list[Future[HttpResponse]]:
    """Return a number of guesses, each for another name, that wait for their hash."""
    (server.config_dir / "hold").touch()
    before = threads_of(server)
    guesses = [
        pool.submit(server.request, "GET", "/auth/check", None, basic(f"guessed-{place}", "wrong"))
        for place in range(number)
    ]
    # Another thread serves in place of each.
    wait_until(lambda: threads_of(server) >= before + number)
    return guesses


@pytest.mark.alone
def test_guesses_delay_nobody(slow: Server) -> None:
    """While 24 guesses wait for their hashes, signed-in users and requests without a hash are served."""
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    session = {"Cookie": f"JSESSIONID={slow.request('POST', LOGIN, body, {}).json['jsessionid']}"}
    with ThreadPoolExecutor(GUESSES) as pool:
        guesses = held(slow, pool, GUESSES)
        # With a session: the administrator's password is cached in one of the workers only.
        responses = at_once(12, lambda _: slow.request("GET", DETAIL, headers=session))
        responses += at_once(12, lambda _: slow.request("GET", "/healthz", headers={}))
        assert [response.status for response in responses] == [200] * 24
        assert not any(guess.done() for guess in guesses)
        (slow.config_dir / "hold").unlink()
        refused = [guess.result(60) for guess in guesses]
    assert {(response.status, response.json["msg"]) for response in refused} == {(401, "wrong password")}


# The hashes of all must end within graceful_timeout.
@pytest.mark.alone
def test_a_stop_waits_for_waiting_sign_ins(slow: Server) -> None:
    """A server that is stopped while sign-ins wait for their hashes responds to them first."""
    with ThreadPoolExecutor(GUESSES) as pool:
        guesses = held(slow, pool, 6)
        slow.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        (slow.config_dir / "hold").unlink()
        assert {guess.result(60).status for guess in guesses} == {401}
    assert slow.process.wait(60) == 0


@pytest.mark.alone
def test_the_guesses_of_killed_workers_lapse(slow: Server) -> None:
    """After eight wrong passwords and two killed sign-ins the right one is refused for ten seconds at most."""
    for _ in range(8):
        assert slow.request("GET", "/auth/check", headers=basic("admin", "wrong")).status == 401
    (slow.config_dir / "hold").touch()

    def attempts() -> int:
        """Return how many are reserved."""
        files = (slow.data_dir / "throttle").glob("*")
        return sum(path.read_text().count(":18") for path in files)

    def attempt(_: int) -> None:
        try:
            slow.request("GET", "/auth/check")
        except OSError:
            # Its worker was killed.
            return

    def kill(pool: ThreadPoolExecutor) -> None:
        before, workers = attempts(), slow.both_workers()
        sent = [pool.submit(attempt, number) for number in range(2)]
        wait_until(lambda: attempts() > before or all(one.done() for one in sent))
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(workers) & set(slow.workers()))

    with ThreadPoolExecutor(40) as pool:
        while attempts() < 10:
            kill(pool)
    (slow.config_dir / "hold").unlink()
    slow.both_workers()
    response = slow.request("GET", "/auth/check")
    assert (response.status, 1 <= int(response.headers["Retry-After"]) <= 10) == (401, True)
    (slow.config_dir / "ahead").write_text("10")
    assert slow.request("GET", "/auth/check").status == 200


def test_an_overload(app: Flask, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in that cannot be served in time is 503 with Retry-After, 401 at the check, and a sentence on a page."""
    client = Client(app)
    assert client.sign_in().status_code == 303
    # Longer than the password is cached.
    clock.advance(61)
    monkeypatch.setattr(hashing_queue, "_LONGEST_WAIT", 0.01)
    with app.app_context():
        passwords = services().users._passwords
    with passwords.queue.turn():
        for response in (caller.get("list"), caller.post(LOGIN, {"username": "admin", "password": ADMIN_PASSWORD}, {})):
            assert (response.status_code, response.json["msg"]) == (503, "too many sign-ins at once")
            assert int(response.headers["Retry-After"]) > 0
        response = caller.get("/auth/check")
        assert (response.status_code, response.json["msg"]) == (401, "too many sign-ins at once")
        assert int(response.headers["Retry-After"]) > 0
        assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']
        change = {"old": ADMIN_PASSWORD, "new": "another password"}
        for page in (client.post("me/password", change), Client(app).sign_in()):
            assert (page.status_code, int(page.headers["Retry-After"]) > 0) == (503, True)
            assert "oo many sign-ins at once" in page.text
