"""``datafor-token user``."""

import json
import re
import threading
from pathlib import Path

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.stores import Record
from tests.support import ADMIN_PASSWORD, basic

PASSWORD = "/plugin/datafor-modeler/api/user/password"
DETAIL = "/plugin/datafor-modeler/api/user/detail"


def test_add_list_show(shell: Shell, caller: Caller) -> None:
    """A user is created with a password from standard input, and is shown without it."""
    output = shell.done("user", "add", "Lena", "--type", "SYS_Creator", "--role", "A", "--role", "B", put="pass word\n")
    assert output == "Lena\n"
    assert caller.get(DETAIL, basic("lena", "pass word")).json["data"]["user"]["roles"] == ["A", "B"]
    rows = json.loads(shell.done("user", "list", "--json"))
    assert [row["username"] for row in rows] == ["admin", "Lena"]
    assert json.loads(shell.done("user", "show", "LENA", "--json"))["type"] == "SYS_Creator"
    assert "argon2" not in shell.done("user", "show", "lena")
    table = shell.done("user", "list")
    assert "\x1b" not in table
    assert re.search(r"^Lena +.*SYS_Creator +A, B +yes$", table, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "put", "message"),
    [
        (("add", "ADMIN"), "long enough", "name already exists as 'admin'"),
        (("add", "a:b"), "long enough", "username cannot contain ':'"),
        (("add", "lena"), "", "password cannot be empty: use --password-file"),
        (("add", "lena", "--role", "a,b"), "x", "comma"),
        (("add", "lena", "--role", "Administrator"), "x", "roles cannot contain Administrator"),
        (("add", "lena", "--full-name", "L\nX-User: admin"), "x", "full-name has control characters"),
        (("set", "admin", "--email", "a\x1b[2J"), "", "email has control characters"),
        (("show", "nobody"), "", "does not exist: `datafor-token"),
        (("passwd", "nobody"), "x", "does not exist: `datafor-token"),
        (("passwd", "admin"), "", "password cannot be empty: use --password-file"),
        (("disable", "admin"), "", "admin is the last enabled Administrator"),
        (("set", "admin", "--type", "SYS_Reader"), "", "admin is the last enabled Administrator"),
        (("delete", "admin", "--yes"), "", "admin is the last enabled Administrator"),
        (("delete", "nobody", "--yes"), "", "does not exist: `datafor-token"),
        (("delete", "admin"), "", "give --yes"),
        (("enable", "nobody"), "", "does not exist: `datafor-token"),
    ],
)
def test_refused(shell: Shell, settings: Settings, arguments: tuple[str, ...], put: str, message: str) -> None:
    """A refused command prints one line, exits with 1 and changes nothing."""
    path = Record(settings.data_dir, "users", "admin")
    before = path.read_text()
    assert message in shell.refused("user", *arguments, put=put)
    assert path.read_text() == before


def test_change(shell: Shell, caller: Caller) -> None:
    """Changes of type, roles, name, email address, enabled and password take effect at once."""
    shell.done("user", "add", "lena", put="password one")
    shell.done(
        "user", "set", "lena", "--type", "Administrator", "--role", "X", "--full-name", "Lena Li", "--email", "l@x"
    )
    found = json.loads(shell.done("user", "show", "lena", "--json"))
    assert (found["type"], found["roles"], found["name"], found["email"]) == (
        "Administrator",
        ["X"],
        "Lena Li",
        "l@x",
    )
    shell.done("user", "set", "lena", "--no-roles")
    assert json.loads(shell.done("user", "show", "lena", "--json"))["roles"] == []
    shell.done("user", "disable", "admin")
    assert caller.get(DETAIL).status_code == 401
    shell.refused("user", "delete", "lena", "--yes")
    shell.done("user", "enable", "admin")
    shell.done("user", "passwd", "lena", put="password two\n")
    assert caller.get(DETAIL, basic("lena", "password one")).status_code == 401
    assert caller.get(DETAIL, basic("lena", "password two")).status_code == 200
    shell.done("user", "delete", "lena", "--yes")
    assert caller.get(DETAIL, basic("lena", "password two")).status_code == 401


def test_a_password_from_a_file(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """The last line break of a file is not part of the password."""
    (tmp_path / "pw").write_text("päss-word\n")
    shell.done("user", "add", "lena", "--password-file", str(tmp_path / "pw"))
    assert caller.get(DETAIL, basic("lena", "päss-word")).status_code == 200


def test_the_file_with_the_first_password_is_removed(shell: Shell, settings: Settings, caller: Caller) -> None:
    """A change of the password of admin removes the file with the first one."""
    file = settings.config_dir / "initial_admin_password"
    for change in ("command", "call"):
        file.write_text(f"{ADMIN_PASSWORD if change == 'command' else 'the next one'}\n")
        if change == "command":
            shell.done("user", "passwd", "admin", put="the next one")
        else:
            caller.post(PASSWORD, {"old": "the next one", "new": "the last one"}, basic("admin", "the next one"))
        assert not file.exists()


def test_the_first_password_of_another_store_stays(shell: Shell, settings: Settings) -> None:
    """A file with another password than the replaced one, as in a copy of the store, stays."""
    file = settings.config_dir / "initial_admin_password"
    for content in (b"of another store\n", b"", b"\xff"):
        file.write_bytes(content)
        shell.done("user", "passwd", "admin", put="the next one")
        assert file.read_bytes() == content
    shell.done("user", "add", "lena", put="lena's own password")
    file.write_text("lena's own password")
    shell.done("user", "passwd", "lena", put="the next one")
    assert file.exists()


def test_one_of_two_administrators_stays(shell: Shell, app: Flask) -> None:
    """Of two Administrators who disable each other at the same time, one stays enabled."""
    shell.done("user", "add", "boss", "--type", "Administrator", put="long enough")
    results: list[int] = []

    def disable(name: str) -> None:
        with app.app_context():
            try:
                services().accounts.change(name, enabled=False)
                results.append(0)
            except Exception:  # noqa: BLE001 - any refusal
                results.append(1)

    threads = [threading.Thread(target=disable, args=(name,)) for name in ("boss", "admin")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1]
