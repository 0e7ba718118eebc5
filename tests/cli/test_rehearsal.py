"""Rehearsals in commands: dry runs, and other settings."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from datafor_token.cli.rehearsal import lines_of
from datafor_token.web.openapi.rehearsal_schemas import RehearsalObject
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import NOW, claims, token
from tests.support import STRONG_SECRET, Clock, application
from tests.web.api.test_rehearsals import BASE, DETAIL, sign_in

SINCE = "2024-08-06T07:31:56Z"


@pytest.fixture
def filled(shell: Shell, caller: Caller) -> Shell:
    caller.post("update", BASE)
    for user in ("lena", "otto", "lena"):
        assert sign_in(caller, user) == 200
    return shell


# Each dry run, with the lines that name its steps and the reason for which the two users would be refused.
DRY_RUNS: list[tuple[Sequence[str], list[str], str]] = [
    (("set", "ERP", "--audience", "crm"), ["change ERP", '    audience: ["*"] -> ["crm"]'], "audience"),
    (("disable", "erp"), ["change ERP", "    enable: 1 -> 0"], "disabled_application"),
    (("rotate", "ERP", "--grace", "0"), ["rotate ERP", "    secret: ************ -> ************"], "signature"),
    (("delete", "erp"), ["delete ERP"], "algorithm"),
]


@pytest.mark.parametrize(("arguments", "steps", "reason"), DRY_RUNS)
def test_a_dry_run(filled: Shell, caller: Caller, arguments: Sequence[str], steps: list[str], reason: str) -> None:
    """A dry run prints the change and whom it would have refused, asks nothing and changes nothing."""
    before = caller.get("content?name=ERP").json
    lines = filled.done("application", *arguments, "--dry-run").splitlines()
    assert lines[: len(steps)] == steps
    rest = lines[len(steps) :]
    assert rest[:3] == [
        "1 would be changed", f"2 of 2 sign-ins since {SINCE} would have been refused",
        f"  {reason} (ERP): sign-ins: 2, users: 2, addresses: 1",
    ]  # fmt: skip
    assert rest[3].startswith("    ")
    assert f" from 127.0.0.1 at {SINCE}, request " in rest[3]
    assert rest[7:9] == ["  users: lena, otto", "  addresses: 127.0.0.1"]
    assert caller.get("content?name=ERP").json == before
    document = json.loads(filled.done("application", *arguments, "--dry-run", "--json"))
    assert (document["dry_run"], document["rehearsal"]["refused"]) == (True, 2)
    assert document["changes"][0]["action"] == steps[0].partition(" ")[0]


def test_apply(filled: Shell, caller: Caller, tmp_path: Path) -> None:
    """The dry run of apply rehearses all changes together, deletions included."""
    caller.post("update", application(name="CRM", secret=STRONG_SECRET * 2))
    text = token(claims(loginname="mia", exp=NOW + 3600), STRONG_SECRET * 2)
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"application": [{**BASE, "audience": "crm"}]}))
    document = json.loads(filled.done("application", "apply", str(file), "--prune", "--dry-run", "--json"))
    assert [one["action"] for one in document["changes"]] == ["change", "delete"]
    rules = {(rule["reason"], rule["application"]): rule["users"] for rule in document["rehearsal"]["rules"]}
    assert rules == {("audience", "ERP"): 2, ("signature", "CRM"): 1}
    output = filled.done("application", "apply", str(file), "--dry-run")
    assert f"2 of 2 sign-ins since {SINCE} would have been refused" in output


def test_nothing_would_be_changed(filled: Shell) -> None:
    """A dry run that changes nothing has nothing to rehearse."""
    assert filled.done("application", "set", "ERP", "--audience", "*", "--dry-run") == "nothing would be changed\n"


def test_after_the_grace_period(filled: Shell) -> None:
    """The dry run of a rotation says whom it refuses at once, and whom after its grace period; it prints no secret."""
    output = filled.done("application", "rotate", "ERP", "--dry-run").splitlines()
    assert output[:4] == [
        "rotate ERP", "    secret: ************ -> ************", "1 would be changed",
        f"0 of 2 sign-ins since {SINCE} would have been refused",
    ]  # fmt: skip
    assert (
        output[4]
        == f"after the grace period, without the new secret, 2 of 2 sign-ins since {SINCE} would have been refused"
    )


def test_advice(filled: Shell, caller: Caller) -> None:
    """A dry run of rules that refuse somebody, or may, says how to watch them first; other dry runs do not."""
    advice = "to watch first whom these rules would refuse, name their fields in report: "
    rules = ("application", "set", "ERP", "--dry-run", "--audience", "crm", "--require")
    assert filled.done(*rules, "azp=portal").splitlines()[-1] == f"{advice}audience, require"
    assert filled.done(*rules, "azp=portal", "--report", "audience").splitlines()[-1] == f"{advice}require"
    assert sign_in(caller, "mia", dept="sales") == 200
    may_refuse = ("application", "set", "ERP", "--dry-run", "--require", "dept=sales", "--report", "audience")
    assert "not known of 1 sign-ins" in filled.done(*may_refuse)
    assert filled.done(*may_refuse).splitlines()[-1] == f"{advice}require"
    for harmless in (("set", "ERP", "--audience", "erp"), ("disable", "ERP"), ("delete", "ERP")):
        assert advice not in filled.done("application", *harmless, "--dry-run")


def test_days(filled: Shell, clock: Clock) -> None:
    """With --days, only the sign-ins of these days are rehearsed; without --dry-run, nothing is done."""
    clock.advance(3 * 86400)
    nothing = "no sign-in is kept that the change concerns: whom it refuses is not known"
    assert nothing in filled.done("application", "disable", "ERP", "--dry-run", "--days", "1")
    assert "2 of 2 sign-ins" in filled.done("application", "disable", "ERP", "--dry-run", "--days", "5")
    assert "days can be at most 14" in filled.refused("application", "disable", "ERP", "--dry-run", "--days", "15")
    for command in (("disable", "ERP"), ("delete", "ERP", "--yes"), ("set", "ERP", "--expire", "5"), ("rotate", "ERP")):
        output = filled.refused("application", *command, "--days", "5", code=2)
        assert "Give --days together with --dry-run" in output
    assert "is disabled" in filled.said("application", "disable", "ERP")


@pytest.mark.tokens_may_administer
def test_settings(filled: Shell, caller: Caller) -> None:
    """Other settings are rehearsed, with their values now and then."""
    assert sign_in(caller, "admin", iat=NOW + 20) == 200
    output = filled.done("settings", "rehearse", "TOKENS_MAY_ADMINISTER=false", "leeway=5.5").splitlines()
    assert output[:3] == [
        "TOKENS_MAY_ADMINISTER: true -> false", "LEEWAY: 30 -> 5.5",
        f"1 of 3 sign-ins since {SINCE} would have been refused",
    ]  # fmt: skip
    assert "  users: admin" in output
    document = json.loads(filled.done("settings", "rehearse", "LEEWAY=5", "--json"))
    assert document["changes"] == {"LEEWAY": {"old": 30.0, "new": 5.0}}
    assert [rule["reason"] for rule in document["rehearsal"]["rules"]] == ["not_yet_valid"]


def test_strong_secrets(filled: Shell, caller: Caller) -> None:
    """A rehearsal of REQUIRE_STRONG_SECRETS names the applications with a weak secret."""
    caller.post("update", application(name="Weak"))
    output = filled.done("settings", "rehearse", "REQUIRE_STRONG_SECRETS=true").splitlines()
    assert output[1] == f"0 of 2 sign-ins since {SINCE} would have been refused"
    assert output[2] == "applications with a weak secret: 1"
    assert output[3].startswith("  Weak: ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("LEEWAY", "LEEWAY must be a number"),
        ("LEEWAY=x", "LEEWAY must be a number"),
        ("LEEWAY=301", "LEEWAY must be from 0 to 300"),
        ("TOKENS_MAY_ADMINISTER=no", "TOKENS_MAY_ADMINISTER must be true or false"),
        ("AUDIT_DAYS=3", "with one of TOKENS_MAY_ADMINISTER, REQUIRE_STRONG_SECRETS, LEEWAY"),
    ],
)
def test_a_wrong_value(shell: Shell, value: str, message: str) -> None:
    """A setting that cannot be rehearsed, and a value that it cannot have, are named."""
    assert message in shell.refused("settings", "rehearse", value, code=2)


def test_lines() -> None:
    """Everything that a rehearsal found is printed, and the names that it left out are counted."""
    found = {
        **RehearsalObject.example, "user_count": 102, "unknown": 3, "unknown_because": ["dept is not kept"],
        "already_refused": 4, "not_kept": 5,
    }  # fmt: skip
    assert list(lines_of(found))[-6:] == [
        "  users: lena and 101 more", "  addresses: 192.0.2.7", "  not known of 3 sign-ins:", "    dept is not kept",
        "  refused by the present rules too: 4", "  not kept, as there were too many on one day: 5",
    ]  # fmt: skip
    assert list(lines_of(None)) == [
        "not rehearsed, as no sign-ins are kept: set REHEARSAL_DAYS, and rehearse some days later"
    ]
