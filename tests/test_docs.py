"""The README matches the code: its examples run, and its tables have the rows of the code."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from flask import Flask

from datafor_token import errors
from datafor_token.audit.events import Kind
from datafor_token.crypto.keys import ALGORITHMS
from datafor_token.metrics.table import METHODS, OUTCOMES, PREFIX, TABLE, WAYS
from datafor_token.requests.schemas import ExplainSchema, GenerateSchema, LinkSchema, RotateSchema, UpdateSchema
from datafor_token.server import selection
from datafor_token.settings import ENVIRONMENT_ONLY, ENVIRONMENT_PREFIX, table
from datafor_token.store.metered import KINDS
from datafor_token.tokens import issuer
from tests.cli.test_commands import commands
from tests.support import ROOT, Server, gunicorn_settings, need, token_parts
from tests.tokens.test_issuer import ERP, NOW

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGE = list((ROOT / "datafor_token").rglob("*.py"))


def rows(heading: str) -> dict[str, list[str]]:
    """Return the rows of the tables under a heading by the name in backticks in their first cell."""
    section = re.split(r"^##+ ", README.split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_settings_table() -> None:
    """README's settings are exactly the table of the code: name, default, unit and help."""
    shown = {name: cells for name, cells in rows("Settings").items() if not name.startswith(ENVIRONMENT_PREFIX)}
    expected = {
        field.name.upper(): [f"`{json.dumps(field.default)}`", field.metadata["unit"], field.metadata["help"]]
        for field in table()
    }
    assert shown == expected


def test_the_environment_table() -> None:
    """README names and explains every environment variable that is not a setting."""
    shown = {name: cells[0] for name, cells in rows("Settings").items() if name.startswith(ENVIRONMENT_PREFIX)}
    assert shown == {f"{ENVIRONMENT_PREFIX}{name}": meaning for name, meaning in ENVIRONMENT_ONLY.items()}


def test_the_calls_table(app: Flask) -> None:
    """README's calls are exactly the rules of the URL map."""
    rules = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or {"ANY"}) - {"HEAD"}
        # The pages of the console have a table of their own.
        if not rule.endpoint.startswith("console.")
    }
    assert rows("Calls").keys() == rules


def test_the_consoles_pages(app: Flask) -> None:
    """README lists every page of the console."""
    others = ("console.asset", "console.not_found")
    rules = [one for one in app.url_map.iter_rules() if one.endpoint.startswith("console.")]
    pages = {one.rule for one in rules if one.endpoint not in others and "GET" in (one.methods or set())}
    assert rows("Console").keys() == pages


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
    """README describes exactly the fields of each call."""
    assert rows(heading).keys() == schema.fields.keys()


def test_the_metrics_table() -> None:
    """README's metrics are exactly the table of the code: name, type, labels and meaning."""
    assert rows("Metrics") == {
        f"{PREFIX}{row.name}": [row.kind, ", ".join(f"`{label}`" for label in row.labels), row.meaning]
        for row in TABLE.values()
    }


def test_the_labels_table() -> None:
    """README names every label, and every value of a label with fixed values."""
    shown = rows("Labels")
    named = {label for cell in shown for label in cell.split("`, `")}
    assert named == {label for row in TABLE.values() for label in row.labels}
    for label, words in (("method", METHODS), ("way", WAYS), ("outcome", OUTCOMES), ("kind", set(KINDS.values()))):
        assert set(re.findall(r"`(\w+)`", shown[label][0])) == words


def test_every_error_is_described() -> None:
    """README's table of errors has every status and every fixed message."""
    section = README.split("## Errors")[1].split("\n## ")[0]
    kinds: list[type[errors.DataforTokenError]] = [errors.DataforTokenError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert f"| {kind.status} |" in section
        message = vars(kind).get("message", "")
        if kind not in (errors.UnsupportedMediaType, errors.MalformedRequest):
            assert message.removeprefix("storage is unavailable: ") in section


def test_the_table_of_commands() -> None:
    """README's commands are exactly those of the code."""
    assert rows("Commands").keys() == {name for name, _ in commands()}


def test_the_table_of_events() -> None:
    """README describes exactly the events of the code, and names every reason."""
    section = README.split("\n## Audit\n")[1].split("\n## ")[0]
    assert list(rows("Audit")) == list(Kind)
    for word in re.findall(r'reason="(\w+)"|_refusal\("(\w+)"', "".join(path.read_text() for path in PACKAGE)):
        assert f"`{''.join(word)}`" in section


def test_every_algorithm_is_named() -> None:
    """README's list of algorithms is the code's."""
    assert re.findall(r"`(\w+)`", rows("`token/update`")["algorithm"][1]) == list(ALGORITHMS)


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


def test_the_readme_lines_work(tmp_path: Path) -> None:
    """Every curl example of README, run against a real server, gives the response below it."""
    need("curl")
    server = Server(tmp_path, DATAFOR_TOKEN_ADMIN_PASSWORD="").start()
    examples = re.findall(r"```sh\n(curl .*?)```\n\n```json\n(.*?)\n```", README, flags=re.DOTALL)
    assert len(examples) == README.count("\ncurl ")
    for command, response in examples:
        line = command.replace("127.0.0.1:28080", f"127.0.0.1:{server.port}").replace("curl ", "curl -s ")
        done = subprocess.run(["bash", "-ec", line], cwd=tmp_path, check=True, capture_output=True, text=True)
        got, shown = json.loads(done.stdout), json.loads(response)
        if "url" in shown:
            # A ticket is random.
            (begin, _, ticket), (shown_begin, _, shown_ticket) = (one.pop("url").partition("=") for one in (got, shown))
            assert (begin, len(ticket)) == (shown_begin, len(shown_ticket))
        if "token" in shown:
            (header, claims), (shown_header, shown_claims) = (
                token_parts(got.pop("token")),
                token_parts(shown.pop("token")),
            )
            assert header == shown_header
            assert claims.keys() == shown_claims.keys()
            assert claims["loginname"] == shown_claims["loginname"]
        assert list(got.items()) == list(shown.items())
    server.stop()


def test_the_make_targets() -> None:
    """The make targets that the documentation names are the Makefile's."""
    docs = "".join(path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {
        name for pair in re.findall(r"^make ([\w-]+)|`make ([\w-]+)", docs, flags=re.MULTILINE) for name in pair if name
    } == targets


def test_the_token_shown_is_real() -> None:
    """The token in README is one that the service issues at that second."""
    claims = {"loginname": "admin"}
    assert issuer.issue(ERP, "abcd", claims, NOW).token in README


def test_the_connections_of_a_node() -> None:
    """README states how many connections a node has at most: one for each thread of its workers."""
    workers = gunicorn_settings()["workers"]
    for wanted in ("", "gthread"):
        threads = selection.select(wanted, selection.TESTED_GUNICORN).threads
        assert f"{workers * threads} connections" in README.replace("\n", " ")
        assert f"{workers} workers with {threads} threads" in README.replace("\n", " ")
