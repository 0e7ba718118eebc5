"""Only the server creates a store, and only if there was none: a command or a mistyped folder never creates one."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.errors import StartError, StoreNotReady
from datafor_token.settings import Settings
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.processes import environment, first_start, run, run_command
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, ROOT, Server, basic

COMMANDS = [
    "settings check", "settings show", "user list", "user show admin", "user add lena", "user passwd admin",
    "user enable admin", "user disable admin", "user set admin --no-roles", "user delete admin --yes",
    "application list", "application show ERP", "application add ERP --random-secret", "application set ERP --expire 5",
    "application enable ERP", "application disable ERP", "application rotate ERP", "application delete ERP --yes",
    "application export", "application apply {applications}", "token generate ERP --username lena",
    "token explain a.b.c", "token decode a.b.c", "token revoke a.b.c", "store check", "store check --repair",
    "store backup {folder}/backup.gz", "store restore {nonsense} --yes", "store rekey",
    "store migrate --to sqlite:///{folder}/records.db", "store init", "audit show",
]  # fmt: skip
WITHOUT_A_STORE = {"settings check", "settings show", "store init"}
DETAIL = "/plugin/datafor-modeler/api/user/detail"


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@pytest.fixture
def start(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Flask]:
    """Return a start of the server; with an empty ``password`` the first start generates one."""

    def started(password: str = ADMIN_PASSWORD) -> Flask:
        if password:
            monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", password)
        else:
            monkeypatch.delenv("DATAFOR_TOKEN_ADMIN_PASSWORD", raising=False)
        return create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)

    return started


def wipe(settings: Settings) -> None:
    """Remove the records, as with a data folder that is not mounted or a database that was created again."""
    for collection in ("instance", "users", "applications"):
        for record in records_in(settings.data_dir, collection):
            record.unlink()


def identifier(settings: Settings) -> str:
    return (settings.config_dir / "store_id").read_text().strip()


class TestCommands:
    """No command creates a store."""

    @pytest.mark.file_store
    @pytest.mark.parametrize("kind", ["missing", "empty", "a file", "of something else"])
    def test_a_mistyped_data_folder(self, tmp_path: Path, kind: str) -> None:
        """Every command that needs the store names the folder and exits with 3; nothing is created or changed."""
        first_start(environment(tmp_path))
        (tmp_path / "nonsense").write_text("x")
        (tmp_path / "applications.json").write_text('{"application": []}')
        other = tmp_path / "mistyped"
        if kind == "a file":
            other.touch()
        elif kind != "missing":
            (other / "users").mkdir(parents=True)
            (other / "x.json").write_text("{}")
        before = everything(tmp_path)
        names = {"folder": tmp_path, "nonsense": tmp_path / "nonsense", "applications": tmp_path / "applications.json"}
        # In one process: starting the interpreter for each command takes a minute.
        script = "import json, sys; from tests.operations.test_first_start import run_all; run_all()"
        commands = json.dumps([command.format(**names) for command in COMMANDS])
        done = run("-c", script, environ=environment(tmp_path, DATAFOR_TOKEN_DATA_DIR=str(other)), put=commands)
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        assert everything(tmp_path) == before
        for command, (code, out, err) in zip(COMMANDS, results, strict=True):
            if command in WITHOUT_A_STORE:
                assert code == 0, (command, out, err)
            elif "{nonsense}" in command:
                # The backup is read before anything else.
                assert (code, "is not a whole backup" in err) == (1, True), (command, out, err)
            else:
                assert (code, out, str(other) in err) == (3, "", True), (command, out, err)
                assert len(err.splitlines()) == 1, (command, err)
                assert "Traceback" not in err

    @pytest.mark.file_store
    def test_a_mistyped_configuration_folder(self, tmp_path: Path) -> None:
        """Without the folder of the key a command fails, and creates neither folder nor key."""
        first_start(environment(tmp_path))
        before = everything(tmp_path)
        done = run_command(tmp_path, "user", "list", DATAFOR_TOKEN_CONFIG_DIR=str(tmp_path / "mistyped"))
        assert (done.returncode, "mistyped/secret_key is missing" in done.stderr) == (1, True)
        done = run_command(tmp_path, "settings", "check", DATAFOR_TOKEN_CONFIG_DIR=str(tmp_path / "mistyped"))
        assert (done.returncode, "mistyped does not exist" in done.stderr) == (0, True)
        assert everything(tmp_path) == before

    @pytest.mark.file_store
    def test_the_store_of_another_service(self, tmp_path: Path) -> None:
        """A command that finds another store than that of its configuration folder changes nothing in either."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            first_start(environment(tmp_path / name))
        (tmp_path / "two" / "config" / "secret_key").write_text(
            (tmp_path / "one" / "config" / "secret_key").read_text()
        )
        before = everything(tmp_path)
        done = run_command(
            tmp_path / "one", "user", "passwd", "admin",
            put="new password", DATAFOR_TOKEN_DATA_DIR=str(tmp_path / "two" / "data"),
        )  # fmt: skip
        assert done.returncode == 3
        assert str(tmp_path / "one" / "config" / "store_id") in done.stderr
        assert str(tmp_path / "two" / "data") in done.stderr
        assert everything(tmp_path) == before

    @pytest.mark.file_store
    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    @pytest.mark.parametrize("command", ["user list", "store check", "store backup x.gz"])
    def test_a_user_without_rights(self, tmp_path: Path, command: str) -> None:
        """A user without access to the folders gets one line that names the folder, and exit code 3 or 1."""
        first_start(environment(tmp_path))
        # All modules are imported before: the interpreter may be in a folder that this user cannot read.
        script = (
            "import os, sys, encodings.idna, datafor_token.factory; from datafor_token.cli import main"
            "; [main.load(name) for name in ('user', 'store')]"
            f"; os.setgid(65534); os.setuid(65534); sys.argv[1:] = {command.split()!r}; main.main()"
        )
        done = run("-c", script, environ=environment(tmp_path, HOME="/"), folder=Path("/"))
        assert done.returncode in (1, 3), done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "Permission denied" in done.stderr

    @pytest.mark.file_store
    @pytest.mark.parametrize("where", ["wsgi.py", "wsgi:app", "datafor_token", "datafor_token:create_app"])
    def test_the_former_commands(self, tmp_path: Path, where: str) -> None:
        """``flask user list``, as scripts of version 0.1.0 have it, works from any folder and creates no store."""
        first_start(environment(tmp_path))
        application = str(ROOT / where) if where.startswith("wsgi") else where
        environ = {**environment(tmp_path), "PYTHONPATH": str(ROOT)}
        for data, code in ((tmp_path / "data", 0), (tmp_path / "mistyped", 3)):
            environ["DATAFOR_TOKEN_DATA_DIR"] = str(data)
            words = ("-m", "flask", "--app", application, "user", "list")
            done = run(*words, environ=environ, folder=Path("/"))
            assert (done.returncode, "admin" in done.stdout) == (code, code == 0), done.stderr
            assert not (tmp_path / "mistyped").exists()

    @pytest.mark.file_store
    def test_flask_run_is_the_server(self, tmp_path: Path) -> None:
        """`flask run` is the server and creates a store."""
        script = (
            "import sys, flask.cli; sys.argv = ['flask', 'run', '--port', '0']"
            "; flask.cli.run_simple = lambda *_, **__: print('served'); flask.cli.main()"
        )
        done = run("-c", script, environ=environment(tmp_path, DATAFOR_TOKEN_ADMIN_PASSWORD=""))
        assert "served" in done.stdout, done.stderr
        assert "first start" in done.stderr
        assert (tmp_path / "config" / "store_id").exists()


