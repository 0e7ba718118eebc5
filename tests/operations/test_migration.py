"""Migration of records from files to a database and back: complete, however often it is interrupted."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from datafor_token.crypto.at_rest import Keyring, store_key_identifier
from datafor_token.errors import Forbidden, RecordDamaged, StoreNotReady
from datafor_token.operations import migration
from datafor_token.store.base import Store
from datafor_token.store.files.store import FileStore
from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.store import SqlStore
from tests.processes import Process, environment, first_start, run_command
from tests.stores import COLLECTIONS
from tests.support import ADMIN_PASSWORD, ROOT, Server, application

KEYRING = Keyring([b"k" * 32])
NUMBER = 20 * len(COLLECTIONS)  # records of the source


def shell(folder: Path, *arguments: str, store: str = "file") -> subprocess.CompletedProcess[str]:
    """Run a command in a process."""
    return run_command(folder, *arguments, DATAFOR_TOKEN_STORE=store)


@pytest.fixture
def source(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "source", COLLECTIONS, 5)
    for collection in COLLECTIONS:
        for number in range(20):
            store.put(collection, {"name": f"Név {number}", "zeta": [1, "é\u2028"], "alpha": None, "of": collection})
    return store


@pytest.fixture
def target(tmp_path: Path) -> SqlStore:
    database = Database(f"sqlite:///{tmp_path}/target.db", 5, 5)
    schema.create(database)
    return SqlStore(database, COLLECTIONS)


def content(store: Store) -> dict[tuple[str, str], str]:
    """Return all records, with their members in order."""
    return {(one, name): json.dumps(found) for one in COLLECTIONS for name, found in store.documents(one)}


class Interrupted:
    """A progress that is interrupted after ``steps`` steps, and calls ``also`` before each."""

    def __init__(self, steps: int = 10**9, also: Any = None) -> None:
        self.steps, self.also, self.taken = steps, also, 0

    def __call__(self, places: Any, _: str) -> "Interrupted":
        self.places = places
        return self

    def __enter__(self) -> Any:
        for place in self.places:
            self.taken += 1
            if self.taken > self.steps:
                raise KeyboardInterrupt
            if self.also is not None:
                self.also(self.taken)
            yield place

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def move(source: Store, target: Store, progress: Any = None) -> migration.Outcome:
    return migration.migrate(source, target, COLLECTIONS, KEYRING, progress or Interrupted())


def files_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return the files in a folder, except locks, with their content and time."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_there_and_back(source: FileStore, target: SqlStore, tmp_path: Path) -> None:
    """Every record arrives with its members in order, there and back, and the source is unchanged."""
    before, files = content(source), files_of(tmp_path / "source")
    assert move(source, target) == migration.Outcome(NUMBER, NUMBER, 0, [])
    assert content(target) == before
    again = FileStore(tmp_path / "again", COLLECTIONS, 5)
    assert move(target, again) == migration.Outcome(NUMBER, NUMBER, 0, [])
    assert content(again) == before
    assert files_of(tmp_path / "source") == files
    for number in (1, 19):
        name = f"n%C3%A9v%20{number}.json"
        assert not (tmp_path / "again" / "users" / name).exists()
    assert sorted(path.name for path in (tmp_path / "again" / "users").glob("*.json")) == sorted(
        path.name for path in (tmp_path / "source" / "users").glob("*.json")
    )


@pytest.mark.parametrize("steps", [0, 1, 50, NUMBER - 1])
def test_an_interrupted_migration_continues(source: FileStore, target: SqlStore, steps: int) -> None:
    """After an interruption the service does not start on the target, and the next run completes the migration."""
    with pytest.raises(KeyboardInterrupt):
        move(source, target, Interrupted(steps))
    with pytest.raises(StoreNotReady, match="migrate"):
        migration.check_complete(target)
    source.delete("users", "név 3")
    source.put("users", {"name": "later"})
    outcome = move(source, target)
    assert (outcome.records, outcome.changed) == (NUMBER, [])
    assert content(target) == content(source)
    migration.check_complete(target)
    assert move(source, target) == migration.Outcome(NUMBER, 0, 0, [])


def test_a_target_with_other_records_is_left_alone(source: FileStore, target: SqlStore) -> None:
    """A target with other records, written before or after a migration, is refused and unchanged."""
    target.put("users", {"name": "somebody"})
    before = content(target)
    with pytest.raises(Forbidden, match="empty it first"):
        move(source, target)
    assert content(target) == before
    target.delete("users", "somebody")
    move(source, target)
    target.put("users", {"name": "made there"})
    before = content(target)
    with pytest.raises(Forbidden, match="empty it first"):
        move(source, target)
    assert content(target) == before


def test_a_complete_migration_is_not_repeated(source: FileStore, target: SqlStore) -> None:
    """A complete migration is not repeated over its copy after the source has changed."""
    store_key_identifier(source, KEYRING)
    move(source, target)
    source.put("users", {"name": "later"})
    before = content(target)
    with pytest.raises(Forbidden, match=r"is complete.*empty the target first"):
        move(source, target)
    assert content(target) == before
    with pytest.raises(Forbidden, match="not from this migration"):
        migration.migrate(source, target, COLLECTIONS, Keyring([b"x" * 32]), Interrupted())


def test_another_installation_does_not_continue(source: FileStore, target: SqlStore) -> None:
    """An incomplete copy of another installation is refused."""
    with pytest.raises(KeyboardInterrupt):
        move(source, target, Interrupted(50))
    with pytest.raises(Forbidden, match="another installation"):
        migration.migrate(source, target, COLLECTIONS, Keyring([b"x" * 32]), Interrupted())


def test_records_that_change_meanwhile_are_named(source: FileStore, target: SqlStore) -> None:
    """Records that change during the copy are named, and the target is incomplete until the next run."""

    def change(step: int) -> None:
        if step == 60:
            source.put("users", {"name": "név 1", "changed": True})
            source.delete("users", "név 2")
            source.put("users", {"name": "new"})

    outcome = move(source, target, Interrupted(also=change))
    assert [name for _, name in outcome.changed] == ["new", "név 1", "név 2"]
    with pytest.raises(StoreNotReady):
        migration.check_complete(target)
    assert move(source, target).changed == []
    assert content(target) == content(source)


def test_a_damaged_record_stops_it(source: FileStore, target: SqlStore) -> None:
    """Nothing is copied while a record cannot be read, and the error names it."""
    (source.folder / "users" / "bad.json").write_text("{")
    assert ["bad.json" in one for one in migration.damaged(source, COLLECTIONS)] == [True]
    with pytest.raises(RecordDamaged):
        move(source, target)
    assert content(target) == {}


@pytest.mark.slow
def test_from_a_terminal(tmp_path: Path) -> None:
    """The command migrates there and back; sessions and secrets remain valid; a damaged record exits with 3."""
    url = f"sqlite:///{tmp_path}/records.db"
    server = Server(tmp_path, DATAFOR_TOKEN_STORE="file").start()
    server.post("update", application())
    login = server.request(
        "POST", "/plugin/datafor/api/extension/auth/login", f"username=admin&password={ADMIN_PASSWORD}", {}
    )
    cookie = {"Cookie": f"JSESSIONID={login.json['jsessionid']}"}
    server.stop()
    bad = tmp_path / "data" / "users" / "bad.json"
    bad.write_text("{")
    done = shell(tmp_path, "store", "migrate", "--to", url)
    assert (done.returncode, "bad.json" in done.stderr) == (3, True)
    bad.unlink()
    before = files_of(tmp_path / "data")
    done = shell(tmp_path, "store", "migrate", "--to", url)
    assert (done.returncode, "both stores are equal" in done.stderr) == (0, True), done.stderr
    after = files_of(tmp_path / "data")
    assert {path: found for path, found in after.items() if path.suffix == ".json"} == {
        path: found for path, found in before.items() if path.suffix == ".json"
    }
    shown = ("audit", "show", "--event", "sign_in,application_added,user_made", "--json")
    events = json.loads(shell(tmp_path, *shown).stdout)
    assert json.loads(shell(tmp_path, *shown, store=url).stdout) == events
    assert {event["event"] for event in events} == {"sign_in", "application_added", "user_made"}
    server = Server(tmp_path, DATAFOR_TOKEN_STORE=url).start()
    assert "data/audit.log" in server.output
    assert server.request("GET", "/plugin/datafor-modeler/api/user/detail", headers=cookie).status == 200
    assert server.post("generate", {"name": "ERP", "privateKey": "abcd"}).status == 200
    server.post("update", application(name="CRM"))
    server.stop()
    assert "empty the target first" in shell(tmp_path, "store", "migrate", "--to", "file", store=url).stderr
    (tmp_path / "data").rename(tmp_path / "old")
    done = shell(tmp_path, "store", "migrate", "--to", "file", store=url)
    assert done.returncode == 0, done.stderr
    assert json.loads(shell(tmp_path, "application", "list", "--json").stdout)[0]["name"] == "CRM"
    back = json.loads(shell(tmp_path, *shown).stdout)
    assert back[0]["target"] == {"application": "CRM"}
    assert back[-len(events) :] == events


@pytest.mark.parametrize("to", ["marked", "mysql://u:marked@h/d", "postgresql://u:marked@h:p/d"])
def test_an_invalid_target(tmp_path: Path, to: str) -> None:
    """An invalid URL of a target is refused, and no part of it is printed."""
    first_start(environment(tmp_path))
    done = shell(tmp_path, "store", "migrate", "--to", to)
    assert done.returncode != 0
    assert "marked" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_init(tmp_path: Path) -> None:
    """Without tables nothing starts, and the error names `store init`, which can be run again."""
    url = f"sqlite:///{tmp_path}/records.db"
    done = shell(tmp_path, "user", "list", store=url)
    assert (done.returncode, "datafor-token store init" in done.stderr) == (3, True)
    for said in ("The tables were created\n", "The tables exist already\n"):
        done = shell(tmp_path, "store", "init", store=url)
        assert (done.returncode, done.stderr) == (0, said)
    first_start(environment(tmp_path, DATAFOR_TOKEN_STORE=url))
    assert shell(tmp_path, "user", "list", store=url).returncode == 0
    assert shell(tmp_path, "store", "init").stderr == "STORE is file: no tables are needed\n"
    for command in ("backup", "restore"):
        done = shell(tmp_path, "store", command, str(ROOT / "README.md"), store=url)
        assert (done.returncode, "pg_" in done.stderr) == (1, True)
    assert shell(tmp_path, "store", "check", store=url).stdout == "All records are valid\n"
    assert shell(tmp_path, "store", "rekey", store=url).returncode == 0
    shown = shell(tmp_path, "settings", "show", "--json", store=url)
    assert "records.db" not in shown.stdout
    done = shell(tmp_path, "user", "list", store="postgresql://keeper:marked@127.0.0.1:1/nowhere")
    assert (done.returncode, "connection refused" in done.stderr, "marked" in done.stderr) == (
        3,
        True,
        False,
    )


def test_check_names_damaged_rows(target: SqlStore, tmp_path: Path) -> None:
    """`store check` reads each row of a database, and exits with 1 if one is not a valid record."""
    url = f"sqlite:///{tmp_path}/target.db"
    first_start(environment(tmp_path, DATAFOR_TOKEN_STORE=url))
    target.put("applications", {"name": "half"})
    done = shell(tmp_path, "store", "check", store=url)
    assert (done.returncode, "applications/half" in done.stdout) == (1, True)
    done = shell(tmp_path, "store", "check", "--repair", store=url)
    assert (done.returncode, "psql" in done.stderr) == (1, True)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After kill -9 at any time the next run completes the migration, and both stores are equal."""
    source = FileStore(tmp_path / "data", COLLECTIONS, 5)
    first_start(environment(tmp_path))
    for number in range(300):
        source.put("revocations", {"format": 1, "name": f"{number:064x}", "expires": time.time() + 10**6})
    url = f"sqlite:///{tmp_path}/records.db"
    arguments = ("-m", "datafor_token", "store", "migrate", "--to")
    begun = time.monotonic()
    assert Process((*arguments, f"{url}-whole"), environment(tmp_path)).wait() == 0
    whole = time.monotonic() - begun
    for part in (0.3, 0.4, 0.5, 0.6, 0.7, 0.9):
        process = Process((*arguments, url), environment(tmp_path))
        time.sleep(part * whole)
        process.kill()
        assert process.wait() in (0, -9)
    assert shell(tmp_path, "store", "migrate", "--to", url).returncode == 0
    target = SqlStore(Database(url, 5, 5), COLLECTIONS)
    assert content(target) == content(source)
