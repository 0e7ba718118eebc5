"""Revoking over both workers of a real server: what was acknowledged holds, whatever runs or is killed meanwhile."""

import contextlib
import http.client
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.handmade_tokens import token
from tests.server.test_workers import DETAIL, claims, statuses
from tests.support import STRONG_SECRET, Server, application, token_parts

CHECK = "/auth/check"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def revoke(server: Server, **fields: Any) -> None:
    response = server.post("revoke", fields)
    assert response.status == 200, response.body


def agreed(server: Server, text: str) -> int:
    """Return the status of a token, on which thirty calls over both workers agree."""
    (status,) = statuses(lambda: server.request("GET", DETAIL, headers=bearer(text)).status)
    return status


def issued(server: Server, name: str, user: str) -> tuple[str, str]:
    """Return a generated token and its identifier in the audit log."""
    text = server.post("generate", {"name": name, "username": user}).json["token"]
    found = server.request("GET", f"/plugin/datafor-modeler/api/token/audit?event=token_generated&user={user}&limit=1")
    return text, found.json["data"][0]["target"]["token"]


def register(server: Server, name: str) -> str:
    """Create an application with a secret of its own and return it: a token signs in by any that verifies it."""
    secret = f"{STRONG_SECRET}-{name}"
    assert server.post("update", application(name=name, secret=secret)).status == 200
    return secret


def test_each_way_is_effective_in_every_worker(server: Server) -> None:
    """Thirty calls right after each way to revoke are refused; the tokens of others are accepted."""
    secret = register(server, "Ways")
    ways: dict[str, Callable[[str, str], dict[str, Any]]] = {
        "token": lambda text, _: {"token": text},
        "id": lambda _, identifier: {"id": identifier},
        "user": lambda *_: {"user": "user-ways", "before": "now"},
        "both": lambda *_: {"user": "both-ways", "application": "ways", "before": "now"},
        "application": lambda *_: {"application": "WAYS", "before": "now"},
    }
    other, _ = issued(server, "Ways", "other-ways")
    assert agreed(server, other) == 200
    for way, body in ways.items():
        text, identifier = issued(server, "Ways", f"{way}-ways")
        assert agreed(server, text) == 200
        revoke(server, **body(text, identifier))
        assert agreed(server, text) == 401
        assert agreed(server, other) == (401 if way == "application" else 200)
    now = int(time.time()) + 2
    text = token(claims("jti-ways", jti="7", iat=now), secret)
    time.sleep(2)
    assert agreed(server, text) == 200
    revoke(server, jti="7", application="Ways")
    assert agreed(server, text) == 401


def test_a_cut_off_while_requests_run(server: Server) -> None:
    """While sixteen clients call without pause, no call that begins after the acknowledgement is accepted."""
    register(server, "Busy")
    for number in range(3):
        text, _ = issued(server, "Busy", f"busy{number}")
        assert agreed(server, text) == 200
        acknowledged = threading.Event()
        early: list[int] = []
        late: list[int] = []

        def call(sent: dict[str, str], ended: threading.Event, before: list[int], after: list[int]) -> None:
            for _ in range(2000):
                found = after if ended.is_set() else before
                found.append(server.request("GET", DETAIL, headers=sent).status)
                if len(after) >= 160:
                    break

        with ThreadPoolExecutor(16) as pool:
            calls = [pool.submit(call, bearer(text), acknowledged, early, late) for _ in range(16)]
            while len(early) <= 16 and not any(one.done() for one in calls):
                time.sleep(0.01)
            revoke(server, user=f"busy{number}", before="now")
            acknowledged.set()
            for one in calls:
                one.result()
        assert early.count(200) > 16
        assert len(late) >= 160
        assert set(late) == {401}


def test_two_administrators_at_once(server: Server) -> None:
    """Of many cut-offs of one user at once, each is acknowledged, and the latest time remains."""
    secret = register(server, "Twice")
    now = int(time.time() * 1000)
    before = [now - 1000 * number for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        done = pool.map(lambda one: server.post("revoke", {"user": "twice", "before": one}).status, before)
    assert set(done) == {200}
    text = token(claims("twice", iat=now // 1000), secret)
    assert agreed(server, text) == 401


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["restart", "kill"])
def test_a_restart_between(tmp_path: Path, how: signal.Signals) -> None:
    """Acknowledged revocations hold after a restart and after kill -9, for tokens and their gate sessions."""
    server = Server(tmp_path).start()
    secret = register(server, "ERP")
    issued_at = int(time.time())
    (cut, _), (by_id, identifier) = issued(server, "ERP", "lena"), issued(server, "ERP", "otto")
    by_jti, kept = token(claims("jack", jti="7"), secret), token(claims("anna", iat=issued_at), secret)
    texts = (cut, by_id, by_jti, kept)
    entered = [server.request("GET", f"/auth/enter?token={text}&next=/", headers={}) for text in texts]
    assert [one.status for one in entered] == [303] * 4, [one.body for one in entered]
    cookies = [one.headers["Set-Cookie"].partition(";")[0] for one in entered]
    revoke(server, user="lena", before="now")
    revoke(server, id=identifier)
    revoke(server, jti="7", application="ERP")
    server.stop(how)
    server = server.start()
    try:
        assert [agreed(server, text) for text in texts] == [401, 401, 401, 200]
        found = [server.request("GET", CHECK, headers={"Cookie": cookie}).status for cookie in cookies]
        assert found == [401, 401, 401, 200]
        after, _ = issued(server, "ERP", "lena")
        assert "iat" in token_parts(after)[1]
        assert agreed(server, after) == 200
    finally:
        server.stop()


@pytest.mark.slow
def test_killed_while_revoking(tmp_path: Path) -> None:
    """Killed at any moment, the server keeps every cut-off that it acknowledged."""
    server = Server(tmp_path).start()
    secret = register(server, "ERP")

    def cut_off(running: Server, client: str, found: list[str]) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for name in (f"{client}-{number}" for number in range(1000)):
                assert running.post("revoke", {"user": name, "before": "now"}).status == 200
                found.append(name)

    for turn in range(3):
        acknowledged: list[str] = []
        clients = [threading.Thread(target=cut_off, args=(server, f"{turn}-{one}", acknowledged)) for one in range(4)]
        for client in clients:
            client.start()
        while len(acknowledged) < 10 + 7 * turn and any(client.is_alive() for client in clients):
            time.sleep(0.01)
        server.stop(signal.SIGKILL)
        for client in clients:
            client.join()
        server = server.start()
        assert len(acknowledged) >= 10
        for name in acknowledged:
            assert server.request("GET", DETAIL, headers=bearer(token(claims(name), secret))).status == 401
    server.stop()
