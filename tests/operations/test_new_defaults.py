"""``application check``: what the defaults of this version refuse, from the audit log."""

import dataclasses
import gzip
import json
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.operations.new_defaults import Finding, find
from datafor_token.settings import Settings
from datafor_token.tokens.verifier import VerifiedToken
from tests.cli.shell import Shell
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import claims, token
from tests.support import STRONG_SECRET, Clock, application, basic

DETAIL = "/plugin/datafor-modeler/api/user/detail"
DAY = 86400


def sign_in(caller: Caller, name: str, **more: Any) -> None:
    """Sign a user in with a new token, in the header."""
    text = token(claims(loginname=name, **more), STRONG_SECRET)
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200


@pytest.fixture
def after(settings: Settings, clock: Clock, app: Flask) -> Shell:
    """Return the command with the default settings, on the folders of ``app``."""
    del app
    default = dataclasses.replace(settings, tokens_may_administer=False)
    return Shell(create_app(default, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY))


def findings(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shell.done("application", "check", "--json"))["findings"]
    return found


def found_by(shell: Shell) -> list[tuple[str, str | None, int]]:
    return [(one["kind"], one["user"], one["count"]) for one in findings(shell)]


@pytest.mark.tokens_may_administer
def test_administrators(app: Flask, after: Shell, caller: Caller, clock: Clock) -> None:
    """Administrators who signed in by header, URL or link are found; other users and passwords are not."""
    caller.post("update", application(secret=STRONG_SECRET))
    assert caller.get(DETAIL, basic()).status_code == 200
    sign_in(caller, "lena")
    assert findings(after) == []
    sign_in(caller, "admin")
    clock.advance(1)
    text = token(claims(loginname="ADMIN"), STRONG_SECRET)
    assert caller.get(f"{DETAIL}?token={text}", {}).status_code == 200
    assert caller.get(caller.post("link", {"username": "admin"}).json["url"], {}).status_code == 303
    (one,) = findings(after)
    assert one.pop("advice").endswith("or set TOKENS_MAY_ADMINISTER = true")
    assert one == {
        "kind": "administrator",
        "application": "ERP",
        "user": "admin",
        "audiences": [],
        "last": "2024-08-06T07:31:57.000Z",
        "count": 3,
    }
    assert findings(Shell(app)) == []  # with the setting


@pytest.mark.tokens_may_administer
def test_only_the_last_days_and_what_exists(after: Shell, caller: Caller, clock: Clock) -> None:
    """Sign-ins before the last 30 days, of users of another type by now, and of deleted applications are not found."""
    caller.post("update", application(secret=STRONG_SECRET))
    sign_in(caller, "admin", exp=int(clock.now) + 99 * DAY)
    clock.advance(30 * DAY)
    assert found_by(after) == [("administrator", "admin", 1)]
    clock.advance(1)
    assert found_by(after) == []
    after.done("user", "add", "boss", "--type", "Administrator", put="long enough")
    sign_in(caller, "boss", exp=int(clock.now) + DAY)
    assert found_by(after) == [("administrator", "boss", 1)]
    after.said("user", "set", "boss", "--type", "SYS_Creator")
    assert found_by(after) == []
    sign_in(caller, "admin", exp=int(clock.now) + DAY)
    caller.post("delete", {"name": "ERP"})
    assert found_by(after) == []


@pytest.mark.tokens_may_administer
def test_rotated_files(settings: Settings, after: Shell, caller: Caller) -> None:
    """Rotated and compressed files of the audit log are read too."""
    caller.post("update", application(secret=STRONG_SECRET))
    sign_in(caller, "admin")
    file = settings.data_dir / "audit.log"
    (settings.data_dir / "audit.log.2.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert found_by(after) == [("administrator", "admin", 1)]


def test_new_administrators(after: Shell, caller: Caller) -> None:
    """An application whose first sign-ins would create Administrators is found, also without a sign-in."""
    caller.post("update", application(initroles=["Administrator"]))
    caller.post("update", application(name="CRM", initroles=["Administrator"], inituser="0"))
    assert found_by(after) == [("new_administrator", None, 0)]
    assert "datafor-token application set ERP --initrole SYS_Creator" in findings(after)[0]["advice"]


def test_nothing_found(app: Flask) -> None:
    """Without findings, the command says so, and since when it looked."""
    assert Shell(app).done("application", "check").endswith("Nothing found since 2024-07-07T07:31:56.000Z\n")


def test_a_report(app: Flask, caller: Caller) -> None:
    """With findings, the exit code is 0, and each is one line with what to do."""
    caller.post("update", application(initroles=["Administrator"]))
    first, *_, last = Shell(app).done("application", "check").splitlines()
    assert first.startswith("ERP: tokens create no Administrator; give new users another type with ")
    assert last == "1 finding since 2024-07-07T07:31:56.000Z"


def sign_in_event(**more: Any) -> dict[str, Any]:
    target = {"application": "ERP", "user": "lena"}
    return {"time": "2024-08-06T07:31:56.000Z", "event": "sign_in", "way": "bearer", "target": target, **more}


def test_audiences(app: Flask, caller: Caller, settings: Settings) -> None:
    """The audiences of all tokens of an application without ``audience`` are found; a token without aud is not."""
    caller.post("update", application())
    events = [
        sign_in_event(audience=["a", "b"]),
        sign_in_event(),
        sign_in_event(audience=["b", "c"]),
        sign_in_event(audience=[]),
        sign_in_event(audience=["d"], outcome="not stored"),
        sign_in_event(audience="damaged", target={"application": "gone"}),
        sign_in_event(audience=["e"], way="basic"),
        sign_in_event(audience=["f"], event="sign_in_refused"),
    ]
    applications, _ = services_in(app).registry.all_applications()
    (one,) = find(events, applications, [], settings)
    assert (one.kind, one.audiences, one.count) == ("audience", ["a", "b", "c"], 3)


@pytest.mark.parametrize("value", [5, None, {}, "text", [5]])
def test_a_damaged_line(app: Flask, caller: Caller, settings: Settings, value: Any) -> None:
    """Members of another type than the service writes do not stop the search."""
    caller.post("update", application())
    applications, _ = services_in(app).registry.all_applications()
    events = [sign_in_event(audience=value), sign_in_event(target={"application": value, "user": value})]
    found: list[Finding] = find(events, applications, [], settings)
    assert [one.audiences for one in found] == [[]]


@pytest.mark.parametrize(
    ("aud", "noted"),
    [
        ("reports", ["reports"]),
        (["a", "b"], ["a", "b"]),
        ([], []),
        (5, ["5"]),
        (None, ["null"]),
        ({"a": [1]}, ['{"a":[1]}']),
        ("x" * 200, ["x" * 128]),
        ([str(number) for number in range(99)], [str(number) for number in range(8)]),
    ],
)
def test_the_audience_in_the_log(app: Flask, caller: Caller, aud: Any, noted: list[str]) -> None:
    """The audit log has the aud of a token as text of bounded length, whatever its type is, and nothing without it."""
    caller.post("update", application())
    erp = services_in(app).registry.get("ERP")
    signed = VerifiedToken(erp, "lena", 0, {"aud": aud}, next(erp.accepted_signers(0)), None)
    assert signed.unnamed_audiences == noted
    assert dataclasses.replace(signed, claims={}).unnamed_audiences is None
    for audience in ((), ("*",), ("reports",)):
        named = dataclasses.replace(erp, audience=audience)
        assert dataclasses.replace(signed, application=named).unnamed_audiences is None
