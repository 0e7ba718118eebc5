"""A host in a folder: blocks of a page run in it as root would run them, without touching the real host.

The paths of the page lead into the folder. Programs that need root or an init system are stubs: ``useradd``,
``usermod``, ``chown``, ``install`` (without its owner), ``runuser`` (runs the command as it is) and ``systemctl`` (logs
its arguments). pip has no network: it finds the dependencies of this interpreter as already installed.
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from tests.docs import pages
from tests.support import Server

_STUBS = {
    "useradd": "exit 0",
    "usermod": "exit 0",
    "chown": "exit 0",
    "runuser": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "install": 'while getopts dm:o:g: option; do :; done; shift $((OPTIND - 1)); mkdir -p -m 0700 "$@"',
    "systemctl": 'echo "$@" >> "$SYSTEMCTL_LOG"',
}


class Host:
    """A folder that stands for the file system of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "root"
        self.home.mkdir(parents=True)
        for folder in ("etc/systemd/system", "etc/logrotate.d", "usr/local/sbin", "var/backups", "opt", "tmp"):
            (root / folder).mkdir(parents=True)
        stubs = root / "stubs"
        stubs.mkdir()
        for name, line in _STUBS.items():
            (stubs / name).write_text(f"#!/bin/sh\n{line}\n")
            (stubs / name).chmod(0o755)
        self.dependencies = dependencies(root / "dependencies")
        programs = [root / "usr/local/sbin", stubs, sysconfig.get_path("scripts"), os.environ["PATH"], "/usr/sbin"]
        self.environ = {
            "PATH": ":".join(map(str, programs)),
            "PYTHONPATH": str(self.dependencies),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "SYSTEMCTL_LOG": str(root / "systemctl"),
        }

    def inside(self, text: str) -> str:
        """Return a text whose absolute paths lead into the folder."""
        return re.sub(
            r"(?<![\w/.}])/(?=(?:etc/(?:systemd|logrotate)|usr/local/sbin|var|opt|tmp|config|data)\b)",
            f"{self.root}/",
            text,
        )

    def run(self, block: str, **environ: str) -> str:
        """Run a block that succeeds, and return its standard output."""
        done = pages.shell(self.inside(block), self.home, {**self.environ, **environ})
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout

    def systemctl(self) -> list[str]:
        """Return what ``systemctl`` was asked for since the last time."""
        log = Path(self.environ["SYSTEMCTL_LOG"])
        asked = log.read_text().splitlines()
        log.unlink()
        return asked

    def start(self) -> Server:
        """Start the server as the installed unit of systemd says, on a free port."""
        unit = dict(
            re.findall(
                r"^(\w+)=(.*)$", (self.root / "etc/systemd/system/datafor-token.service").read_text(), re.MULTILINE
            )
        )
        state = self.root / "var/lib" / unit["StateDirectory"]
        state.mkdir(parents=True, exist_ok=True)
        names = ("CONFIG_DIR", "DATA_DIR", "STORE", "ADMIN_PASSWORD")
        server = Server(state, **dict.fromkeys((f"DATAFOR_TOKEN_{name}" for name in names), ""), **self.environ)
        if not any(server.config_dir.iterdir()):
            # The first start creates it.
            server.config_dir.rmdir()
        server.folder, server.command = state, [*shlex.split(unit["ExecStart"])]
        return server.start()

    def copy(self, file: Path) -> None:
        """Copy a file of the repository to the home folder of root, its paths leading into the folder."""
        (self.home / file.name).write_text(self.inside(file.read_text()))


def dependencies(folder: Path) -> Path:
    """Return a new folder with links to the packages of this interpreter, except this project and pip."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"_?(?:datafor|pip|setuptools|editable)|_editable|.*\.pth$|__pycache__", path.name):
            (folder / path.name).symlink_to(path)
    return folder


@functools.cache
def can_unshare() -> bool:
    """Return whether this process may have a view of its own of the mounted file systems."""
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