def run_all() -> None:
    """Run each command from standard input in this process; print exit codes and outputs."""
    results = []
    for command in json.load(sys.stdin):
        done = invoke(None, command.split(), put="new password\n")
        code = done.exit_code if isinstance(done.exit_code, int) else 3
        results.append((code, done.stdout, done.stderr or str(done.exit_code)))
    sys.stdout.write(json.dumps(results))


class TestIdentifier:
    """The file ``config/store_id`` and the record ``instance/store``."""

    def test_the_first_start_writes_it(self, start: Callable[..., Flask], settings: Settings) -> None:
        """The first start writes a random identifier to the file, with mode 0600, and to the store."""
        start()
        file = settings.config_dir / "store_id"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(identifier(settings)) == 32
        assert json.loads(Record(settings.data_dir, "instance", "store").read_text())["identifier"] == identifier(
            settings
        )
        before = file.read_text()
        start()
        assert file.read_text() == before
        assert [one.name for one in settings.config_dir.iterdir() if ".store_id-" in one.name] == []

    def test_a_wiped_store_is_refused(self, start: Callable[..., Flask], settings: Settings) -> None:
        """With the file and no records the server does not start, names both paths, and changes no password or key."""
        start("")
        wipe(settings)
        before = everything(settings.config_dir)
        with pytest.raises(StoreNotReady) as caught:
            start("")
        file = settings.config_dir / "store_id"
        assert str(file) in str(caught.value)
        assert f"to start over on purpose, remove {file}" in str(caught.value)
        assert ("the store" if "://" in settings.store else str(settings.data_dir)) in str(caught.value)
        assert everything(settings.config_dir) == before
        assert records_in(settings.data_dir, "users") == []
        file.unlink()
        password = (settings.config_dir / "initial_admin_password").read_text()
        start("")
        assert (settings.config_dir / "initial_admin_password").read_text() != password
        assert [one.name for one in records_in(settings.data_dir, "users")] == ["admin"]

    @pytest.mark.parametrize("name", ["store", "key"])
    @pytest.mark.parametrize("content", ["", "{", '{"name": "%s", "identifier": 5}', '{"name": "other"}'])
    def test_a_damaged_record_has_a_remedy(
        self, start: Callable[..., Flask], settings: Settings, name: str, content: str
    ) -> None:
        """The error names the damaged record and what to remove; after that the service starts with its users."""
        start()
        record = Record(settings.data_dir, "instance", name)
        record.write_text(content.replace("%s", name))
        if name == "key" and "5" in content:
            # A record of the key without an identifier is restored from the applications.
            start()
            return
        with pytest.raises(StoreNotReady, match=f"instance/{name}") as caught:
            start()
        assert "all other records stay" in str(caught.value)
        record.unlink()
        if name == "store":
            assert str(settings.config_dir / "store_id") in str(caught.value)
            with pytest.raises(StoreNotReady, match="they stay as they are, and the next start gives"):
                start()
            (settings.config_dir / "store_id").unlink()
        app = start("")
        assert app.test_client().get(DETAIL, headers=basic()).status_code == 200
        assert Record(settings.data_dir, "instance", name).exists()

    @pytest.mark.file_store
    @pytest.mark.parametrize("kind", ["missing", "empty", "with an empty key", "of the earlier version"])
    def test_a_refused_start_creates_nothing(self, start: Callable[..., Flask], settings: Settings, kind: str) -> None:
        """A refused start, as on a mount point that is not mounted, creates no folder."""
        start()
        shutil.rmtree(settings.data_dir)
        if kind != "missing":
            settings.data_dir.mkdir()
        if kind == "of the earlier version":
            for name in ("store_id", ".last_store_id"):
                (settings.config_dir / name).unlink()
        if kind == "with an empty key":
            (settings.config_dir / "store_id").unlink()
            (settings.config_dir / "secret_key").write_text("")
        before = everything(settings.config_dir.parent)
        with pytest.raises(StartError):
            start()
        assert everything(settings.config_dir.parent) == before

    def test_another_store_is_refused(self, start: Callable[..., Flask], settings: Settings) -> None:
        """A store with another identifier, or with records and no identifier, is refused."""
        start()
        record = Record(settings.data_dir, "instance", "store")
        record.write_text(json.dumps({"format": 1, "name": "store", "identifier": "0" * 32}))
        with pytest.raises(StoreNotReady, match="whose identifier is 00000"):
            start()
        record.unlink()
        with pytest.raises(StoreNotReady, match="which has no identifier"):
            start()

    def test_a_store_without_an_identifier(self, start: Callable[..., Flask], settings: Settings) -> None:
        """A store of an earlier version gets an identifier and the file at the next start."""
        start()
        self.make_old(settings)
        app = start()
        assert len(identifier(settings)) == 32
        assert app.test_client().get(DETAIL, headers=basic()).status_code == 200

    def make_old(self, settings: Settings) -> None:
        Record(settings.data_dir, "instance", "store").unlink()
        for name in ("store_id", ".last_store_id"):
            (settings.config_dir / name).unlink()

    @pytest.mark.parametrize(
        "left", [["secret_key"], ["initial_admin_password"], ["secret_key", "initial_admin_password"]]
    )
    def test_a_wiped_store_without_an_identifier(
        self, start: Callable[..., Flask], settings: Settings, left: list[str]
    ) -> None:
        """Files of an earlier installation in the configuration folder, without records, are refused too."""
        start("")
        self.make_old(settings)
        wipe(settings)
        for name in {"secret_key", "initial_admin_password"} - set(left):
            (settings.config_dir / name).unlink()
        before = everything(settings.config_dir)
        with pytest.raises(StoreNotReady, match="to start over on purpose, move") as caught:
            start("")
        assert all(str(settings.config_dir / name) in str(caught.value) for name in left)
        assert everything(settings.config_dir) == before
        assert records_in(settings.data_dir, "users") == []

    def test_deleted_users_create_no_administrator(self, start: Callable[..., Flask], settings: Settings) -> None:
        """After a complete first start, a store without users gets no new Administrator."""
        start()
        for record in records_in(settings.data_dir, "users"):
            record.unlink()
        start("")
        assert records_in(settings.data_dir, "users") == []
        assert not (settings.config_dir / "initial_admin_password").exists()

    @pytest.mark.parametrize("missing", ["users", "key"])
    def test_a_first_start_that_was_killed(self, start: Callable[..., Flask], settings: Settings, missing: str) -> None:
        """An interrupted first start is completed by the next one."""
        start("")
        for name in ("store_id", ".last_store_id"):
            (settings.config_dir / name).unlink()
        for record in records_in(settings.data_dir, "users"):
            record.unlink()
        if missing == "key":
            Record(settings.data_dir, "instance", "key").unlink()
            (settings.config_dir / "secret_key").unlink()
        start("")
        assert [one.name for one in records_in(settings.data_dir, "users")] == ["admin"]

    def test_a_second_node(self, start: Callable[..., Flask], settings: Settings, tmp_path: Path) -> None:
        """A node with its own configuration folder takes the identifier of the store."""
        start()
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(settings.config_dir / "secret_key", other)
        changed = Settings(config_dir=other, data_dir=settings.data_dir, store=settings.store)
        create_app(changed, hasher=CHEAP_FOR_TESTS_ONLY)
        assert (other / "store_id").read_text().strip() == identifier(settings)

    @pytest.mark.parametrize("content", ["", "x", "0" * 31, "\xff"])
    def test_an_invalid_file(self, start: Callable[..., Flask], settings: Settings, content: str) -> None:
        """A file without a valid identifier stops the start with an error that names it."""
        start()
        (settings.config_dir / "store_id").write_bytes(content.encode("latin-1"))
        with pytest.raises(StartError, match="store_id"):
            start()

    def test_a_byte_order_mark(self, start: Callable[..., Flask], settings: Settings) -> None:
        """A byte order mark in the file is ignored."""
        start()
        file = settings.config_dir / "store_id"
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        start()

    def test_a_read_only_configuration_folder(
        self, start: Callable[..., Flask], settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The service starts with a read-only configuration folder, with and without the file."""
        start()
        self.make_old(settings)

        def refused(*_: object) -> None:
            raise OSError(30, "Read-only file system")

        with monkeypatch.context() as read_only:
            read_only.setattr("datafor_token.operations.store_identity.write_new", refused)
            app = start()
            assert app.test_client().get(DETAIL, headers=basic()).status_code == 200
            assert not (settings.config_dir / "store_id").exists()
        start()
        assert (settings.config_dir / "store_id").exists()

    @pytest.mark.file_store
    def test_the_server_exits_with_an_error(self, tmp_path: Path) -> None:
        """gunicorn on a wiped data folder exits at once, logs the reason, and leaves the folder unchanged."""
        server = Server(tmp_path).start()
        server.stop()
        shutil.rmtree(tmp_path / "data")
        again = Server(tmp_path).start()
        assert again.stop() != 0
        assert "to start over on purpose, remove" in again.output
        assert "Traceback" not in again.output
        assert not list((tmp_path / "data").rglob("*.json"))
