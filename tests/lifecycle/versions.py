"""Former versions of the service, from the history of this repository, and records of one version for another."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import ADMIN_PASSWORD, API, ROOT, Server, application, key_for, public_pem

# The last commit before 0.2.0.
LAST_OF_0_1_0 = "b55fb86"
# The last commit before the first change of behaviour for 0.3.0.
LAST_OF_0_2_0 = "7855ebb"
# The last commit before nodes had one audit log.
LAST_WITH_AN_AUDIT_OF_EACH_NODE = "2fecc4c"
ME = f"{API.removesuffix('/token')}/user/detail"


def need_former_version(commit: str = LAST_OF_0_1_0) -> None:
    """Skip the test if the clone lacks the commit, as a shallow one does."""
    done = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, check=False, stderr=-3)
    if done.returncode != 0:
        pytest.skip(f"the commit {commit}, the last one of a former version, is not in this clone")


@functools.cache
def _former(commit: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", folder.name], input=archive.stdout, check=True)
    return folder


def former(commit: str = LAST_OF_0_1_0) -> Path:
    """Return a folder with the files of a former version, by default 0.1.0."""
    need_former_version(commit)
    return Path(_former(commit).name)


def server(code: Path, folder: Path, **environ: str) -> Server:
    """Return the server of a version, not started, on ``config/`` and ``data/`` of a folder."""
    one = Server(folder, **environ)
    one.folder = code
    return one


def run(code: Path, folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a version on ``config/`` and ``data/`` of a folder."""
    # 0.1.0 has only the commands of Flask.
    program = ["datafor_token"] if (code / "datafor_token/__main__.py").exists() else ["flask"]
    return subprocess.run(
        [sys.executable, "-m", *program, *arguments],
        cwd=code,
        env={
            **os.environ,
            "DATAFOR_TOKEN_CONFIG_DIR": str(folder / "config"),
            "DATAFOR_TOKEN_DATA_DIR": str(folder / "data"),
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Records:
    """One record of each kind, written through a server; ``name`` tells them apart from those of another version."""

    def __init__(self, running: Server, name: str) -> None:
        self.name, self.application = name, f"ERP-{name}"
        created = self._post(
            running, "update", application(name=self.application, secret=f"first secret of {name}, long")
        )
        assert created["success"]
        public = application(name=f"EC-{name}", algorithm="ES256", secret=public_pem(key_for("ES256")))
        assert self._post(running, "update", public)["success"]
        # A token of the secret before the rotation.
        self.tokens = [self._token(running, f"lena-{name}")]
        self._post(running, "rotate", {"name": self.application, "grace": 86400})
        self.tokens.append(self._token(running, f"lena-{name}"))
        for token in self.tokens:
            assert self._status(running, Authorization=f"Bearer {token}") == 200
        self.revoked = self._token(running, f"otto-{name}")
        assert self._status(running, Authorization=f"Bearer {self.revoked}") == 200
        assert self._post(running, "revoke", {"token": self.revoked})["success"]
        self.session = self._session(running)
        self.gate = self._gate(running)
        self.tickets = [self._ticket(running) for _ in range(8)]

    def check(self, running: Server, *, audited: bool = True) -> None:
        """Check on a server of any version that all of them are valid, and that the revoked token is not.

        ``audited``: also that its audit log has their events.
        """
        names = {one["name"] for one in running.request("GET", f"{API}/list").json["data"]}
        assert {self.application, f"EC-{self.name}"} <= names
        assert [self._status(running, Authorization=f"Bearer {token}") for token in self.tokens] == [200, 200]
        assert self._status(running, Authorization=f"Bearer {self.revoked}") == 401
        assert self._status(running, Cookie=self.session) == 200
        assert running.request("GET", "/auth/check", headers={"Cookie": self.gate}).status == 200
        assert running.request("GET", self.tickets.pop(), headers={}).status == 303
        if audited:
            events = running.request("GET", f"{API}/audit?limit=1000").json["data"]
            named = {event["target"].get("name") or event["target"].get("application") for event in events}
            assert self.application in named, named
        again = self._token(running, f"lena-{self.name}")
        assert self._status(running, Authorization=f"Bearer {again}") == 200

    def _post(self, running: Server, call: str, body: dict[str, Any]) -> Any:
        return running.post(call, body).json

    def _token(self, running: Server, user: str) -> str:
        token: str = self._post(running, "generate", {"name": self.application, "username": user})["token"]
        return token

    def _status(self, running: Server, **headers: str) -> int:
        return running.request("GET", ME, headers=headers).status

    def _session(self, running: Server) -> str:
        login = "/plugin/datafor/api/extension/auth/login"
        body = {"username": "admin", "password": ADMIN_PASSWORD}
        return cookie(running.request("POST", login, body, headers={}).headers["Set-Cookie"])

    def _gate(self, running: Server) -> str:
        page = {"X-Original-URI": f"/page?token={self.tokens[-1]}", "Sec-Fetch-Mode": "navigate"}
        return cookie(running.request("GET", "/auth/check", headers=page).headers["Set-Cookie"])

    def _ticket(self, running: Server) -> str:
        body = {"name": self.application, "username": f"lena-{self.name}", "ttl": 86400}
        url: str = self._post(running, "link", body)["url"]
        return url


def cookie(header: str) -> str:
    """Return the name and value of a cookie that a response sets."""
    return header.split(";", maxsplit=1)[0]
