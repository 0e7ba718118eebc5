"""Caches: every change takes effect at the next call, from whichever side it came, and no cache grows without bound."""

import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.applications.record import COLLECTION
from datafor_token.crypto import keys
from datafor_token.settings import Settings
from datafor_token.store.cache import RecordCache, RecordIndex
from datafor_token.store.files.store import FileStore
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import claims, token
from tests.store.contract import settle
from tests.stores import Record
from tests.support import STRONG_SECRET, Clock, application, key_for, private_pem, public_pem

OTHER_SECRET = "Qm3-rT8yUiOp_aS5dFgHjKlZxCvBnM1qWeRtY2uIoP4"
# Ways to change a record: a call to this process, a call to another one, or an editor.
Change = Callable[[dict[str, Any]], None]
EDITORS = ("an editor that writes into the file", "an editor that replaces the file")
BY = ["a call", "another process", *(pytest.param(editor, marks=pytest.mark.file_store) for editor in EDITORS)]


@pytest.fixture
def caller(app: Flask) -> Caller:
    """A caller without cookies, so that only the token authenticates."""
    return Caller(app.test_client(use_cookies=False))


@pytest.fixture
def other(app: Flask, settings: Settings, clock: Clock) -> Caller:
    """Another process on the same records."""
    assert app
    return Caller(create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY).test_client(use_cookies=False))


def write(path: Path, text: str, by: str) -> None:
    if by == "an editor that writes into the file":
        path.write_text(text)
    else:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)


def change_application(caller: Caller, other: Caller, settings: Settings, by: str, **changes: Any) -> None:
    """Change the application ERP."""
    if by in ("a call", "another process"):
        one = caller if by == "a call" else other
        assert one.post("update", {**application(secret=STRONG_SECRET), **changes}).status_code == 200
        return
    path = settings.data_dir / "applications" / "erp.json"
    write(path, json.dumps({**json.loads(path.read_text()), **changes}), by)


def warm(caller: Caller, token: str) -> dict[str, Callable[[], int]]:
    """Return every way to use the token, each used until the caches are filled."""
    ways: dict[str, Callable[[], int]] = {
        "bearer": lambda: caller.get("/auth/check", headers={"Authorization": f"Bearer {token}"}).status_code,
        "url": lambda: caller.get("/auth/check", headers={"X-Original-URI": f"/x?token={token}"}).status_code,
    }
    for _ in range(3):
        assert {way: use() for way, use in ways.items()} == {"bearer": 200, "url": 200}
        # Longer than a tick of the file system's clock: within one tick nothing counts as unchanged.
        time.sleep(0.06)
    return ways


def issued(caller: Caller, username: str = "lena") -> str:
    caller.post("update", application(secret=STRONG_SECRET))
    token = caller.post("generate", {"username": username}).json["token"]
    assert isinstance(token, str)
    return token


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("changes", [{"enable": "0"}, {"secret": OTHER_SECRET}, {"algorithm": "HS384"}])
def test_a_changed_application_refuses_its_tokens(
    caller: Caller, other: Caller, settings: Settings, by: str, changes: dict[str, Any]
) -> None:
    """A token is refused from the first call after a change of its application, however it is changed."""
    ways = warm(caller, issued(caller))
    change_application(caller, other, settings, by, **changes)
    assert {way: use() for way, use in ways.items()} == {"bearer": 401, "url": 401}


@pytest.mark.parametrize("by", BY)
def test_a_new_secret_takes_effect(caller: Caller, other: Caller, settings: Settings, by: str) -> None:
    """A token of the new secret, refused before, is accepted from the first call after the change."""
    warm(caller, issued(caller))
    change_application(caller, other, settings, "a call", secret=OTHER_SECRET)
    token = caller.post("generate", {"username": "lena"}).json["token"]
    change_application(caller, other, settings, "a call", secret=STRONG_SECRET)
    time.sleep(0.06)
    use = {"Authorization": f"Bearer {token}"}
    assert caller.get("/auth/check", headers=use).status_code == 401
    change_application(caller, other, settings, by, secret=OTHER_SECRET)
    assert caller.get("/auth/check", headers=use).status_code == 200


