"""Variants of PostgreSQL servers, and the messages about unusable ones."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from datafor_token.errors import StoreNotReady, StoreUnavailable
from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.errors import explained
from tests.docs.pages import blocks
from tests.operations.test_migration import shell
from tests.processes import environment, first_start
from tests.store.conftest import opened
from tests.store.contract import is_writable
from tests.store.postgres import Postgres
from tests.support import free_port

_numbers = itertools.count()
NAME = "客户"


@pytest.fixture
def made(postgres: Postgres) -> Callable[[str], str]:
    """Return a function that creates a database without tables, in an encoding."""

    def make(encoding: str = "UTF8") -> str:
        name = f"server{next(_numbers)}"
        postgres.ask(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        return postgres.url(name)

    return make


@pytest.mark.parametrize("query", ["", "?client_encoding=latin1", "?options=-cclient_encoding%3Dlatin1"])
def test_every_connection_speaks_utf8(postgres_url: str, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """Every name is stored, whatever client encoding the URL, the environment and the server set."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = opened(postgres_url + query)
    store.put("users", {"name": NAME})
    assert store.get("users", NAME) == {"name": NAME}
    assert store.names("users") == [NAME]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused(
    postgres: Postgres, made: Callable[[str], str], tmp_path: Path, encoding: str
) -> None:
    """A database of another encoding is refused with a message by each command and at the start; nothing is created."""
    url = made(encoding)
    database = Database(url, 30, 30)
    for refused in (schema.create, schema.check):
        with pytest.raises(StoreNotReady, match=f"encoding {encoding}"):
            refused(database)
    first_start(environment(tmp_path, DATAFOR_TOKEN_STORE="file"))
    commands = [("file", "store", "migrate", "--to", url), (url, "store", "init"), (url, "user", "list")]
    for setting, *arguments in commands:
        done = shell(tmp_path, *arguments, store=setting)
        assert (done.returncode, f"encoding {encoding}" in done.stderr, "Traceback" in done.stderr) == (3, True, False)
    assert postgres.ask("SELECT * FROM pg_tables WHERE tablename ~ 'datafor'", url.rpartition("/")[2]) == []


def reason(url: str, work: Callable[[Database], object] = schema.check) -> str:
    """Return the reason that the log gives for an outage, which contains nothing of the driver's text."""
    with pytest.raises(StoreUnavailable) as caught:
        work(Database(url, 30, 30))
    said = str(caught.value.reason)
    assert ("Password" in said, "Error" in said, "connection to server" in said) == (False, False, False)
    return said


@pytest.mark.parametrize(
    ("question", "saying"),
    [
        ("ALTER ROLE {} CONNECTION LIMIT 0", "too many connections"),
        ("ALTER ROLE {} PASSWORD 'another'", "refuses the user or the password"),
        ("ALTER ROLE {} SET default_transaction_read_only = on", "no host accepts writes"),
        ("ALTER ROLE {} NOLOGIN", "may not log in"),
        ("DROP ROLE {}", "refuses the user or the password"),
        ("ALTER DATABASE {} ALLOW_CONNECTIONS false", "accepts no connections"),
        ("REVOKE CONNECT ON DATABASE {} FROM public", "no right to connect"),
    ],
)
def test_the_reason_is_that_of_the_host_that_responds(
    postgres: Postgres, made: Callable[[str], str], question: str, saying: str
) -> None:
    """With one host down, first or last, the reason is that of the other host."""
    name = made("UTF8").rpartition("/")[2]
    postgres.ask(f"CREATE ROLE {name} LOGIN PASSWORD 'the-Password'")
    postgres.ask(question.format(name))
    alive, dead = f"127.0.0.1:{postgres.port}", f"127.0.0.1:{free_port()}"
    for hosts in (f"{dead},{alive}", f"{alive},{dead}"):
        assert saying in reason(f"postgresql://{name}:the-Password@{hosts}/{name}")


@pytest.mark.parametrize(
    "words",
    [
        "FATAL:  password authentication failed for user",
        "fe_sendauth: no password supplied",
        "FATAL:  no pg_hba.conf entry for host",
        'FATAL:  database "x" does not exist',
        "FATAL:  role is not permitted to log in",
        "FATAL:  permission denied for database",
        "FATAL:  sorry, too many clients already",
        "FATAL:  database is not currently accepting connections",
        "connection failed: Connection refused",
        "connection timeout expired",
        "failed to resolve host",
        "session is read-only",
        "server closed the connection unexpectedly",
        "server does not support SSL, but SSL was required",
        "root certificate file does not exist",
        "server conn crashed?",
    ],
)
def test_a_reason_says_what_to_do(words: str) -> None:
    """After the cause, the reason of an outage says what to do."""
    cause, colon, advice = explained(psycopg.OperationalError(words)).partition(": ")
    assert (bool(cause), colon, len(advice.split()) > 1) == (True, ": ", True)


@pytest.mark.parametrize(
    ("saying", "wanted"), [("starting up", "try again in a moment"), ("shutting down", "start it again")]
)
def test_a_starting_host_is_reported_before_one_that_is_down(saying: str, wanted: str) -> None:
    """With one host down, the reason is that the other is starting up or shutting down, with what to do."""
    words = ("connection failed: Connection refused", f"connection failed: FATAL:  the database system is {saying}")
    for first, last in (words, words[::-1]):
        error = psycopg.OperationalError(f"{last}\nMultiple ...\n- {first}\n- {last}")
        assert explained(error) == f"it is {saying}: {wanted}"


