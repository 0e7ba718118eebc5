"""The wheel of this checkout, and environments in which nothing but the wheel was installed."""

import functools
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from tests.support import ROOT


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@functools.cache
def wheel() -> Path:
    """Build the wheel once in each process, as ``make wheel`` does but without a network, and return its path."""
    folder = Path(_folder().name)
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    """Run pip, without a network."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env={**os.environ, "PIP_NO_INDEX": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def environment(folder: Path, package: Path | None = None) -> Path:
    """Create an environment with the wheel (or another package) in it, and return its folder of commands.

    Its dependencies are those of this interpreter, so that nothing is downloaded.
    """
    venv.create(folder, symlinks=True)
    pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", str(package or wheel()))
    # Afterwards: pip would find the package of this checkout in that folder, and replace it there.
    add_dependencies(folder)
    return folder / "bin"


def add_dependencies(folder: Path) -> None:
    """Let an environment import the packages of this interpreter."""
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
