"""A host on which a reader follows a page of the documentation: a folder with ``config/`` and ``data/``."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.docs import pages
from tests.processes import environment, first_start
from tests.support import API, Server, basic

ME = f"{API.removesuffix('/token')}/user/detail"


def block(page: str, containing: str, language: str = "sh") -> str:
    """Return the block of code of a page in ``docs/`` that is this text or contains it; it may occur repeatedly."""
    present = pages.blocks(f"docs/{page}.md", language)
    found = {one for one in present if one.rstrip() == containing} or {one for one in present if containing in one}
    assert len(found) == 1, (containing, found)
    return found.pop()


def blocks_without_test(page: str, module: Path) -> list[str]:
    """Return the blocks of commands of a page that no call of ``page("...")`` in a test module names."""
    named = [one.encode().decode("unicode_escape") for one in re.findall(r'page\("(.+?)"', module.read_text())]
    return [one for one in pages.blocks(f"docs/{page}.md", "sh") if not any(part in one for part in named)]


class Host:
    """A folder in which commands use ``config/`` and ``data/``, as those of an installed package do."""

    def __init__(self, folder: Path, **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config, self.data = folder, folder / "config", folder / "data"
        # Relative, as the defaults of an installed package.
        self.environ = {"DATAFOR_TOKEN_CONFIG_DIR": "config", "DATAFOR_TOKEN_DATA_DIR": "data", **environ}

    def run(self, commands: str, replace: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run commands in the folder, after literal replacements."""
        return pages.shell(commands, self.folder, self.environ, replace)

    def done(self, commands: str, replace: Mapping[str, str] | None = None) -> str:
        """Run commands that succeed, and return what a terminal shows: results, then sentences."""
        result = self.run(commands, replace)
        assert result.returncode == 0, f"{commands}\n{result.stdout}{result.stderr}"
        return result.stdout + result.stderr

    def refused(self, commands: str, replace: Mapping[str, str] | None = None) -> str:
        """Run commands that fail, and return the last line on standard error, except the example of the command."""
        result = self.run(commands, replace)
        assert result.returncode != 0, f"{commands}\n{result.stdout}{result.stderr}"
        return [line for line in result.stderr.splitlines() if not line.startswith("Example: ")][-1]

    def first_start(self) -> None:
        """Let the first start create the store, without serving."""
        first_start(environment(self.folder, **self.absolute()))

    def server(self, **environ: str) -> Server:
        """Start the server on this host."""
        return Server(self.folder, **{**self.absolute(), **environ}).start()

    def absolute(self) -> dict[str, str]:
        """Return the environment for a process that starts in another folder."""
        folders = {"DATAFOR_TOKEN_CONFIG_DIR": str(self.config), "DATAFOR_TOKEN_DATA_DIR": str(self.data)}
        return {**self.environ, **folders}

    def users(self) -> list[str]:
        """Return the names of the users."""
        return [row["username"] for row in json.loads(self.done("datafor-token user list --json"))]

    def files(self) -> dict[str, bytes]:
        """Return the content of all files, by their path in the folder."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {os.path.relpath(path, self.folder): path.read_bytes() for path in found}


def signs_in(server: Server, password: str, name: str = "admin") -> bool:
    """Return whether a user signs in with a password."""
    return server.request("GET", ME, headers=basic(name, password)).status == 200


def user_of(server: Server, token: str) -> Any:
    """Return the name of the user whom a token signs in, or the status of the refusal."""
    response = server.request("GET", ME, headers={"Authorization": f"Bearer {token}"})
    return response.json["data"]["user"]["username"] if response.status == 200 else response.status
