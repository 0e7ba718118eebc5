"""Cache by generations: a request costs one small read if nothing changed, and never misses a change."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from datafor_token import create_app
from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.store.base import Document
from datafor_token.store.sql.store import SqlStore
from tests.conftest import CHEAP_FOR_TESTS_ONLY, services_in
from tests.store.conftest import opened
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, Clock, application, basic


class Statements:
    """Record the statements that a store sends."""

    def __init__(self, store: SqlStore) -> None:
        self.sent: list[str] = []
        sa.event.listen(store._database.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.sent.append(statement)

    def of(self, work: Callable[[], object]) -> list[str]:
        """Return the statements sent during ``work``."""
        self.sent.clear()
        work()
        return list(self.sent)


def ask_all(store: SqlStore, known: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the results of one request that uses every cached operation."""
    store.begin_request()
    try:
        there, not_there = store.version("users", "LENA"), store.version("users", "nobody")
        versions, changed = store.changes("users", known)
        return store.stamp("users"), store.stamp("applications"), there, not_there, versions, list(changed)
    finally:
        store.end_request()


def test_a_request_costs_one_read(store: SqlStore) -> None:
    """Under a cached generation, a request reads only the generations, once."""
    store.put("users", {"name": "lena"})
    statements = Statements(store)
    known = ask_all(store, {})[4]
    known = ask_all(store, known)[4]
    assert len(statements.of(lambda: ask_all(store, known))) == 1
    assert ask_all(store, known)[5] == []
    assert len(statements.of(lambda: [store.version("users", "lena") for _ in range(3)])) == 3 * 2


def test_a_request_without_operations_reads_nothing(store: SqlStore) -> None:
    """The generations are read by the first operation, so a health check needs no database."""
    statements = Statements(store)

    def request() -> None:
        store.begin_request()
        store.end_request()

    assert statements.of(request) == []


def test_a_change_elsewhere_is_seen_by_the_next_request(store: SqlStore, url: str) -> None:
    """After another node's write, the next request sees it in the stamp, the version and the changes; others stay."""
    other = opened(url)
    other.put("applications", {"name": "ERP"})
    other.put("users", {"name": "lena", "value": 0})
    seen: set[object] = set()
    known: dict[str, Any] = {}
    for number in range(1, 5):
        stamp, stays, version, _, known, _ = ask_all(store, known)
        seen |= {stamp, version}
        other.put("users", {"name": "lena", "value": number})
        stamp, still, version, _, known, changed = ask_all(store, known)
        seen |= {stamp, version}
        assert [found[1:] for found in changed] == [("lena", {"name": "lena", "value": number})]
        assert still == stays
    other.delete("users", "lena")
    assert ask_all(store, known)[2] is None
    assert len(seen) == 10


