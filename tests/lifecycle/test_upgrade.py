"""Upgrade from version 0.1.0 and back, with live records, as docs/upgrade.md describes it."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.docs import pages
from tests.handmade_tokens import token
from tests.lifecycle.versions import LAST_OF_0_1_0, LAST_OF_0_2_0, ME, Records, former, need_former_version, run, server
from tests.package.host import Host
from tests.package.wheels import pip, wheel
from tests.processes import environment, first_start
from tests.stores import Record
from tests.support import API, ROOT, STRONG_SECRET, Server, application

pytestmark = pytest.mark.slow
PAGE = "docs/upgrade.md"
# The blocks of the page by their beginning.
STEPS = {
    "before": ".venv/bin/flask store check\n",
    "pull": "cp config/settings.toml ../settings.toml-before\n",
    # Installs from the network and serves: the tests start the server themselves.
    "run": "make run\n",
    "aside": "systemctl stop datafor-token\nmv /opt/datafor_token /opt/datafor_token-0.1.0\n",
    "move": "install -d -m 0700 ",
    "install": "python3 -m venv ",
    "package": "datafor-token store backup ",
    "check": "new/bin/datafor-token --config ",
    "back": "cp config/settings.toml ../settings.toml-after\n",
    "back to the checkout": "systemctl stop datafor-token\nmv /opt/datafor_token /opt/datafor_token-0.2.0\n",
}
T = TypeVar("T")


def block(step: str) -> str:
    """Return a block of the page."""
    (found,) = (one for one in pages.blocks(PAGE, "sh") if one.startswith(STEPS[step]))
    return found


def test_the_blocks() -> None:
    """The page has no other blocks than those that the tests run."""
    assert all(one.startswith(tuple(STEPS.values())) for one in pages.blocks(PAGE, "sh"))


def version(code: Path) -> str:
    """Return the version of some code."""
    (found,) = re.findall(r'__version__ = "(.*)"', (code / "datafor_token/__init__.py").read_text())
    return str(found)


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_up_and_down(tmp_path: Path, store: str) -> None:
    """Each version reads every kind of record that the other wrote; sessions, links and revocations continue."""
    old = former()
    url = "" if store == "file" else f"sqlite:///{tmp_path}/records.sqlite"
    environ = {"DATAFOR_TOKEN_STORE": url}
    if url:
        run(old, tmp_path, "store", "init", **environ)
    written: list[Records] = []
    for step, code in enumerate((old, ROOT, old, ROOT)):
        if url and step == 1:
            # It adds the table of the audit log.
            run(code, tmp_path, "store", "init", **environ)
        one = server(code, tmp_path, **environ).start()
        assert one.port, one.output
        assert f'version="{version(code)}"' in one.request("GET", "/metrics", headers={}).body.decode()
        for records in written:
            records.check(one)
        if step < 3:
            written.append(Records(one, str(step)))
        assert one.stop() == 0, one.output
        if store == "file":
            checked = run(code, tmp_path, "store", "check")
            assert checked.returncode == 0, checked.stdout + checked.stderr


def test_backups(tmp_path: Path) -> None:
    """A backup of either version can be restored with the other."""
    old = former()
    (tmp_path / "host").mkdir()
    one = server(old, tmp_path / "host").start()
    records = Records(one, "0")
    one.stop()
    for number, (writer, reader) in enumerate(((old, ROOT), (ROOT, old))):
        file = tmp_path / f"backup{number}.gz"
        made = run(writer, tmp_path / "host", "store", "backup", str(file))
        assert made.returncode == 0, made.stderr
        restored = run(reader, tmp_path / "host", "store", "restore", str(file), "--yes")
        assert restored.returncode == 0, restored.stdout + restored.stderr
    one = server(ROOT, tmp_path / "host").start()
    # Sessions and links end with a restore.
    assert one.request("GET", "/readyz", headers={}).status == 200
    assert records.application in one.request("GET", "/plugin/datafor-modeler/api/token/list").body.decode()
    one.stop()


def test_new_settings(tmp_path: Path) -> None:
    """Version 0.1.0 does not start with a setting that is new, and names it; the page names each of them."""
    old = former()
    names = settings_of(ROOT / "config/settings.example.toml") - settings_of(old / "config/settings.toml")
    (tmp_path / "config").mkdir()
    for name in names:
        (tmp_path / "config/settings.toml").write_text(f'{name} = ""\n')
        refused = run(old, tmp_path, "settings", "check")
        assert refused.returncode != 0
        assert name in refused.stdout + refused.stderr
    assert names <= set(pages.text(PAGE).replace("`", " ").split())


def settings_of(file: Path) -> set[str]:
    """Return the names of the settings in a file that has them as comments."""
    return set(re.findall(r"^#([A-Z_]+) = ", file.read_text(), re.MULTILINE))


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_a_checkout(tmp_path: Path) -> None:
    """In a checkout whose tracked settings were changed, the steps up and down keep settings and records."""
    need_former_version()
    repository, checkout = tmp_path / "repository", tmp_path / "checkout"
    git(ROOT, "clone", "--quiet", "--bare", ".", str(repository))
    git(repository, "branch", "--force", "new", "HEAD")
    git(repository, "branch", "--force", "released", LAST_OF_0_1_0)
    git(tmp_path, "clone", "--quiet", "--branch", "released", str(repository), str(checkout))
    (checkout / ".venv/bin").mkdir(parents=True)
    flask = checkout / ".venv/bin/flask"
    flask.write_text(f'#!/bin/sh\nexec {sys.executable} -m flask "$@"\n')
    flask.chmod(0o755)
    settings = checkout / "config/settings.toml"
    settings.write_text(settings.read_text() + "\nSESSION_HOURS = 3.0\n")
    records = serve(checkout, lambda one: Records(one, "0"))

    shell(block("before"), checkout)
    assert (tmp_path / "datafor_token-before.gz").exists()
    git(repository, "branch", "--force", "released", "new")
    shell(block("pull"), checkout)
    assert version(checkout) != version(former())
    assert "SESSION_HOURS = 3.0" in settings.read_text()
    serve(checkout, records.check)
    # A script of the former version.
    assert "admin" in shell(".venv/bin/flask user list", checkout)

    shell(block("back"), checkout)
    assert version(checkout) == version(former())
    assert "SESSION_HOURS = 3.0" in settings.read_text()
    serve(checkout, records.check)


def shell(commands: str, folder: Path) -> str:
    done = pages.shell(commands, folder)
    assert done.returncode == 0, commands + done.stdout + done.stderr
    return done.stdout


def serve(checkout: Path, use: Callable[[Server], T]) -> T:
    """Serve a checkout as ``make run`` does, and use it."""
    one = server(checkout, checkout)
    one.start()
    try:
        assert one.port, one.output
        return use(one)
    finally:
        one.stop()


def test_from_a_checkout_to_the_package(tmp_path: Path) -> None:
    """The steps move the records of a checkout in /opt below /var/lib, for the package, and back; nothing is lost."""
    host = Host(tmp_path / "host")
    checkout = host.root / "opt/datafor_token"
    shutil.copytree(former(), checkout)
    host.copy(ROOT / "config/datafor-token.service")
    shutil.copy(wheel(), host.home)
    shutil.copy(ROOT / "requirements.txt", host.home)
    (host.root / "etc/systemd/system/datafor-token.service").write_text("the unit of 0.1.0\n")
    records = serve(checkout, lambda one: Records(one, "0"))

    host.run(block("aside"))
    host.run(block("move"))
    host.run(block("install"))
    assert host.systemctl() == ["stop datafor-token", "daemon-reload", "start datafor-token"]
    state = host.root / "var/lib/datafor_token"
    assert {path.name for path in state.iterdir()} == {"config", "data"}
    assert {path.stat().st_mode & 0o077 for path in [state, *state.rglob("*")]} == {0}
    one = host.start()
    assert one.port, one.output
    records.check(one)
    one.stop()

    host.run(block("back to the checkout"))
    assert (host.root / "etc/systemd/system/datafor-token.service").read_text() == "the unit of 0.1.0\n"
    serve(checkout, records.check)


def test_from_package_to_package(tmp_path: Path) -> None:
    """The steps replace a package by another version, up and down, and keep a backup of before."""
    host = Host(tmp_path / "host")
    source = tmp_path / "source"
    for name in ("datafor_token", "docs"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    module = source / "datafor_token/__init__.py"
    module.write_text(module.read_text().replace(f'"{version(ROOT)}"', '"0.99.0"'))
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(host.home), str(source))
    shutil.copy(wheel(), host.home)
    shutil.copy(ROOT / "requirements.txt", host.home)
    (host.root / "var/backups/datafor_token").mkdir()
    state = host.root / "var/lib/datafor_token"
    state.mkdir(parents=True)
    host.run("python3 -m venv /opt/datafor_token")
    host.run("/opt/datafor_token/bin/pip install --no-deps ./datafor_token-0.99.0-py3-none-any.whl")
    host.run("ln -s ../../../opt/datafor_token/bin/datafor-token /usr/local/sbin/")
    environ = {f"DATAFOR_TOKEN_{name}_DIR": str(state / name.lower()) for name in ("CONFIG", "DATA")}
    first_start(environment(tmp_path, **environ))
    shown = host.run(block("package"), **environ)
    assert shown.splitlines()[-1].endswith(version(ROOT))
    assert host.systemctl() == ["restart datafor-token"]
    assert (host.root / "var/backups/datafor_token/before.gz").exists()


def test_the_check_before_the_upgrade(tmp_path: Path) -> None:
    """On the folders of 0.2.0, the command of the page finds whom the new defaults refuse, and changes no file."""
    code = former(LAST_OF_0_2_0)
    exp = int(time.time()) + 3600
    tokens = {
        name: token({"loginname": name, "exp": exp, "aud": "reports"}, STRONG_SECRET) for name in ("admin", "lena")
    }

    def sign_in(one: Server) -> list[int]:
        return [one.request("GET", ME, headers={"Authorization": f"Bearer {text}"}).status for text in tokens.values()]

    def findings(**environ: str) -> tuple[list[tuple[str, str, int]], Any]:
        command = block("check").replace("/var/lib/datafor_token", ".").strip()
        shown = pages.shell(f"{command} --json", tmp_path, environ)
        assert shown.returncode == 0, shown.stderr
        document = json.loads(shown.stdout)
        return [(one["kind"], one["user"], one["count"]) for one in document["findings"]], document

    (tmp_path / "new/bin").mkdir(parents=True)
    program = tmp_path / "new/bin/datafor-token"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m datafor_token "$@"\n')
    program.chmod(0o755)
    one = server(code, tmp_path).start()
    assert one.post("update", application(secret=STRONG_SECRET)).json["success"]
    assert sign_in(one) == [200, 200]
    url = one.post("link", {"name": "ERP", "username": "admin"}).json["url"]
    assert one.request("GET", url, headers={}).status == 303
    one.stop()

    before = files(tmp_path)
    assert findings()[0] == [("administrator", "admin", 2)]
    assert findings(DATAFOR_TOKEN_TOKENS_MAY_ADMINISTER="true")[0] == []
    assert files(tmp_path) == before

    one = server(ROOT, tmp_path).start()
    assert sign_in(one) == [401, 200]
    assert one.request("GET", f"/auth/enter?token={tokens['lena']}&next=/", headers={}).status == 303
    one.stop()
    found, document = findings()
    assert found == [("audience", None, 2), ("administrator", "admin", 2)]
    assert document["findings"][0]["audiences"] == ["reports"]
    assert run(ROOT, tmp_path, "audit", "show", "--event", "sign_in").stdout.count("audience=reports") == 2


def test_a_policy_on_the_way_back(tmp_path: Path) -> None:
    """0.2.0 accepts no token of an application with a rule that it does not know, until the policy is cleared."""
    code = former(LAST_OF_0_2_0)
    bearer = {"Authorization": f"Bearer {token({'loginname': 'lena', 'exp': int(time.time()) + 3600}, STRONG_SECRET)}"}
    for policy, status in (
        ({"audience": "reports", "networks": ["10.0.0.0/8"]}, 401),
        ({"networks": ""}, 401),
        ({"audience": "*"}, 200),
    ):
        one = server(ROOT, tmp_path).start()
        assert one.post("update", application(secret=STRONG_SECRET, **policy)).json["success"]
        one.stop()
        one = server(code, tmp_path).start()
        assert one.request("GET", ME, headers=bearer).status == status
        one.stop()


def test_new_members_on_the_way_back(tmp_path: Path) -> None:
    """0.2.0 keeps the new members of users and applications, and a revoked personal token stays revoked under it."""
    code, user = former(LAST_OF_0_2_0), f"{API.removesuffix('/token')}/user"
    one = server(ROOT, tmp_path).start()
    fields = application(secret=STRONG_SECRET, self_service="1")
    assert one.post("update", {**fields, "expire": 7200}).json["success"]
    assert one.post("update", {**fields, "expire": 3600}).json["success"]
    assert one.request("POST", f"{user}/insertOrUpdate", {"username": "lena", "mobile": "123"}).status == 200
    revoked, other = (one.post("personal", {}).json for _ in range(2))
    assert one.post("personal/revoke", {"jti": revoked["jti"]}).json["success"]
    one.stop()
    one = server(code, tmp_path).start()
    assert run(code, tmp_path, "user", "set", "lena", "--email", "lena@example.com").returncode == 0
    assert one.post("update", {**fields, "expire": 1800}).json["success"]
    for token_of, status in ((revoked, 401), (other, 200)):
        bearer = {"Authorization": f"Bearer {token_of['token']}"}
        assert one.request("GET", ME, headers=bearer).status == status
    one.stop()
    one = server(ROOT, tmp_path).start()
    assert one.request("GET", f"{user}/detail?username=lena").json["data"]["user"]["mobile"] == "123"
    assert json.loads(Record(tmp_path / "data", "applications", "ERP").read_text())["lastExpiry"] > 0
    listed = one.request("GET", f"{API}/personal/list").json["data"]
    assert {one["jti"]: one["status"] for one in listed} == {revoked["jti"]: "revoked", other["jti"]: "active"}
    one.stop()


def files(folder: Path) -> dict[Path, tuple[float, bytes]]:
    """Return the content and time of every file of an installation."""
    found = [path for name in ("config", "data") for path in (folder / name).rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}
