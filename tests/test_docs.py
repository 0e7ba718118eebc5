"""The documentation matches the code: its examples run, and its tables have the rows of the code."""

import ast
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from datafor_token import errors
from datafor_token.audit.events import Kind
from datafor_token.crypto.algorithms import ALGORITHMS
from datafor_token.metrics.table import METHODS, OUTCOMES, PREFIX, TABLE, WAYS
from datafor_token.operations.installation import COLLECTIONS
from datafor_token.requests.explain_schema import ExplainSchema
from datafor_token.requests.schemas import GenerateSchema, LinkSchema, RotateSchema, UpdateSchema
from datafor_token.server import selection
from datafor_token.settings import ENVIRONMENT_ONLY, ENVIRONMENT_PREFIX, table
from datafor_token.settings_sources import load_settings
from datafor_token.store.metered import KINDS
from datafor_token.tokens import issuer
from tests.docs import pages
from tests.docs.commands import contexts, words
from tests.support import ROOT, gunicorn_settings
from tests.tokens.test_issuer import ERP, NOW

README = (ROOT / "README.md").read_text()
API = pages.text("docs/http-api.md")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGE = list((ROOT / "datafor_token").rglob("*.py"))


def section(page: str, heading: str) -> str:
    """Return the text under a heading of a page in ``docs/``, up to the next heading of its level or above."""
    marks, rest = re.split(rf"^(#+) {re.escape(heading)}\n", pages.text(f"docs/{page}.md"), flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{1,{len(marks)}}} ", rest, flags=re.MULTILINE)[0]


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the tables under a heading by the name in backticks in their first cell."""
    found = {}
    for line in section(page, heading).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_settings_table() -> None:
    """The page's settings are exactly the table of the code: name, default, unit and help."""
    expected = {
        field.name.upper(): [f"`{json.dumps(field.default)}`", field.metadata["unit"], field.metadata["help"]]
        for field in table()
    }
    assert rows("settings", "All settings") == expected


@pytest.mark.parametrize("heading", ["All settings", "Only in the environment", "Files"])
def test_the_tables_of_settings_name_nothing_twice(heading: str) -> None:
    """Each setting, variable and file has one row."""
    names = re.findall(r"^\| (`.+?) \|", section("settings", heading), re.MULTILINE)
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("page", ["docs/settings.md", "docs/several-hosts.md", "docs/failover.md"])
def test_the_examples_of_settings(tmp_path: Path, page: str) -> None:
    """The service accepts the examples of settings."""
    examples = pages.blocks(page, "toml")
    assert examples
    for example in examples:
        (tmp_path / "settings.toml").write_text(example)
        load_settings(tmp_path, {})


def test_all_records_are_moved_aside() -> None:
    """The page of several hosts moves the folders of all records, and no others."""
    (block,) = [one for one in pages.blocks("docs/several-hosts.md", "sh") if "records-before/" in one]
    # Files, such as the audit log, have an ending.
    assert set(re.findall(r"data/(\w+)(?![\w.])", block)) == set(COLLECTIONS)


def test_the_environment_table() -> None:
    """The page of settings explains every environment variable that is not a setting."""
    shown = {name: cells[0] for name, cells in rows("settings", "Only in the environment").items()}
    assert shown == {f"{ENVIRONMENT_PREFIX}{name}": meaning for name, meaning in ENVIRONMENT_ONLY.items()}


def test_the_calls_table(app: Flask) -> None:
    """The calls of the page are exactly the rules of the URL map."""
    rules = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or {"ANY"}) - {"HEAD"}
        # The pages of the console have a table of their own.
        if not rule.endpoint.startswith("console.")
    }
    # The other tables below the heading have fields.
    assert {name for name in rows("http-api", "Calls") if "/" in name} == rules


def test_the_consoles_pages(app: Flask) -> None:
    """The page lists every page of the console."""
    others = ("console.asset", "console.not_found")
    rules = [one for one in app.url_map.iter_rules() if one.endpoint.startswith("console.")]
    pages = {one.rule for one in rules if one.endpoint not in others and "GET" in (one.methods or set())}
    assert rows("console", "Pages").keys() == pages


def test_the_consoles_labels() -> None:
    """The labels in bold on the page of the console are texts of its templates, labels of its forms, or its tabs."""
    console = ROOT / "datafor_token/console"
    templates = "".join(path.read_text() for path in (console / "templates").rglob("*.html"))
    code = "".join(path.read_text() for path in console.glob("*.py"))
    labels = re.findall(r"\*\*(.+?)\*\*", pages.text("docs/console.md"))
    texts = {one: (f"_('{one}')" in templates, f'gettext("{one}")' in code, f'N_("{one}")' in code) for one in labels}
    assert [one for one, found in texts.items() if not any(found)] == []
    assert labels


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("`token/update`", UpdateSchema()),
        ("`token/generate`", GenerateSchema()),
        ("`token/rotate`", RotateSchema()),
        ("`token/link`", LinkSchema()),
        ("`token/explain`", ExplainSchema()),
    ],
)
def test_the_tables_of_fields(heading: str, schema: UpdateSchema | GenerateSchema) -> None:
    """The page describes exactly the fields of each call."""
    assert rows("http-api", heading).keys() == schema.fields.keys()


