"""Personal tokens over two workers, a restart and a kill."""

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.handmade_tokens import token
from tests.server.test_workers import DETAIL, statuses
from tests.support import API, STRONG_SECRET, Server, application, basic

LIST = f"{API}/personal/list"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    server = Server(folder, DATAFOR_TOKEN_TOKENS_MAY_ADMINISTER="true").start()
    try:
        yield server
    finally:
        server.stop()


def status(server: Server, text: str) -> int:
    return server.request("GET", DETAIL, headers={"Authorization": f"Bearer {text}"}).status


def listed(server: Server, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.request("GET", LIST, headers=headers).json["data"]
    return found


def new_user(server: Server, application_name: str, name: str) -> dict[str, str]:
    """Create an application with personal tokens and a user, and return the user's credential."""
    fields = application(name=application_name, secret=STRONG_SECRET, self_service="1", initpwd="the password")
    assert server.post("update", fields).status == 200
    first = token({"loginname": name, "exp": int(time.time()) + 600}, STRONG_SECRET)
    assert status(server, first) == 200
    return basic(name, "the password")


def test_both_workers_refuse_a_revoked_token(server: Server) -> None:
    """Thirty requests right after the revocation are refused, and those with another token are not."""
    headers = new_user(server, "Own", "owner")
    first, other = (server.post("personal", {"name": "Own"}, headers).json for _ in range(2))
    assert statuses(lambda: status(server, first["token"])) == {200}
    assert server.post("personal/revoke", {"jti": first["jti"]}, headers).status == 200
    assert statuses(lambda: status(server, first["token"])) == {401}
    assert statuses(lambda: status(server, other["token"])) == {200}
    assert {one["jti"]: one["status"] for one in listed(server, headers)} == {
        first["jti"]: "revoked", other["jti"]: "active",
    }  # fmt: skip


def test_some_of_several_requests_get_the_last_tokens(server: Server) -> None:
    """Of 64 requests, eight at once in both workers, 50 get a token and the others 409."""
    headers = new_user(server, "Limit", "collector")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: server.post("personal", {"name": "Limit"}, headers).status, range(64)))
    assert (found.count(200), found.count(409)) == (50, 14)
    assert len(listed(server, headers)) == 50


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    """After a stop and after a kill, tokens, their list and their revocations are the same; a stop stores uses."""
    with running(tmp_path) as server:
        server.post("update", application(secret=STRONG_SECRET, self_service="1"))
        used, revoked = (server.post("personal", {"label": label}).json for label in ("used", "revoked"))
        assert statuses(lambda: status(server, used["token"])) == {200}
        server.post("personal/revoke", {"jti": revoked["jti"]})
        server.stop(how)
    with running(tmp_path) as server:
        assert statuses(lambda: status(server, used["token"])) == {200}
        assert statuses(lambda: status(server, revoked["token"])) == {401}
        newest, oldest = listed(server)
        assert (newest["status"], oldest["status"]) == ("revoked", "active")
        assert (oldest["last_used_at"] is not None) is (how == signal.SIGTERM)
        assert newest["last_used_at"] is None
