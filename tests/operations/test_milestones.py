"""Milestones of an installation, and the first steps that depend on them."""

import gzip
import json
from pathlib import Path
from unittest import mock

import pytest
from flask import Flask

from datafor_token.operations import first_steps
from datafor_token.operations.checklist import Look
from datafor_token.operations.milestones import BACKUP, FIRST_STEPS_OVER, GATE_SIGN_IN, Milestone
from datafor_token.operations.services import Services
from datafor_token.settings import Settings
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.stores import Record, unavailable
from tests.support import STRONG_SECRET, Clock, application


def test_a_milestone(services: Services, clock: Clock) -> None:
    """A milestone has the time and the detail of the last time that it was reached, and can be withdrawn."""
    assert services.milestones.reach("one", "how\n")
    clock.advance(5)
    assert services.milestones.reach("one", "again")
    assert services.milestones.reach("other")
    assert services.milestones.all()["one"] == Milestone(int(clock() * 1000), "again")
    assert services.milestones.withdraw("one")
    assert list(services.milestones.all()) == ["other"]


def test_a_detail_is_plain_text(services: Services) -> None:
    """A name of a file that is not valid text, or moves the cursor of a terminal, can be stored."""
    assert services.milestones.reach("one", "a\udce4\x1b[2J")
    assert services.milestones.all()["one"].detail == "a\\udce4\\x1b[2J"


def test_a_record_edited_by_hand(services: Services, settings: Settings) -> None:
    """Members of another type are left out, and unknown ones stay."""
    services.milestones.reach("one")
    record = Record(settings.data_dir, "instance", "milestones")
    document = json.loads(record.read_text())
    document["milestones"] |= {"two": 7, "three": {"time": "x"}}
    record.write_text(json.dumps(document))
    assert list(services.milestones.all()) == ["one"]
    record.write_text(json.dumps({**document, "milestones": [], "more": 1}))
    assert services.milestones.reach("four")
    assert json.loads(record.read_text())["more"] == 1


def test_an_outage_stops_nothing(services: Services, settings: Settings) -> None:
    """An action that reaches a milestone succeeds even if the milestone cannot be stored."""
    with unavailable(settings.data_dir, "instance"):
        assert not services.milestones.reach("one")
        services.milestones.reach_once("two")


@pytest.mark.file_store
def test_a_backup_is_a_milestone(services: Services, shell: Shell, tmp_path: Path, clock: Clock) -> None:
    """The time and the command of a backup are stored, not in the backup itself, and a restore keeps them."""
    file = tmp_path / "b.gz"
    shell.done("store", "backup", str(file))
    assert services.milestones.all()[BACKUP] == Milestone(int(clock() * 1000), f"datafor-token store backup {file}")
    assert b"milestones" not in gzip.decompress(file.read_bytes())
    shell.done("store", "restore", str(file), "--yes")
    assert BACKUP in services.milestones.all()
    shell.done("store", "check")


@pytest.mark.file_store
def test_a_backup_whose_time_is_not_stored(services: Services, shell: Shell, tmp_path: Path) -> None:
    """A backup succeeds although its time cannot be stored, and says so."""
    with mock.patch.object(services.milestones, "reach", return_value=False):
        assert "its time could not be stored" in shell.said("store", "backup", str(tmp_path / "b.gz"))


def test_the_first_sign_in_through_the_gate(services: Services, caller: Caller, clock: Clock) -> None:
    """The first session of the gate is a milestone; later ones do not change its time."""
    caller.post("update", application(secret=STRONG_SECRET, inituser="1"))
    given = [token(claims(jti=jti), STRONG_SECRET) for jti in ("1", "2")]
    caller.get("/auth/check", headers={"Authorization": f"Bearer {given[0]}"})
    assert GATE_SIGN_IN not in services.milestones.all()
    caller.client.get(f"/auth/enter?token={given[0]}")
    first = services.milestones.all()[GATE_SIGN_IN]
    clock.advance(5)
    caller.client.get(f"/auth/enter?token={given[1]}")
    assert services.milestones.all()[GATE_SIGN_IN] == first


def open_steps(services: Services) -> list[str]:
    return [step.name for step, is_done in first_steps.first_steps(Look(services)).items() if not is_done]


def test_hidden_steps(services: Services) -> None:
    """Hidden steps are hidden for everybody, until they are shown again."""
    assert open_steps(services)
    first_steps.hide(services.milestones)
    assert open_steps(services) == []
    first_steps.show(services.milestones)
    assert open_steps(services)


def test_steps_that_are_done_do_not_come_back(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all steps are done, they are over, also if one could be done again later."""
    monkeypatch.setattr(first_steps, "STEPS", [first_steps.Step("one", lambda _: True)])
    assert first_steps.first_steps(Look(services)) == {}
    assert FIRST_STEPS_OVER in services.milestones.all()
    monkeypatch.setattr(first_steps, "STEPS", [first_steps.Step("one", lambda _: False)])
    assert open_steps(services) == []


@pytest.fixture
def shell(app: Flask) -> Shell:
    return Shell(app)
