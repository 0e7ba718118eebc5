"""Export of the audit log: a spreadsheet takes no cell for a formula, and each event is one line."""

import csv
import io
import json

import pytest
from flask import Flask

from datafor_token.audit.export import COLUMNS, csv_lines
from datafor_token.settings import Settings
from datafor_token.web.openapi.audit_schemas import EventObject, TargetObject
from tests.audit.test_audit import command
from tests.commands import invoke
from tests.conftest import Caller
from tests.support import STRONG_SECRET, application


def cells_of(actor: str) -> dict[str, str]:
    event = {"time": "t", "event": "sign_in", "actor": actor, "target": {"user": "lena"}, "audience": [actor, "b"]}
    (row,) = csv.DictReader(io.StringIO("".join(csv_lines([event]))))
    return row


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1", "=cmd|' /C calc'!A0"]
)
def test_no_cell_is_a_formula(text: str) -> None:
    """A text that a spreadsheet would take for a formula has an apostrophe before it."""
    assert cells_of(text)["actor"].startswith("'")
    assert cells_of(text)["audience"].startswith("'")


@pytest.mark.parametrize("text", ['a"b', "a,b", "a;b", "<script>alert(1)</script>", "\u738b \u5c0f\u660e", "", "1-1"])
def test_other_texts_are_unchanged(text: str) -> None:
    """Any other text is in its cell as it is."""
    assert cells_of(text)["actor"] == text


def test_control_characters_are_escaped() -> None:
    """Control and bidirectional characters are escaped, so that no text begins a line of its own."""
    text = "".join(csv_lines([{"event": "a\r\nb\u202ec\x00", "target": {}}]))
    assert text.count("\n") == 2
    assert "a\\r\\nb\\u202ec\\x00" in text


def test_every_member_has_a_column() -> None:
    """The columns are the members of an event and of its target."""
    members = {field.data_key or name for name, field in EventObject().fields.items()}
    assert set(COLUMNS) == (members - {"target"}) | TargetObject().fields.keys()


def test_the_command(app: Flask, caller: Caller) -> None:
    """audit show --csv prints the events of a filter as CSV, and lists and objects in it as text and JSON."""
    caller.post("update", application(secret=STRONG_SECRET))
    caller.post("update", application(secret=STRONG_SECRET, expire=60, enable="0"))
    rows = list(csv.DictReader(io.StringIO(command(app, "audit", "show", "--csv", "--application", "ERP"))))
    assert [row["event"] for row in rows] == ["application_changed", "application_added"]
    assert (rows[0]["application"], rows[0]["fields"]) == ("ERP", "expire; enable")
    assert json.loads(rows[0]["after"]) == {"expire": 60, "enable": "0"}
    assert command(app, "audit", "show", "--csv", "--user", "nobody") == ",".join(COLUMNS) + "\n"


def test_the_table(app: Flask, caller: Caller) -> None:
    """audit show has each changed field with its values; a secret is only named. It says if there may be more."""
    caller.post("update", application(secret=STRONG_SECRET))
    caller.post("update", application(secret=STRONG_SECRET[::-1], expire=60, networks=["10.0.0.0/8"]))
    shown = command(app, "audit", "show", "--event", "application_changed")
    assert 'changed=secret; expire from 86400 to 60; networks from nothing to ["10.0.0.0/8"]' in shown
    assert STRONG_SECRET[::-1] not in shown
    result = invoke(app, ["audit", "show", "--limit", "1"])
    assert "there may be older events than these 1: raise --limit" in result.stderr
    assert invoke(app, ["audit", "show", "--limit", "100"]).stderr == ""


def test_a_line_edited_by_hand(app: Flask, settings: Settings) -> None:
    """A line whose members have unexpected types is shown, and exported."""
    members = {"fields": [1, None], "before": "x", "after": {"a": None}, "audience": 7, "steps": "x", "count": "many"}
    event = {"time": "2024-01-01T00:00:00Z", "event": "user_changed", "target": {"user": 5, "token": []}, **members}
    with (settings.data_dir / "audit.log").open("a") as file:
        file.write(json.dumps(event) + "\n")
    assert "user_changed" in command(app, "audit", "show")
    assert "user_changed" in command(app, "audit", "show", "--csv")


def test_csv_or_json(app: Flask) -> None:
    """--csv and --json exclude each other."""
    result = invoke(app, ["audit", "show", "--csv", "--json"])
    assert (result.exit_code, "--csv and --json exclude each other" in result.output) == (2, True)
