"""Imports between the folders of the package point down only, and each library is imported in one folder."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

PACKAGE = ROOT / "datafor_token"

# The folders and top-level modules, from the top down.
FOLDERS = [
    "__main__",
    "gunicorn_conf",
    "wsgi",
    "factory",
    "console",
    "cli",
    "web",
    "operations",
    "gate",
    "rehearsal",
    "activity",
    "tokens",
    "users",
    "requests",
    "applications",
    "sinks",
    "providers",
    "metrics",
    "audit",
    "limits",
    "crypto",
    "store",
    "settings_sources",
    "settings",
    "server",
    "validation",
    "blocking",
    "errors",
    "fifo_cache",
    "printable",
    "__init__",
]
# The worker serves any WSGI application.
ALLOWED_IN_SERVER = {"datafor_token.validation.logs", "datafor_token.blocking"}
# Folders and modules that import a library. A library that is not listed is imported anywhere.
HOMES = {
    "argon2": {"factory", "operations/services.py", "users/passwords.py"},
    "apispec": {"web/openapi"},
    "babel": {"console/language.py"},
    "click": {"cli"},
    "cryptography": {"crypto"},
    "fcntl": {"store/files"},
    "flask": {"factory", "cli/flask_commands.py", "console", "web"},
    "gunicorn": {"server", "web/responses.py"},
    "itsdangerous": {"console/csrf.py"},
    "jwt": {"crypto"},
    "markdown_it": {"web/guide/markdown.py"},
    "marshmallow": {"requests", "web/openapi"},
    "prometheus_client": {"metrics"},
    "psycopg": {"store/sql"},
    "qs_codec": {"requests/forms.py"},
    "redis": {"limits/redis_scripts.py"},
    "sqlalchemy": {"store/sql"},
    "tabulate": {"cli/output.py"},
    "tomli_w": {"cli"},
    "urllib3": {"providers/client.py"},
    "werkzeug": {"console", "requests", "web"},
    "zxcvbn": {"crypto/strength.py"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def folder_of(module: Path) -> str:
    """Return the folder of a module, or the name of a top-level module."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


@functools.cache
def imports_of(module: Path) -> frozenset[str]:
    """Return the dotted names that a module imports; ``from a import b`` gives ``a.b``."""
    return frozenset(_imports_of(module))


def _imports_of(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folders_imported(module: Path) -> set[str]:
    """Return the other folders of the package from which a module imports."""
    parts = [name.split(".") for name in imports_of(module) if name.startswith("datafor_token.")]
    return {name[1] if name[1] in FOLDERS else "__init__" for name in parts} - {folder_of(module)}


def test_imports_point_down() -> None:
    """A module imports from its own folder and from folders below it."""
    found = {
        (folder_of(module), folder)
        for module in MODULES
        for folder in folders_imported(module) & set(FOLDERS[: FOLDERS.index(folder_of(module))])
    }
    # Imported when ``create_app`` is first used.
    assert found == {("__init__", "factory")}


def test_the_list_of_folders_is_complete() -> None:
    """Every folder and top-level module has a place in the order of imports."""
    assert {folder_of(module) for module in MODULES} == set(FOLDERS)


def test_the_worker_stands_alone() -> None:
    """Only gunicorn's settings name the worker, and the worker imports only how to log and how a request waits."""
    for module in MODULES:
        if folder_of(module) == "server":
            outside = {name for name in imports_of(module) if name.startswith("datafor_token.")}
            assert {name for name in outside if name.split(".")[1] != "server"} <= ALLOWED_IN_SERVER
        elif folder_of(module) != "gunicorn_conf":
            assert "server" not in folders_imported(module)


def test_a_library_has_one_home() -> None:
    """A library is imported in its folder only."""
    for module in MODULES:
        here = str(module.relative_to(PACKAGE))
        for library in {name.split(".")[0] for name in imports_of(module)} & HOMES.keys():
            homes = HOMES[library]
            is_home = any(here == home or here.startswith(f"{home}/") or here == f"{home}.py" for home in homes)
            assert is_home, f"{here} imports {library}"


def test_no_module_is_longer_than_420_lines() -> None:
    """A module has one subject, which fits into 420 lines."""
    assert [str(module) for module in MODULES if len(module.read_text().splitlines()) > 420] == []