@pytest.mark.parametrize("by", BY)
def test_a_renamed_parameter(caller: Caller, other: Caller, settings: Settings, by: str) -> None:
    """After a change of token_name tokens are accepted at once under the new name only."""
    made = issued(caller)
    warm(caller, made)
    change_application(caller, other, settings, by, token_name="ticket_of_erp")
    assert caller.get("/auth/check", headers={"X-Original-URI": f"/?ticket_of_erp={made}"}).status_code == 200
    assert caller.get("/auth/check", headers={"X-Original-URI": f"/?token={made}"}).status_code == 401


@pytest.mark.parametrize("by", BY)
def test_a_new_token_has_the_changed_fields(caller: Caller, other: Caller, settings: Settings, by: str) -> None:
    """The next token has a changed lifetime, however it is changed."""
    issued(caller)
    time.sleep(0.06)
    assert caller.post("generate", {"name": "ERP"}).json["expire"] == 86400
    change_application(caller, other, settings, by, expire=77777)
    assert caller.post("generate", {"name": "ERP"}).json["expire"] == 77777
    assert caller.post("generate", {"username": "lena"}).json["expire"] == 77777


@pytest.mark.parametrize("by", BY[1:])
def test_a_changed_user(app: Flask, caller: Caller, other: Caller, settings: Settings, by: str) -> None:
    """A disabled user is refused at the next call."""
    ways = warm(caller, issued(caller))
    if by == "another process":
        services_in(other.client.application).accounts.change("lena", enabled=False)
    else:
        path = settings.data_dir / "users" / "lena.json"
        write(path, json.dumps({**json.loads(path.read_text()), "enabled": False}), by)
    assert {way: use() for way, use in ways.items()} == {"bearer": 401, "url": 401}


@pytest.mark.parametrize("by", ["caller", "other"])
def test_a_revoked_token(caller: Caller, other: Caller, by: str) -> None:
    """A revoked token is refused at the next call, by whichever process it was revoked."""
    token = issued(caller)
    ways = warm(caller, token)
    assert {"caller": caller, "other": other}[by].post("revoke", {"token": token}).status_code == 200
    assert {way: use() for way, use in ways.items()} == {"bearer": 401, "url": 401}


def test_a_deleted_application(caller: Caller, other: Caller, settings: Settings) -> None:
    """A token is refused after its application was deleted by another process or by hand."""
    ways = warm(caller, issued(caller))
    other.post("delete", {"name": "ERP"})
    assert {use() for use in ways.values()} == {401}
    ways = warm(caller, issued(caller))
    Record(settings.data_dir, "applications", "ERP").unlink()
    assert {use() for use in ways.values()} == {401}


def test_the_first_by_name(caller: Caller, other: Caller) -> None:
    """A token that fits several applications belongs to the first by name, even if that was created after the token."""
    made = issued(caller)
    warm(caller, made)
    other.post("update", application(name="AAA", secret=STRONG_SECRET))
    steps = caller.get("/auth/check?application=AAA", headers={"Authorization": f"Bearer {made}"})
    assert steps.status_code == 200


def test_a_cached_token_expires(caller: Caller, clock: Clock) -> None:
    """A cached token expires after its leeway; one of the previous secret expires with the grace period."""
    ways = warm(caller, issued(caller))
    clock.advance(86400 + 29)
    assert {use() for use in ways.values()} == {200}
    clock.advance(2)
    assert {use() for use in ways.values()} == {401}
    ways = warm(caller, issued(caller))
    caller.post("rotate", {"name": "ERP", "secret": OTHER_SECRET, "grace": 600})
    assert {use() for use in ways.values()} == {200}
    time.sleep(0.06)
    assert {use() for use in ways.values()} == {200}
    clock.advance(601)
    assert {use() for use in ways.values()} == {401}


def test_a_clock_that_is_set_back(caller: Caller, clock: Clock) -> None:
    """A cached token is refused if the clock is set back to a time before the token is valid."""
    caller.post("update", application(secret=STRONG_SECRET))
    made = token(claims(loginname="lena", nbf=int(clock.now), exp=int(clock.now) + 600), STRONG_SECRET)
    ways = warm(caller, made)
    clock.advance(-60)
    assert {use() for use in ways.values()} == {401}


def test_two_writes_within_a_tick(tmp_path: Path) -> None:
    """A write right after a read is seen, even within one tick of the file system's clock."""
    store = FileStore(tmp_path, ("users",), 5)
    kept: RecordCache[Any] = RecordCache(store, "users", lambda document: document["value"])
    path = tmp_path / "users" / "lena.json"
    for value in range(300):
        # In place and of one size: only a clock tells the difference.
        path.write_text(json.dumps({"name": "lena", "value": value % 10}))
        assert kept.get("lena") == value % 10


