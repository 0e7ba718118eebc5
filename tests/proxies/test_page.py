"""The page ``docs/protect.md``: its steps run from top to bottom, once with each proxy."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages
from tests.proxies.page import PAGE
from tests.proxies.sites import CONFIG, FILES, REPORTS, SETTINGS, Sites, configured
from tests.stores import url_for
from tests.support import ROOT, free_port, need

NAME = str(PAGE.relative_to(ROOT))
PROGRAMS = {"nginx": "nginx", "caddy": "caddy", "haproxy": "haproxy", "apache": "apachectl"}


@pytest.fixture(scope="module")
def own_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """A service for this page alone, whose applications the steps change."""
    running = Sites(tmp_path_factory.mktemp("page"))
    yield running
    running.stop()


def row(name: str) -> list[str]:
    """Return the cells of a proxy in the table of step 3."""
    (line,) = re.findall(rf"^\| \[{name}\]\(#{name}\) \|.*$", pages.text(NAME), re.MULTILINE | re.IGNORECASE)
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", list(FILES))
def test_the_steps(name: str, own_sites: Sites) -> None:
    """Registering, issuing and trying with curl give the results that the page states, and a one-time link signs in."""
    need("curl")
    proxy = own_sites.proxy(name)
    assert proxy.call("delete", {"name": "ERP"}).status == 200
    (own_sites.folder / ".curlrc").write_text(
        f'connect-to = "{REPORTS}:80:127.0.0.1:{proxy.port}"\n'
        f'connect-to = "127.0.0.1:28080:127.0.0.1:{own_sites.service.port}"\n'
    )
    environ = {
        "CURL_HOME": str(own_sites.folder),
        "DATAFOR_TOKEN_CONFIG_DIR": str(own_sites.service.config_dir),
        "DATAFOR_TOKEN_DATA_DIR": str(own_sites.service.data_dir),
        "DATAFOR_TOKEN_STORE": url_for(own_sites.service.data_dir),
    }
    blocks = pages.blocks(NAME, "sh")
    steps, (*others, link) = blocks[:3], blocks[3:]
    done = pages.shell("".join(steps), own_sites.folder, environ)
    assert done.returncode == 0, done.stderr
    expected = [
        (re.search(rf"\b{name}: (\d+)", comment, re.IGNORECASE) or re.match(r"(\d+)", comment) or [""])[1]
        for comment in re.findall(r"^status .*# (.*)$", steps[-1], re.MULTILINE)
    ]
    secret, address, *statuses = done.stdout.splitlines()
    assert (len(expected), statuses) == (10, expected)
    assert len(secret) >= 43
    assert proxy.get(address.removeprefix(f"http://{REPORTS}")).status == 200

    assert pages.shell("".join(others), own_sites.folder, environ).returncode == 0
    done = pages.shell(link, own_sites.folder, environ)
    shown, received = json.loads(pages.blocks(NAME, "json")[0]), json.loads(done.stdout)
    assert pages.shell("datafor-token user delete portal --yes", own_sites.folder, environ).returncode == 0
    assert received | {"url": ""} == shown | {"url": ""}
    start, ticket = received["url"].split("?ticket=")
    assert (start, len(ticket)) == (shown["url"].split("?")[0].replace("https", "http"), 43)
    assert proxy.get(received["url"].removeprefix(f"http://{REPORTS}")).headers["Location"] == "/reports/1"


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_the_check_of_a_file(name: str, tmp_path: Path) -> None:
    """The command that checks a configuration, the same in table and file, accepts the file and no damaged one."""
    command, file = row(name)[3].strip("`"), tmp_path / FILES[name]
    shipped = (CONFIG / FILES[name]).read_text()
    assert f"#     {command.replace('FILE', f'/path/to/datafor_token/config/{FILES[name]}')}\n" in shipped
    need(PROGRAMS[name])
    if name == "haproxy":
        (tmp_path / "haproxy.lua").write_bytes((CONFIG / "haproxy.lua").read_bytes())
    text = configured(name, tmp_path, free_port(), 1, 2)
    for content, works in ((text, True), (f"{text}\nnonsense {{\n", False)):
        file.write_text(content)
        line = command.replace("FILE", str(file))
        done = subprocess.run(line.split(), capture_output=True, text=True, check=False, env=pages.environment())
        assert (done.returncode == 0) == works, done.stderr


@pytest.mark.parametrize("name", list(FILES))
def test_the_files_look_alike(name: str) -> None:
    """Every file states its version as the page does, has the page's settings, and marks the same lines to change."""
    text = (CONFIG / FILES[name]).read_text()
    assert re.match(rf"# {name} \({row(name)[1]} or later\) in front of datafor_token", text, re.IGNORECASE)
    assert f"`config/{FILES[name]}`" in row(name)[2]
    (settings,) = pages.blocks(NAME, "toml")
    comment = text.split("\n\n", maxsplit=1)[0].splitlines(keepends=True)
    header = "".join(line.removeprefix("#     ") for line in comment if line.startswith("#     "))
    assert tomllib.loads(settings) == tomllib.loads(header[header.index("URL_PREFIX") :])
    assert {f"DATAFOR_TOKEN_{key}" for key in tomllib.loads(settings)} == SETTINGS.keys()
    for mark in (
        "the host name of console and API",
        "the host name of the application",
        "the application to protect",
        "the token_name",
    ):
        assert f"CHANGE: {mark}" in text
    for part in ("console and API", "one application that cannot verify a token"):
        assert re.search(rf"^ *# -+ {part}", text, re.MULTILINE)


def test_the_length() -> None:
    """The text beside the configurations fits into 300 lines."""
    assert len(re.sub(r"^```.*?^```$", "", pages.text(NAME), flags=re.MULTILINE | re.DOTALL).splitlines()) <= 300
