"""Pages of the documentation: their blocks of code, and a shell that runs these with the command of this checkout."""

import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.support import ROOT

# The indent, of a block in a list; the language; the code.
_BLOCK = re.compile(r"^([ ]*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def text(page: str) -> str:
    """Return the text of a page; ``page`` is its path in the repository, such as ``docs/backup.md``."""
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of code of a page in their order, without their indent.

    ``page``: its path in the repository, such as ``docs/backup.md``. ``language``: the word after the fence, such as
    ``sh``; ``""`` for blocks without one.
    """
    return [textwrap.dedent(code) for _, found, code in _BLOCK.findall(text(page)) if found == language]


def shell(
    block: str, folder: Path, environ: Mapping[str, str] | None = None, replace: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a block with ``bash -e`` in ``folder``, as a reader would type it, and return its result with both outputs.

    ``environ`` is added to the environment, from which variables of the service are removed; an empty value removes a
    variable. ``replace`` maps literal texts of the block to what the test needs instead: hosts, ports, folders. Each of
    them must occur. On the PATH, ``datafor-token`` is the command of this checkout.
    """
    for old, new in (replace or {}).items():
        assert old in block, f"{old!r} is not in the block:\n{block}"
        block = block.replace(old, new)
    return subprocess.run(
        ["bash", "-ec", block],
        cwd=folder,
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without variables of the service, in which ``datafor-token`` is this checkout's command."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATAFOR_TOKEN_")}
    path = f"{_command().name}:{inherited['PATH']}"
    return {name: value for name, value in {**inherited, "PATH": path, **(changes or {})}.items() if value}


@functools.cache
def _command() -> tempfile.TemporaryDirectory[str]:
    """Return a folder with the command ``datafor-token``, which is removed when the tests end."""
    folder = tempfile.TemporaryDirectory()
    script = Path(folder.name) / "datafor-token"
    # -P: a module in the current folder must not be imported instead of one of the service.
    # Its folders are those of an installed command: config and data in the current folder, not beside the code.
    line = f'PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -P -m datafor_token "$@"'
    folders = [f': "${{DATAFOR_TOKEN_{name.upper()}_DIR:={name}}}"' for name in ("config", "data")]
    exported = "export DATAFOR_TOKEN_CONFIG_DIR DATAFOR_TOKEN_DATA_DIR"
    script.write_text("\n".join(["#!/bin/sh", *folders, exported, line, ""]))
    script.chmod(0o755)
    return folder


def without_code(page: str) -> str:
    """Return the text of a page without its blocks of code."""
    return _BLOCK.sub("", text(page))


def anchors(page: str) -> set[str]:
    """Return the anchors of a page: its headings, in lower case, without punctuation, with hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: str) -> list[str]:
    """Return the targets of the links and pictures of a page that lead into the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    return [target for target in found if not re.match(r"\w+:", target)]


def all_pages() -> list[str]:
    """Return the paths of all pages: those of the repository's root, and those of ``docs/``."""
    return [str(path.relative_to(ROOT)) for path in [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]]