def test_the_metrics_table() -> None:
    """The page's metrics are exactly the table of the code: name, type, labels and meaning."""
    assert {name: cells for name, cells in rows("audit", "Metrics").items() if name.startswith(PREFIX)} == {
        f"{PREFIX}{row.name}": [row.kind, ", ".join(f"`{label}`" for label in row.labels), row.meaning]
        for row in TABLE.values()
    }


def test_the_labels_table() -> None:
    """The page names every label, and every value of a label with fixed values."""
    shown = rows("audit", "Labels")
    named = {label for cell in shown for label in cell.split("`, `")}
    assert named == {label for row in TABLE.values() for label in row.labels}
    for label, values in (("method", METHODS), ("way", WAYS), ("outcome", OUTCOMES), ("kind", set(KINDS.values()))):
        assert set(re.findall(r"`(\w+)`", shown[label][0])) == values


def test_every_error_is_described() -> None:
    """The table of errors has every status and every fixed message."""
    table_of_errors = section("http-api", "Errors")
    kinds: list[type[errors.DataforTokenError]] = [errors.DataforTokenError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert f"| {kind.status} |" in table_of_errors
        message = vars(kind).get("message", "")
        if kind not in (errors.UnsupportedMediaType, errors.MalformedRequest):
            assert message.removeprefix("storage is unavailable: ") in table_of_errors


def test_the_table_of_commands() -> None:
    """The page's commands are exactly those of the code."""
    assert rows("commands", "All commands").keys() == {words(context) for context in contexts()}


def test_the_table_of_events() -> None:
    """The page describes exactly the events of the code, and names every reason."""
    assert list(rows("audit", "Events")) == list(Kind)
    for word in re.findall(r'reason="(\w+)"|_refusal\("(\w+)"', "".join(path.read_text() for path in PACKAGE)):
        assert f"`{''.join(word)}`" in section("audit", "Events")


def test_the_events_and_fields_of_the_log() -> None:
    """The page describes every event that the service logs, with its fields, and every field of a request's line."""
    text = section("audit", "Log")
    described = {name for cell in rows("audit", "Log") for name in cell.split("`, `")}
    events: dict[str, set[str]] = {}
    for path in PACKAGE:
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in ("logs.event", "event"):
                continue
            if call.args and isinstance(call.args[0], ast.Constant):
                names = {keyword.arg for keyword in call.keywords if keyword.arg}
                events.setdefault(str(call.args[0].value), set()).update(names)
    assert len(events) > 20
    fields = {"time", "level", "logger", "pid", "event", "reason", "fields", "detail", "exception"}
    fields |= events.pop("request")
    for event, names in events.items():
        assert {name for name in names if f"`{name}`" not in text} == set(), event
    # Events that are named elsewhere than in the call that logs them.
    others = {"Invalid request", "Error handling request", "Exception during worker exit"}
    registry = (ROOT / "datafor_token/applications/registry.py").read_text()
    others |= {
        "failed passwords are counted alone",
        "issued tokens are counted alone",
        "reported rules are recorded alone",
    }
    others |= set(re.findall(r'"((?:weak|suspicious|short|trust) [a-z ]+)", ', registry))
    assert described == fields | events.keys() | others


def test_every_algorithm_is_named() -> None:
    """The list of algorithms is the code's."""
    assert re.findall(r"`(\w+)`", rows("http-api", "`token/update`")["algorithm"][1]) == list(ALGORITHMS)


def test_the_layout_table() -> None:
    """CONTRIBUTING names every folder of the package, and every module beside them."""
    here = (ROOT / "datafor_token").iterdir()
    shown = {
        f"datafor_token/{one.name}{'/' if one.is_dir() else ''}" for one in here if not one.name.startswith("__py")
    }
    assert {row.split("`")[1] for row in CONTRIBUTING.splitlines() if row.startswith("| `")} >= shown


def test_the_files_that_are_named() -> None:
    """Every file of the repository that the documentation names exists; some are created in use."""
    created = {"secret_key", "store_id", ".last_store_id", "initial_admin_password", "settings.toml"}
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        named = re.findall(r"`((?:datafor_token|tests|config|docs)/[\w./-]+)`", page.read_text())
        missing = [name for name in named if Path(name).name not in created and not (ROOT / name).exists()]
        assert missing == [], page.name


def test_the_make_targets() -> None:
    """The make targets that the documentation names are the Makefile's."""
    docs = "".join(path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {
        name for pair in re.findall(r"^make ([\w-]+)|`make ([\w-]+)", docs, flags=re.MULTILINE) for name in pair if name
    } == targets


def test_the_token_shown_is_real() -> None:
    """The token of the page of calls is one that the service issues at that second."""
    claims = {"loginname": "admin"}
    assert issuer.issue(ERP, "abcd", claims, NOW).token in API


def test_the_connections_of_a_node() -> None:
    """The page states how many connections a node has at most: one for each thread of its workers."""
    page = pages.text("docs/several-hosts.md").replace("\n", " ")
    workers = gunicorn_settings()["workers"]
    for wanted in ("", "gthread"):
        threads = selection.select(wanted, selection.TESTED_GUNICORN).threads
        assert f"{workers * threads} connections" in page
        assert f"{workers} workers with {threads} threads" in page


def test_the_length_of_the_readme() -> None:
    """README has at most 200 lines."""
    assert len(README.splitlines()) <= 200
