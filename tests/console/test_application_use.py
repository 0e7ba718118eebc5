"""Code and proxy configurations for one application: they run, and what they make is accepted."""

import html
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token.console.proxy_blocks import PROXIES
from datafor_token.crypto.algorithms import is_shared
from tests.console.client import Client, api
from tests.console.test_forms import client
from tests.proxies.sites import CONFIG
from tests.support import Clock, application, key_for, need, private_pem, public_pem

__all__ = ["client"]

SECRET = "Ünicode'\"$secret\\n `of` 40 bytes and more, typed by hand" * 2
# Claims and names that a language could read as code of its own.
HOSTILE: dict[str, Any] = {
    "name": "企业-ERP_1",
    "token_name": "a-token_1",
    "fieldmap": {"username": "/user/na\"me'$x\\", "name": "#{name}", "email": "${e}mail"},
    "inituser": "1",
    "issuer": "https://id.example/'\"\\${x}#{y}`z`%s%d",
    "audience": ["受众'\"\\$x"],
    "token_types": ["at+jwt"],
    "require": {"/org/id": 7, "ok": True, "level": "7\"'\\$"},
    "expire": 600,
    "max_lifetime": 600,
}
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "python": ("python", [sys.executable, "sign.py"]),
    "node": ("node", ["node", "token.js"]),
    "java": ("java", ["java", "-Dfile.encoding=UTF-8", "Token.java"]),
    "php": ("php", ["php", "token.php"]),
    "go": ("go", ["go", "run", "token.go"]),
}


def example(client: Client, name: str, wanted: str) -> str:
    """Return the text of an example on the page of an application."""
    text = client.get(f"applications/{name}/use?with={wanted}").text
    found = re.search(r'<pre id="example-text"[^>]*><code>(.*?)</code></pre>', text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def run(code: str, language: str, folder: Path, environ: dict[str, str]) -> str:
    """Run code of a language; return what it prints."""
    command = COMMANDS[language][1]
    (folder / command[-1]).write_text(code)
    variables = {**os.environ, "LC_ALL": "C.UTF-8", "GOFLAGS": "-mod=mod", **environ}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("language", list(COMMANDS))
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "RS256", "PS384", "ES512", "EdDSA"])
def test_code_signs_an_accepted_token(
    app: Flask, client: Client, clock: Clock, tmp_path: Path, language: str, algorithm: str
) -> None:
    """The code for an application, whatever its names and claims, signs a token that the service accepts."""
    if language != "python":
        need(COMMANDS[language][0], optional=language in ("go", "java"))
    clock.now = time.time()
    client.sign_in()
    shared = is_shared(algorithm)
    secret = SECRET if shared else public_pem(key_for(algorithm))
    api(app, "update", application(**{**HOSTILE, "algorithm": algorithm, "secret": secret}))
    if language == "php" and algorithm.startswith("PS"):
        assert "phpseclib" in client.get(f"applications/{HOSTILE['name']}/use").text
        return
    code = example(client, HOSTILE["name"], language)
    assert SECRET not in code
    if not shared:
        (tmp_path / "private.pem").write_text(private_pem(key_for(algorithm)))
    environ = {"DATAFOR_SECRET": SECRET, "DATAFOR_PRIVATE_KEY": str(tmp_path / "private.pem")}
    token = run(code, language, tmp_path, environ)
    verdict = api(app, "explain", {"token": token, "name": HOSTILE["name"]})
    assert verdict["accepted"], verdict
    header = {"Authorization": f"Bearer {token}"}
    detail = app.test_client(use_cookies=False).get("/plugin/datafor-modeler/api/user/detail", headers=header)
    assert detail.status_code == 200
    assert "lena" in detail.text


PROXY_CHECKS = {
    "nginx": ["nginx", "-t", "-c", "FILE", "-e", "FOLDER/error.log"],
    "caddy": ["caddy", "validate", "--adapter", "caddyfile", "--config", "FILE"],
}


@pytest.mark.parametrize("proxy", list(PROXY_CHECKS))
@pytest.mark.parametrize("name", ["ERP", HOSTILE["name"]])
def test_the_proxy_accepts_its_block(app: Flask, client: Client, tmp_path: Path, proxy: str, name: str) -> None:
    """nginx and Caddy accept the configuration for an application of any name and URL parameter."""
    need(proxy)
    api(app, "update", application(name=name, secret=SECRET, token_name="a-token_1"))
    text = (
        example(client, name, proxy)
        .replace("/var/log/nginx", str(tmp_path))
        .replace("/run/nginx.pid", f"{tmp_path}/pid")
    )
    (tmp_path / "file").write_text(text)
    command = [
        one.replace("FILE", str(tmp_path / "file")).replace("FOLDER", str(tmp_path)) for one in PROXY_CHECKS[proxy]
    ]
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **home})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("proxy", list(PROXIES))
def test_a_block_is_the_shipped_file(app: Flask, client: Client, proxy: str) -> None:
    """But for the names of the application, each configuration is the shipped file; none keeps another parameter."""
    api(app, "update", application(secret=SECRET, token_name="ticket_of"))
    shipped = (CONFIG / PROXIES[proxy].file).read_text()
    text = example(client, "ERP", proxy)
    lines = [(old, new) for old, new in zip(shipped.splitlines(), text.splitlines(), strict=True) if old != new]
    assert len(lines) >= 5
    option = "&application=ERP"
    assert text.replace("ticket_of", "token").replace(option, "").strip() == shipped.replace(option, "").strip()
    code = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in code if re.search(r"(?<![\w-])token(?:=|`)", line)]
    assert any("&application=ERP" in line for line in code)
