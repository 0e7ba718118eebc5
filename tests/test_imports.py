"""Imports run one way only: down the ladder of the design; and every library has its one home."""

import ast
from pathlib import Path

import pytest

from tests.support import ROOT

# From the top down. A module imports from lower rungs only.
LADDER = [
    {"wsgi", "app"},
    {"datafor_token"},
    {"routes", "cli", "console"},
    {f"console.{page}_pages" for page in ("application", "sign_in", "token", "user")}
    | {f"console.{page}_page" for page in ("audit", "own", "status")},
    {"console.application_list"},
    {"console.application_form", "console.chart"},
    {"console.guard"},
    {"console.pages"},
    {"console.assets", "console.csrf", "console.history", "console.wording"},
    {"console.advice", "console.blueprint", "console.sentences"},
    {"console.language"},
    {f"cli.{group}" for group in ("applications", "audit", "settings", "store", "tokens", "users")},
    {"cli.database"},
    {"cli.output"},
    {"routes.description"},
    {f"routes.{family}" for family in ("applications", "audit", "gate", "operations", "sessions", "tokens", "users")},
    {"routes.gate_cookies", "routes.gate_pages", "routes.inputs", "routes.paths"},
    {"auth", "origin", "proxies", "responses"},
    {"services"},
    {"readiness"},
    {"gate"},
    {"accounts", "backup", "declared"},
    {"migration"},
    {"issuing", "sessions", "signin"},
    {"openapi.document"},
    {"openapi.calls"},
    {"openapi.audit_answers", "openapi.operation", "openapi.stated"},
    {"near_misses", "store.snapshots", "verdicts", "verified"},
    {"store.opening"},
    {
        "openapi.answers",
        "openapi.examples",
        "openapi.refusals",
        "schemas",
        "issuer",
        "registry",
        "users",
        "revocations",
        "store.files",
    },
    {"store.sql"},
    {"store.sql_transactions"},
    {"store.sql_rows"},
    {"store.sql_schema"},
    {"metrics"},
    {"audit", "passwords", "sealing", "throttle", "store.metered"},
    {"counts", "fields", "forwarded", "verifier"},
    {"audit_files", "identity", "listing", "merging", "metric_files", "secrecy", "store.restoring"},
    {"applications", "audit_log", "forms", "identifiers"},
    {"store.sql_engine", "store.sql_errors"},
    {"rules", "store.locking", "store.probing", "store.sql_url", "store.sweeping", "strength", "suspicions"},
    {"key_vetting"},
    {"keys", "logs", "metric_table", "store.disk", "store.file_names", "store.generations", "store.kept", "repeats"},
    {
        "events",
        "key_material",
        "key_text",
        "names",
        "settings",
        "shared_counts",
        "store.base",
        "strict_json",
        "unknown_fields",
    },
    {"setting_rules", "utf8", "worker"},
    {"addresses", "blocking", "cookies", "cores", "errors", "messages"},
    {"printable"},
]
PACKAGES = {"openapi", "store"}
WEB = {name for rung in LADDER for name in rung if name.split(".")[0] in ("routes", "cli", "console")}
HOMES = {
    "babel": {"console.language"},
    "itsdangerous": {"console.csrf"},
    "jwt": {"keys"},
    "cryptography": {"keys", "key_material", "key_text", "key_vetting", "secrecy"},
    "click": {name for name in WEB if name.startswith("cli")},
    "tabulate": {"cli.output"},
    "tomli_w": {"cli.applications"},
    "zxcvbn": {"strength"},
    "marshmallow": {"fields", "schemas", "openapi.answers", "openapi.audit_answers", "openapi.refusals"},
    "apispec": {"openapi.document"},
    "qs_codec": {"forms"},
    "sqlalchemy": {
        f"store.sql{part}" for part in ("", "_engine", "_errors", "_rows", "_schema", "_transactions", "_url")
    },
    "psycopg": {"store.sql_engine", "store.sql_errors", "store.sql_url"},
    "redis": {"shared_counts"},
    "fcntl": {"store.locking"},
    "prometheus_client": {"metrics"},
    "argon2": {"passwords", "datafor_token"},
    "gunicorn": {"logs", "messages", "responses", "worker"},
    "flask": {"datafor_token", "auth", "origin", "proxies", "responses", "services", *WEB},
}
MODULES = [
    path for path in [ROOT / "app.py", ROOT / "wsgi.py", *(ROOT / "datafor_token").rglob("*.py")] if path.read_text()
]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    inside = [part for part in parts if part not in ("datafor_token", "__init__")]
    return ".".join(inside) or "datafor_token"


def rung(name: str) -> int:
    return next(number for number, modules in enumerate(LADDER) if name in modules)


def imports_of(path: Path) -> set[str]:
    """The full dotted names that the module imports; ``from a import b`` counts as ``a`` and as ``a.b``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` takes nothing of the package's own.
            found |= names | (set() if all(is_module(name) for name in names) else {str(node.module)})
    return found


def is_module(name: str) -> bool:
    return (ROOT / name.replace(".", "/")).with_suffix(".py").exists()


def ours(imported: set[str], known: set[str]) -> set[str]:
    inside = {name.removeprefix("datafor_token.") for name in imported if name.startswith("datafor_token.")}
    return inside & known


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_lower_rungs_only(path: Path) -> None:
    """No module imports from its own rung or from one above it."""
    known = set().union(*LADDER)
    here = rung(name_of(path)) if name_of(path) not in PACKAGES else len(LADDER)
    above = {name for name in ours(imports_of(path), known - {name_of(path)}) if rung(name) <= here}
    assert not above


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_library_is_imported_in_its_home_only(path: Path) -> None:
    """One third-party library, one home."""
    libraries = {name.split(".")[0] for name in imports_of(path)} & HOMES.keys()
    assert {library for library in libraries if name_of(path) not in HOMES[library]} == set()


def test_every_module_has_a_rung() -> None:
    """A new module is put on the ladder, not beside it."""
    assert {name_of(path) for path in MODULES} == set().union(*LADDER) | PACKAGES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_longer_than_420_lines(path: Path) -> None:
    """A module has one subject, which fits into 420 lines."""
    assert len(path.read_text().splitlines()) <= 420
