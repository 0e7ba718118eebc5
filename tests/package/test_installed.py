"""The package, installed in an environment of its own and used from an empty folder."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from datafor_token import __version__
from tests.package.wheels import environment
from tests.support import ADMIN_PASSWORD, Server

CONSOLE = "/console/sign-in"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of an environment with the wheel."""
    return environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def running(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start ``datafor-token serve`` in an empty folder, with no setting but the address."""
    folder = tmp_path_factory.mktemp("empty")
    server = Server(folder, DATAFOR_TOKEN_CONFIG_DIR="", DATAFOR_TOKEN_DATA_DIR="", DATAFOR_TOKEN_STORE="")
    server.config_dir.rmdir()
    server.folder, server.command = folder, [commands / "datafor-token", "serve"]
    server.start()
    yield server
    assert server.stop() == 0


def run(commands: Path, folder: Path, *arguments: str) -> str:
    """Run ``datafor-token`` in a folder and return its standard output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DATAFOR_TOKEN_")}
    done = subprocess.run(
        [commands / "datafor-token", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_command(commands: Path, tmp_path: Path) -> None:
    """The command and the module state the version, and the code is that of the environment."""
    assert run(commands, tmp_path, "--version") == f"datafor-token, version {__version__}\n"
    code = "import datafor_token; print(datafor_token.__file__)"
    done = subprocess.run([commands / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout).is_relative_to(commands.parent)


def test_from_an_empty_folder(commands: Path, running: Server) -> None:
    """The first start creates config/ and data/ in the current folder; the first user signs in, and commands see it."""
    assert running.request("GET", "/readyz").status == 200
    assert {one.name for one in running.folder.iterdir()} == {"config", "data"}
    assert running.request("GET", "/plugin/datafor-modeler/api/user/detail").json["data"]["user"]["username"] == "admin"
    assert "admin" in run(commands, running.folder, "user", "list")


def test_the_console(running: Server) -> None:
    """A page of the console, in English and in Chinese, has its text, and every file that it names is served."""
    for language, title in (("en", "Sign in"), ("zh-CN", "登录")):
        page = running.request("GET", CONSOLE, headers={"Accept-Language": language})
        text = page.body.decode()
        assert (page.status, title in text) == (200, True)
        names = re.findall(r'(?:href|src)="([^"]+\.(?:css|js|svg))"', text)
        assert {Path(name).suffix for name in names} == {".css", ".js", ".svg"}
        for name in names:
            assert running.request("GET", urljoin(CONSOLE, name), headers={}).status == 200


def test_the_description(running: Server) -> None:
    """The page of the API description and each of its files is served."""
    page = running.request("GET", "/docs", headers={}).body.decode()
    names = re.findall(r'(?:href|src)="(docs/[^"]+)"', page)
    assert names
    for name in names:
        assert running.request("GET", f"/{name}", headers={}).status == 200


def test_the_version_everywhere(commands: Path, running: Server, tmp_path: Path) -> None:
    """The command, the API description, metrics, home page and the log's first line state the version of the code."""
    login = running.request(
        "POST",
        "/plugin/datafor/api/extension/auth/login",
        {"username": "admin", "password": ADMIN_PASSWORD},
        headers={},
    )
    cookie = login.headers["Set-Cookie"].split(";")[0]
    status = running.request("GET", "/console/", headers={"Cookie": cookie}).body.decode()
    metrics = running.request("GET", "/metrics", headers={}).body.decode()
    description = running.request("GET", "/openapi.json", headers={}).json
    shown = {
        "command": run(commands, tmp_path, "--version").split()[-1],
        "description": description["info"]["version"],
        "metrics": "".join(re.findall(r'datafor_token_build_info\{.*version="([^"]+)"\}', metrics)),
        "home page": "".join(re.findall(r"<dt>Version</dt><dd>([^<]+)</dd>", status)),
        "log": "".join(re.findall(r" version=(\S+)", running.output.splitlines()[0])),
    }
    assert shown == dict.fromkeys(shown, __version__)
