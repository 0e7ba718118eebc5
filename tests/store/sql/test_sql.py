"""SQL store: the guarantees of every store on SQLite and PostgreSQL, and its own: tables, damage, outages."""

import contextlib
import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from datafor_token.errors import LockTimeout, MaybeStored, RecordDamaged, RuleError, StoreNotReady, StoreUnavailable
from datafor_token.store.base import AlreadyExists, Document
from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.rows import key_of
from datafor_token.store.sql.store import SqlStore
from datafor_token.validation.names import fold
from tests.store.conftest import lose_response, opened
from tests.store.contract import Factory, StoreContract, is_writable
from tests.store.postgres import Postgres
from tests.support import free_port


class TestContractOnSQLite(StoreContract):
    """The SQL store on SQLite has the guarantees of every store."""

    @pytest.fixture
    def factory(self, sqlite_url: str) -> Factory:
        return functools.partial(opened, sqlite_url)


class TestContractOnPostgreSQL(StoreContract):
    """The SQL store on PostgreSQL has the guarantees of every store."""

    @pytest.fixture
    def factory(self, postgres_url: str) -> Factory:
        return functools.partial(opened, postgres_url)


def damage(store: SqlStore, name: str, content: str) -> None:
    """Store a text in place of the document of that name."""
    row = {"c": "users", "n": key_of(name), "d": content, "w": "0"}
    with store._database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM datafor_records WHERE collection = :c AND name = :n"), row)
        connection.execute(sa.text("INSERT INTO datafor_records VALUES (:c, :n, :d, :w)"), row)


def content(store: SqlStore, name: str) -> str:
    with store._database.engine.connect() as connection:
        question = sa.text("SELECT document FROM datafor_records WHERE collection = 'users' AND name = :n")
        return str(connection.execute(question, {"n": key_of(name)}).scalar())