def test_bounds(app: Flask, caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache holds more than its bound, and an evicted entry is loaded again."""
    verified = services_in(app).signin.cache._tokens
    monkeypatch.setattr(verified, "most", 5)
    absent = services_in(app).revocations._absent
    monkeypatch.setattr(absent, "most", 5)
    issued(caller)
    tokens = [caller.post("generate", {"username": f"user{number}"}).json["token"] for number in range(12)]
    for _ in range(2):
        for made in tokens:
            use = {"Authorization": f"Bearer {made}"}
            assert caller.get("/auth/check", headers=use).status_code == 200
    assert len(verified) == 5
    assert len(absent) == 5
    store = FileStore(tmp_path / "kept", (COLLECTION,), 5)
    kept: RecordCache[Any] = RecordCache(store, COLLECTION, lambda document: document, most=5)
    for number in range(20):
        store.put(COLLECTION, {"name": f"a{number}"})
    for number in [*range(20), *range(20)]:
        assert kept.get(f"a{number}") == {"name": f"a{number}"}
    assert len(kept._cached) <= 5


def test_private_keys_are_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key is cached for a minute after its last use, among a bounded number, and under a hash of its text."""
    now = [1000.0]
    monkeypatch.setattr("datafor_token.crypto.keys.time.monotonic", lambda: now[0])
    remembered = keys._PrivateKeyCache()

    def read(algorithm: str) -> Any:
        found = remembered.get(private_pem(key_for(algorithm)), [key_for(algorithm).public_key()])
        assert found is not None
        return found[0]

    text = private_pem(key_for("ES256"))
    first = read("ES256")
    now[0] += 59
    assert read("ES256") is first
    assert remembered.get(text, [key_for("ES384").public_key()]) is None
    assert text not in repr(remembered._entries)
    now[0] += 61
    assert read("ES256") is not first
    monkeypatch.setattr(keys, "_MAX_CACHED", 2)
    for algorithm in ("ES256", "ES384", "ES512", "EdDSA"):
        read(algorithm)
    assert len(remembered._entries) <= 2


def test_a_record_that_is_deleted_while_all_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is removed between the listing and its reading is left out until it is written again."""
    store = FileStore(tmp_path, ("users",), 5)
    for name in ("lena", "otto"):
        store.put("users", {"name": name})
    index: RecordIndex[str] = RecordIndex(store, "users", lambda document: str(document["name"]))
    changes = FileStore.changes

    def losing_one(one: FileStore, collection: str, known: Any) -> Any:
        found = changes(one, collection, known)
        store.delete("users", "otto")
        return found

    monkeypatch.setattr(FileStore, "changes", losing_one)
    assert [name for name, _ in index.all().records.values()] == ["lena"]
    monkeypatch.setattr(FileStore, "changes", changes)
    store.put("users", {"name": "otto"})
    assert sorted(name for name, _ in index.all().records.values()) == ["lena", "otto"]


def test_a_write_outside_the_index_leaves_it(tmp_path: Path) -> None:
    """A write that changes no value of the index leaves its version unchanged; any other write is seen."""
    store = FileStore(tmp_path, ("users",), lock_timeout=30)
    index: RecordIndex[str] = RecordIndex(store, "users", lambda document: str(document["type"]))
    for number in range(3):
        store.put("users", {"name": f"user{number}", "type": "reader", "uses": 0})
    before = index.all()
    store.put("users", {"name": "user1", "type": "reader", "uses": 1})
    assert index.all() == before
    assert index.all().version == before.version
    store.put("users", {"name": "user1", "type": "creator", "uses": 1})
    assert sorted(index.all().records.values()) == [("user0", "reader"), ("user1", "creator"), ("user2", "reader")]
    store.delete("users", "user2")
    assert sorted(index.all().records.values()) == [("user0", "reader"), ("user1", "creator")]
    store.put("users", {"name": "user3", "type": "reader"})
    assert len(index.all().records) == 3


def test_a_write_costs_one_scan_of_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write to a collection of many records, any number of requests scan all of them once."""
    monkeypatch.setattr("datafor_token.store.cache._MANY", 3)
    store = FileStore(tmp_path, ("users",), lock_timeout=30)
    index: RecordIndex[str] = RecordIndex(store, "users", lambda document: str(document["type"]))
    for number in range(3):
        store.put("users", {"name": f"user{number}", "type": "reader"})
    settle(lambda: store.stamp("users"))
    index.all()
    looks: list[str] = []
    look = FileStore.changes
    monkeypatch.setattr(FileStore, "changes", lambda *given: looks.append("look") or look(*given))  # type: ignore[func-returns-value]
    store.put("users", {"name": "user1", "type": "creator"})
    for _ in range(100):
        assert ("user1", "creator") in index.all(thorough=False).records.values()
        time.sleep(0.001)
    assert looks == ["look"]


def test_an_index_entry_is_small(app: Flask, caller: Caller) -> None:
    """An index entry has the members that verify tokens and that lists are searched by, and no others."""
    caller.post("update", application(secret=STRONG_SECRET, initpwd="the-first-password"))
    entry = services_in(app).registry.index().entries[0]
    kept = {name: getattr(entry, name) for name in entry.__slots__}
    assert kept.pop("key").verify(b"message", hmac.digest(STRONG_SECRET.encode(), b"message", "sha256"))
    assert kept == {
        "name": "ERP",
        "algorithm": "HS256",
        "token_name": "token",
        "claim": "loginname",
        "creator_id": "admin",
        "expire": 86400,
        "last_expiry": 0,
        "changed": 1722929516000,
        "enable": True,
        "self_service": False,
        "origins": (),
        "previous": None,
        "previous_until": 0,
        "rule_violations": (),
    }
    assert STRONG_SECRET not in repr(entry)


def test_an_application_that_is_deleted_while_it_is_listed(
    app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that is deleted between the listing and its reading is left out, and no call fails."""
    for name, algorithm in (("First", "ES256"), ("Second", "EdDSA")):
        caller.post("update", application(name=name, algorithm=algorithm, secret=public_pem(key_for(algorithm))))
    caller.post("update", application(name="Own", secret=STRONG_SECRET, self_service="1"))
    registry = services_in(app).registry
    before = registry.index()
    caller.post("deleteBatch", ["First", "Own"])
    monkeypatch.setattr(registry, "index", lambda **_: before)
    keys = caller.get("/.well-known/jwks.json")
    assert (keys.status_code, [key["alg"] for key in keys.json["keys"]]) == (200, ["EdDSA"])
    listed = caller.get("list").json
    assert [one["name"] for one in listed["data"]] == ["Second"]
    assert caller.get("personal/config").json == {"success": True, "enabled": False}


@pytest.mark.file_store
def test_the_first_by_name_after_an_edit(caller: Caller, other: Caller, settings: Settings) -> None:
    """A token belongs to the first application by name as soon as an edit gives that one the secret."""
    caller.post("update", application(name="AAA", secret=OTHER_SECRET, initroles=["SYS_Creator", "own"]))
    caller.post("update", application(secret=STRONG_SECRET))
    warm(caller, issued_of(caller, "ERP"))
    made = issued_of(caller, "ERP", "newcomer")
    path = settings.data_dir / "applications" / "aaa.json"
    write(path, json.dumps({**json.loads(path.read_text()), "secret": STRONG_SECRET}), EDITORS[0])
    response = caller.get("/auth/check", headers={"Authorization": f"Bearer {made}"})
    assert response.headers["Remote-Groups"] == "SYS_Creator,own"


@pytest.mark.file_store
def test_a_parameter_that_an_edit_renamed(caller: Caller, other: Caller, settings: Settings) -> None:
    """A token is refused under its old parameter right after an edit, even before the new one was used."""
    made = issued(caller)
    warm(caller, made)
    change_application(caller, other, settings, EDITORS[0], token_name="ticket_of_erp")
    fresh = issued_of(caller, "ERP", "newcomer")
    for token_of_before in (made, fresh):
        uri = {"X-Original-URI": f"/?token={token_of_before}"}
        assert caller.get("/auth/check", headers=uri).status_code == 401


def issued_of(caller: Caller, name: str, username: str = "lena") -> str:
    """Return a token of one of several applications."""
    token = caller.post("generate", {"name": name, "username": username}).json["token"]
    assert isinstance(token, str)
    return token