def test_a_request_sees_its_own_writes(store: SqlStore) -> None:
    """A request sees its own writes, and a change gets the stored document."""
    store.put("users", {"name": "lena", "value": 0})
    store.begin_request()
    before = store.stamp("users"), store.version("users", "lena")

    def change(found: Document | None) -> Document:
        assert store.version("users", "lena") == before[1]
        return {**(found or {}), "value": 1}

    store.update("users", "lena", change)
    after = store.stamp("users"), store.version("users", "lena")
    assert after[0] != before[0]
    assert after[1] not in (None, before[1])
    with pytest.raises(ZeroDivisionError):
        store.update("users", "lena", lambda _: 1 // 0)  # type: ignore[arg-type,return-value]
    assert (store.stamp("users"), store.version("users", "lena")) == after
    store.delete("users", "lena")
    assert store.version("users", "lena") is None
    store.end_request()


def test_under_load_nothing_outdated_is_returned(store: SqlStore, url: str) -> None:
    """Beside a writer, each request of several threads sees at least what was written when it began."""
    writer = opened(url)
    writer.put("users", {"name": "lena", "value": 0})
    acknowledged, versions, done, wrong = [0], {}, threading.Event(), []

    def write() -> None:
        for number in range(1, 60):
            writer.put("users", {"name": "lena", "value": number})
            versions[writer.version("users", "lena")] = number
            acknowledged[0] = number
        done.set()

    def read() -> None:
        while not done.is_set():
            at_least = acknowledged[0]
            store.begin_request()
            version = store.version("users", "lena")
            store.end_request()
            if versions.get(version, 99 if at_least == 0 else at_least + 1) < at_least:
                wrong.append((version, at_least))

    threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert acknowledged == [59]
    assert wrong == []


def test_the_cache_is_bounded(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache has a bounded number of names."""
    monkeypatch.setattr("datafor_token.store.sql.generations._MOST", 5)
    store.begin_request()
    for number in range(20):
        assert store.version("users", f"user{number}") is None
    memory = store._sessions.read(lambda session: session.memory("users"))
    assert memory is not None
    assert 0 < len(memory.versions) <= 5
    store.end_request()


def test_an_outage_is_not_hidden_by_the_cache(store: SqlStore) -> None:
    """If the generations cannot be read, the result is 503 and not a cached value."""
    store.put("users", {"name": "lena"})
    ask_all(store, {})
    with store._database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE datafor_generations RENAME TO gone"))
    for question in (store.stamp, lambda name: store.version(name, "lena"), lambda name: store.changes(name, {})):
        store.begin_request()
        with pytest.raises(StoreUnavailable):
            question("users")
        store.end_request()


@pytest.fixture
def node(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Flask]:
    """Return a function that creates another node on the same database, with the same key."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    (tmp_path / "config").mkdir()
    clock = Clock()

    def make() -> Flask:
        data = tmp_path / f"data{len(list(tmp_path.glob('data*')))}"
        wanted = Settings(config_dir=tmp_path / "config", data_dir=data, store=url)
        return create_app(wanted, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)

    return make


def store_of(app: Flask) -> SqlStore:
    found = services_in(app).store
    assert isinstance(found, SqlStore)
    return found


def update(app: Flask, **changes: Any) -> None:
    wanted = application(secret=STRONG_SECRET, **changes)
    assert app.test_client().post(f"{API}/update", json=wanted, headers=basic()).status_code == 200


def generate(app: Flask) -> Any:
    return app.test_client().post(f"{API}/generate", json={"name": "ERP", "username": "lena"}, headers=basic())


def test_a_call_costs_one_statement(node: Callable[[], Flask]) -> None:
    """With warm caches, ``generate`` and ``auth/check`` (token or cookie) read once; health checks do not.

    ``generate`` also writes its event.
    """
    app = node()
    update(app, name="ERP")
    token = generate(app).get_json()["token"]
    by_token = {"Authorization": f"Bearer {token}"}
    through_proxy = {"X-Original-URI": f"/page?token={token}"}
    browser = app.test_client()
    statements = Statements(store_of(app))
    assert browser.get("/auth/check", headers=through_proxy).status_code == 200
    calls: dict[str, Callable[[], Any]] = {
        "generate": lambda: generate(app),
        "bearer": lambda: app.test_client().get("/auth/check", headers=by_token),
        "cookie": lambda: browser.get("/auth/check"),
        "health": lambda: app.test_client().get("/healthz"),
    }
    for call in calls.values():
        assert call().status_code == 200
        assert call().status_code == 200
    sent = {name: statements.of(call) for name, call in calls.items()}
    assert {name: len(one) for name, one in sent.items()} == {"generate": 2, "bearer": 1, "cookie": 1, "health": 0}
    assert sent["generate"][1].startswith("INSERT INTO datafor_audit")
    assert all("datafor_generations" in one[0] for one in sent.values() if one)


def test_a_change_holds_at_the_next_call_on_the_other_node(node: Callable[[], Flask]) -> None:
    """Disabling, enabling, a new secret, a revocation and a deletion on one node hold at the other's next call."""
    one, other = node(), node()
    update(one, name="ERP")
    token = generate(other).get_json()["token"]

    def check(text: str) -> int:
        return other.test_client().get("/auth/check", headers={"Authorization": f"Bearer {text}"}).status_code

    for _ in range(3):
        assert (check(token), generate(other).status_code) == (200, 200)
        update(one, name="ERP", enable="0")
        assert (check(token), generate(other).status_code) == (401, 403)
        update(one, name="ERP")
    assert check(token) == 200
    assert one.test_client().post(f"{API}/revoke", data={"token": token}, headers=basic()).status_code == 200
    assert check(token) == 401
    second = generate(one).get_json()["token"]
    assert second != token or check(second) == 401
    assert one.test_client().post(f"{API}/delete", data={"name": "ERP"}, headers=basic()).status_code == 200
    assert (check(second), generate(other).status_code) == (401, 404)


def test_a_call_without_the_generations_is_503(node: Callable[[], Flask]) -> None:
    """A node that cannot read the generations responds with 503, also to calls it served before, and then recovers."""
    app = node()
    update(app, name="ERP")
    assert generate(app).status_code == 200
    engine = store_of(app)._database.engine
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE datafor_generations RENAME TO gone"))
    assert generate(app).status_code == 503
    assert app.test_client().get("/healthz").status_code == 200
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO datafor_generations"))
    assert generate(app).status_code == 200