@pytest.mark.parametrize(
    ("query", "saying"),
    [
        ("sslmode=require", "does not speak TLS"),
        ("sslmode=verify-full&sslrootcert=/nowhere", "TLS"),
        ("sslmode=never", "an unknown sslmode"),
        ("options=-ccolour%3Dred", "a parameter that the URL's options set"),
    ],
)
def test_an_option_that_cannot_be_granted_is_explained(postgres_url: str, query: str, saying: str) -> None:
    """An option of the URL that the server cannot grant is explained, not only named by its error."""
    assert saying in reason(f"{postgres_url}?{query}")


def is_let_in(url: str) -> bool:
    try:
        psycopg.connect(url.replace("+psycopg", "")).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_rejection_by_pg_hba_is_explained(postgres: Postgres, made: Callable[[str], str]) -> None:
    """A user whom pg_hba.conf rejects gets a message about that."""
    url = made("UTF8")
    name = url.rpartition("/")[2]
    file = postgres.folder / "pg_hba.conf"
    file.write_text(f"host {name} all 127.0.0.1/32 reject\n{file.read_text()}")
    postgres.ask("SELECT pg_reload_conf()")
    # The server reads it with some delay.
    while is_let_in(url):
        time.sleep(0.05)
    assert "pg_hba.conf" in reason(url)


def test_a_user_without_rights_is_explained(postgres: Postgres, made: Callable[[str], str], tmp_path: Path) -> None:
    """A user who may not create or read tables gets a message about that."""
    url = made("UTF8")
    name = url.rpartition("/")[2]
    postgres.ask(f"CREATE ROLE {name} LOGIN PASSWORD 'the-Password'")
    poor = f"postgresql://{name}:the-Password@127.0.0.1:{postgres.port}/{name}"
    assert "lacks rights" in reason(poor, schema.create)
    done = shell(tmp_path, "store", "init", store=poor)
    assert (done.returncode, "lacks rights" in done.stderr, "Traceback" in done.stderr) == (3, True, False)
    schema.create(Database(url, 30, 30))
    assert "lacks rights" in reason(poor)
    postgres.ask("DROP SCHEMA public CASCADE", name)
    assert "no schema" in reason(poor, schema.create)


def test_the_rights_that_the_page_names_are_enough(postgres: Postgres, tmp_path: Path) -> None:
    """The page's two statements suffice to create the tables, and the rights that it names suffice for a node."""
    name, lesser = f"server{next(_numbers)}", f"server{next(_numbers)}"
    for statement in blocks("docs/several-hosts.md", "sql")[0].splitlines():
        postgres.ask(statement.replace(" datafor", f" {name}"))
    owner = f"postgresql://{name}:password@127.0.0.1:{postgres.port}/{name}"
    done = shell(tmp_path, "store", "init", store=owner)
    assert (done.returncode, done.stderr) == (0, "The tables were created\n")
    postgres.ask(f"CREATE ROLE {lesser} LOGIN PASSWORD 'password'; REVOKE ALL ON DATABASE {name} FROM public")
    postgres.ask(f"GRANT CONNECT ON DATABASE {name} TO {lesser}")
    postgres.ask(f"REVOKE ALL ON SCHEMA public FROM public; GRANT USAGE ON SCHEMA public TO {lesser}", name)
    tables = "datafor_records, datafor_generations, datafor_schema"
    postgres.ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {lesser}", name)
    url = owner.replace(f"//{name}", f"//{lesser}")
    schema.check(Database(url, 30, 30))
    store = opened(url)
    store.put("users", {"name": "lena"})
    assert (store.get("users", "lena"), is_writable(store)) == ({"name": "lena"}, True)
    assert store.delete("users", "lena") is True


def test_a_wrong_sqlite_file_is_explained(tmp_path: Path) -> None:
    """A database in a missing folder, and a file that is not a database, are explained."""
    (tmp_path / "text").write_text("no database, only a text that is long enough to be looked at")
    assert "its folder is missing" in reason(f"sqlite:///{tmp_path}/nowhere/records.db")
    assert "not a database of SQLite" in reason(f"sqlite:///{tmp_path}/text")


@pytest.mark.parametrize("gone", ["datafor_records", "datafor_generations", "datafor_schema"])
def test_missing_tables_are_reported_and_created(url: str, tmp_path: Path, gone: str) -> None:
    """If a table is missing, the start and each operation report it, and `store init` creates it."""
    store = opened(url)
    store.put("users", {"name": "lena"})
    store.begin_request()
    before = store.version("users", "lena"), store.stamp("users")
    store.end_request()
    with store._database.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {gone}")
    assert (gone in shell(tmp_path, "user", "list", store=url).stderr) == (gone != "datafor_schema")
    with pytest.raises(StoreNotReady, match="store init"):
        schema.check(store._database)
    if gone != "datafor_schema":
        with pytest.raises(StoreUnavailable) as caught:
            store.put("users", {"name": "lena"})
        assert "tables are missing" in str(caught.value.reason)
    done = shell(tmp_path, "store", "init", store=url)
    assert (done.returncode, done.stderr) == (0, "The tables were created\n")
    schema.check(store._database)
    # The cached records of a running node are not valid any more.
    store.begin_request()
    after = store.version("users", "lena"), store.stamp("users")
    store.end_request()
    assert (after == before) == (gone == "datafor_schema")
    assert (after[0] is None) == (gone == "datafor_records")
    store.put("users", {"name": "lena"})