DAMAGED = [
    "",
    '{"name": "lena", "ro',
    '["lena"]',
    '{"user": "lena"}',
    '{"name": "paul"}',
    '{"name":"lena","name":"lena"}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_reported_and_unchanged(store: SqlStore, text: str) -> None:
    """A row that is not a document of its name is damaged, never 'not found', and no call overwrites it."""
    damage(store, "lena", text)
    store.put("users", {"name": "other"})
    calls: list[Callable[[], object]] = [
        lambda: store.get("users", "lena"),
        lambda: store.update("users", "lena", lambda _: {"name": "lena"}),
        lambda: store.put("users", {"name": "lena"}),
        lambda: store.delete("users", "lena"),
    ]
    for call in calls:
        with pytest.raises(RecordDamaged):
            call()
    with pytest.raises(AlreadyExists):
        store.create("users", {"name": "lena"})
    assert content(store, "lena") == text
    assert sorted(store.names("users")) == ["lena", "other"]
    assert {name: type(found) for name, found in store.documents("users")} == {"lena": RecordDamaged, "other": dict}


@pytest.mark.parametrize("name", ["..", "", "a/b", "con\0", "\ud800", "x" * 5000, "~", "'; DROP TABLE datafor_records"])
def test_odd_names_work(store: SqlStore, name: str) -> None:
    """Names that are special elsewhere are ordinary names here."""
    assert store.get("users", name) is None
    assert len(key_of(name)) <= 200
    assert store.delete("users", name) is False
    with contextlib.suppress(UnicodeEncodeError):
        store.put("users", {"name": name})
        assert [fold(one) for one in store.names("users")] == [fold(name)]


def test_all_pages_are_read(store: SqlStore) -> None:
    """Any number of records are listed once each, also while some are deleted."""
    store.put_many("users", [{"name": f"user{number}"} for number in range(2500)])
    seen = []
    for name, _ in store.documents("users"):
        seen.append(name)
        store.delete("users", name)
        if len(seen) == 20:
            break
    assert len(store.names("users")) == 2480
    assert len(set(store.names("users"))) == 2480


def broken(_: Document | None) -> Document:
    raise KeyError


def test_the_generation_changes_with_every_write_only(store: SqlStore) -> None:
    """A collection's generation differs after each write to it, and stays the same without writes."""
    store.put("users", {"name": "lena"})
    before = [store.stamp("users")]
    writes: list[Callable[[], object]] = [
        lambda: store.put("users", {"name": "lena"}),
        lambda: store.create("users", {"name": "paul"}),
        lambda: store.update("users", "paul", lambda _: {"name": "paul"}),
        lambda: store.delete("users", "paul"),
        lambda: store.put_many("users", [{"name": "a"}, {"name": "b"}]),
    ]
    for write in writes:
        write()
        before.append(store.stamp("users"))
    assert len(set(before)) == 6
    store.put("applications", {"name": "ERP"})
    store.delete("users", "nobody")
    with pytest.raises(AlreadyExists):
        store.create("users", {"name": "lena"})
    with pytest.raises(KeyError):
        store.update("users", "lena", broken)
    assert store.stamp("users") == before[-1]


def test_a_reader_never_sees_an_old_document_under_a_new_generation(store: SqlStore) -> None:
    """A document read after its generation is of that generation or a later one."""
    store.put("users", {"name": "lena", "value": 0})
    begin = store.stamp("users")[0]  # type: ignore[index]
    done = threading.Event()

    def write() -> None:
        for number in range(1, 60):
            store.put("users", {"name": "lena", "value": number})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        generation = store.stamp("users")[0]  # type: ignore[index]
        document = store.get("users", "lena")
        assert document is not None
        assert document["value"] >= generation - begin
        reads += 1
    writer.join()


def test_a_change_may_read(store: SqlStore) -> None:
    """A change reads within its own transaction, and needs no other connection."""
    store.put("users", {"name": "lena"})
    store.put("users", {"name": "paul"})

    def change(_: Document | None) -> Document:
        return {"name": "lena", "others": sorted(store.names("users")), "paul": store.get("users", "PAUL")}

    assert store.update("users", "lena", change) == {
        "name": "lena", "others": ["lena", "paul"], "paul": {"name": "paul"},
    }  # fmt: skip


def test_a_writer_waits_no_longer_than_the_setting(url: str) -> None:
    """While another writer is active, a writer ends in LockTimeout and reads work; later writes work again."""
    store, other = opened(url, lock_timeout=0.3), opened(url, timeout=30)
    store.put("users", {"name": "lena", "value": 1})
    inside, leave = threading.Event(), threading.Event()

    def change(_: Document | None) -> Document:
        inside.set()
        leave.wait(60)
        return {"name": "lena", "value": 2}

    holder = threading.Thread(target=other.update, args=("users", "lena", change))
    holder.start()
    assert inside.wait(60)
    try:
        with pytest.raises(LockTimeout):
            store.put("users", {"name": "lena", "value": 3})
        with pytest.raises(LockTimeout):
            store.update("users", "lena", lambda _: {"name": "lena"}, wait=0.01)
        assert store.get("users", "lena") == {"name": "lena", "value": 1}
    finally:
        leave.set()
        holder.join()
    assert store.get("users", "lena") == {"name": "lena", "value": 2}
    store.put("users", {"name": "lena", "value": 3})


def test_a_lost_connection_is_renewed(postgres: Postgres, postgres_url: str) -> None:
    """After the server has closed all connections, the next read and the next write succeed."""
    store = opened(postgres_url)
    store.put("users", {"name": "lena"})
    postgres.ask(END_ALL)
    assert store.get("users", "lena") == {"name": "lena"}
    postgres.ask(END_ALL)
    store.put("users", {"name": "lena", "value": 2})
    assert store.get("users", "lena") == {"name": "lena", "value": 2}


END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'datafor_token'"


def test_a_write_that_lost_its_connection_is_done_once(postgres: Postgres, postgres_url: str) -> None:
    """A write whose connection breaks before the commit is retried without calling its change again."""
    store = opened(postgres_url)
    store.put("users", {"name": "lena", "value": 0})
    calls = []

    def change(document: Document | None) -> Document:
        assert document is not None
        calls.append(document)
        postgres.ask(END_ALL)
        return {"name": "lena", "value": document["value"] + 1}

    assert store.update("users", "lena", change) == {"name": "lena", "value": 1}
    assert (len(calls), store.get("users", "lena")) == (1, {"name": "lena", "value": 1})


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_response_to_a_commit_is_looked_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """A commit whose response is lost is applied once, whether it was committed or not."""
    store = opened(postgres_url)
    store.put("users", {"name": "lena", "value": 0})
    commits = lose_response(monkeypatch, committed=committed)
    written = store.update("users", "lena", lambda found: {"name": "lena", "value": (found or {})["value"] + 1})
    assert written == {"name": "lena", "value": 1}
    assert store.get("users", "lena") == written
    # The write, and either the look at it, which waits for a standby as well, or the second try.
    assert next(commits) == 2


def test_an_unknown_result_is_maybe_stored(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit without a response whose record was overwritten since is 'may or may not have been stored'."""
    store, other = opened(postgres_url), opened(postgres_url)
    commit, times = sa.Connection.commit, itertools.count()

    def lost(connection: sa.Connection) -> None:
        commit(connection)
        if next(times) == 0:
            other.put("users", {"name": "lena", "value": 2})
            connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
            connection.exec_driver_sql("SELECT 1")

    monkeypatch.setattr(sa.Connection, "commit", lost)
    with pytest.raises(MaybeStored):
        store.put("users", {"name": "lena", "value": 1})


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_serialisation_failures_are_retried_with_a_bound(postgres_url: str, state: str) -> None:
    """A write that the database asks to retry is retried, but not forever."""
    store = opened(postgres_url)
    with store._database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE SEQUENCE tries")
        connection.exec_driver_sql(
            "CREATE FUNCTION fail() RETURNS trigger AS $$ BEGIN IF nextval('tries') %% 4 > 0 OR NEW.name = 'never' THEN"
            f" RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER fail BEFORE INSERT ON datafor_records FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    store.create("users", {"name": "lena"})
    assert store.get("users", "lena") == {"name": "lena"}
    with pytest.raises(StoreUnavailable):
        store.create("users", {"name": "never"})


def responds(store: SqlStore) -> bool:
    """Return whether the store can be read."""
    try:
        store.stamp("users")
    except StoreUnavailable:
        return False
    return True


def test_a_server_that_hangs_is_an_outage_in_time(postgres: Postgres, postgres_url: str) -> None:
    """A server that hangs without closing anything is an outage within the time limit, and recovers."""
    store = opened(postgres_url, timeout=2, lock_timeout=5)
    store.put("users", {"name": "lena"})
    postgres.signal_all(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.get("users", "lena")
        with pytest.raises(StoreUnavailable):
            store.put("users", {"name": "lena"})
        waited = time.monotonic() - begun
    finally:
        postgres.signal_all(signal.SIGCONT)
    # Not how fast, only that the client and not the server ended it.
    assert waited < 60
    # The database is asked again each second, and until then calls fail at once.
    while not responds(store):
        time.sleep(0.1)
    assert store.get("users", "lena") == {"name": "lena"}
    store.put("users", {"name": "lena"})


def test_a_read_only_database_is_not_writable(postgres: Postgres, postgres_url: str) -> None:
    """A read-only database is readable and not writable, and an unreachable one is an outage."""
    store = opened(postgres_url)
    store.check_writable()
    name = postgres_url.rpartition("/")[2]
    postgres.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    # As if the primary became a standby under an open connection.
    with store._database.engine.connect() as connection:
        connection.exec_driver_sql("SET default_transaction_read_only = on")
        connection.commit()
    assert store.get("users", "lena") is None
    assert is_writable(store) is False
    with pytest.raises(StoreUnavailable):
        store.put("users", {"name": "lena"})
    postgres.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    store.put("users", {"name": "lena"})


def test_no_connection_crosses_a_fork(store: SqlStore) -> None:
    """After a fork, parent and child have connections of their own, and both stores work."""
    store.put("users", {"name": "lena", "value": 0})
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            for number in range(20):
                store.put("users", {"name": f"child{number}"})
            status = 0
        os._exit(status)
    for number in range(20):
        store.put("users", {"name": f"parent{number}"})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(store.names("users")) == 41


def test_without_tables_the_start_is_refused(tmp_path: Path) -> None:
    """A database without tables, or with tables of a newer version, stops the start with a message."""
    database = Database(f"sqlite:///{tmp_path}/new.db", 5, 5)
    with pytest.raises(StoreNotReady, match="datafor-token store init"):
        schema.check(database)
    assert schema.create(database) is True
    assert schema.create(database) is False
    schema.check(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE datafor_schema SET version = 2")
    for refused in (schema.check, schema.create):
        with pytest.raises(StoreNotReady, match="version 2"):
            refused(database)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:marked@host:port/database",
        "postgresql+psycopg://user:marked@host/database?colour=marked",
        "postgresql+psycopg://user:marked@/database?host=a:x&host=b:y",
        "postgresql://user:marked@host/database?target_session_attrs=any",
        "postgresql://user:marked@host/database?target_session_attrs=prefer-standby",
        "mysql://user:marked@host/database",
        "sqlite://",
        "postgresql://user:pa?marked=word@host/database?colour=1",
        "postgresql://user:a@b?marked=word@host/database",
        "sqlite:///file?mode=marked",
        "marked",
    ],
)
def test_a_wrong_url_is_refused_without_repeating_it(url: str) -> None:
    """A URL that is not valid, or that would read replicas, is refused, and the message repeats nothing of it."""
    with pytest.raises(RuleError) as caught:
        Database(url, 5, 5)
    assert "marked" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None


def test_an_unknown_option_is_named() -> None:
    """A URL with an unknown option is refused with the name of that option and nothing else."""
    for url in (
        "postgresql+psycopg://user:marked@host/database?sslmode=require&colour=marked",
        "postgresql://user:marked@/database?host=a&host=b&colour=marked",
    ):
        with pytest.raises(RuleError, match=r"colour\Z") as caught:
            Database(url, 5, 5)
        assert "marked" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (("the-Password", "marked"), "refuses the user or the password"),
        (("/store", "/nowhere"), "the user or the database does not exist"),
        (("127.0.0.1", "127.0.0.9"), "connection refused"),
        (("127.0.0.1", "nowhere.invalid"), "its host has no address"),
    ],
)
def test_the_reason_contains_no_part_of_the_url(postgres_url: str, change: tuple[str, str], saying: str) -> None:
    """The log states why the database cannot be reached, without any part of the URL."""
    store = opened(postgres_url.replace(*change), timeout=5)
    calls: list[Callable[[], object]] = [
        lambda: store.get("users", "lena"),
        lambda: store.put("users", {"name": "lena"}),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert saying in str(caught.value.reason)
        assert "marked" not in repr(caught.value) + str(caught.value.reason) + repr(store._database)


def test_several_hosts_in_both_spellings(postgres: Postgres, postgres_url: str) -> None:
    """With a URL of several hosts, in libpq's or SQLAlchemy's form, the writable one is found."""
    dead, name = free_port(), postgres_url.rpartition("/")[2]
    password = postgres_url.partition("keeper:")[2].partition("@")[0]
    hosts = f"127.0.0.1:{dead},127.0.0.1:{postgres.port}"
    query = f"host=127.0.0.1:{dead}&host=127.0.0.1:{postgres.port}&target_session_attrs=read-write"
    for url in (
        f"postgresql://keeper:{password}@{hosts}/{name}",
        f"postgresql+psycopg://keeper:{password}@/{name}?{query}",
    ):
        opened(url).put("users", {"name": "lena"})
