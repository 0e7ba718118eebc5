"""Personal tokens: issuing, listing, revoking, their last use, their record."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.tokens import personal
from datafor_token.tokens.personal import PersonalTokens
from tests.commands import invoke
from tests.conftest import Caller, services_in
from tests.stores import Record, records_in, unavailable
from tests.support import STRONG_SECRET, Clock, application, basic, token_parts

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LENA, OTTO = basic("lena", "lena's password"), basic("otto", "otto's password")
DAY = 86400


@pytest.fixture(autouse=True)
def _people(app: Flask, caller: Caller) -> None:
    caller.post("update", application(self_service="1", secret=STRONG_SECRET))
    for name in ("lena", "otto"):
        result = invoke(app, ["user", "add", name], put=f"{name}'s password")
        assert result.exit_code == 0, result.output


@pytest.fixture
def tokens(app: Flask) -> PersonalTokens:
    return services_in(app).personal_tokens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def issue(caller: Caller, headers: dict[str, str] = LENA, **fields: Any) -> dict[str, Any]:
    response = caller.post("personal", fields, headers)
    assert response.status_code == 200, response.json
    found: dict[str, Any] = response.json
    return found


def listed(caller: Caller, headers: dict[str, str] = LENA, query: str = "") -> list[dict[str, Any]]:
    response = caller.get(f"personal/list{query}", headers)
    assert response.status_code == 200, response.json
    found: list[dict[str, Any]] = response.json["data"]
    return found


def statuses(caller: Caller) -> list[str]:
    return [one["status"] for one in listed(caller)]


def signs_in(caller: Caller, token: str) -> bool:
    return caller.get(DETAIL, bearer(token)).status_code == 200


def test_the_response_and_the_claims(caller: Caller, clock: Clock) -> None:
    """A personal token has the user name, jti, iat and exp in this order, and the response describes it."""
    found = issue(caller, label="nightly export", expire=3600)
    token = found.pop("token")
    jti = found.pop("jti")
    now = int(clock.now)
    assert len(jti) == 22
    assert found == {
        "success": True, "expire": 3600, "username": "lena", "name": "ERP", "label": "nightly export",
        "issued_at": now * 1000, "expires_at": (now + 3600) * 1000,
    }  # fmt: skip
    assert list(token_parts(token)[1].items()) == [
        ("loginname", "lena"),
        ("jti", jti),
        ("iat", now),
        ("exp", now + 3600),
    ]
    assert signs_in(caller, token)


def test_the_claims_of_the_trust_policy(caller: Caller) -> None:
    """A personal token has the issuer and the audience of the trust policy before its jti."""
    policy = {"issuer": "https://erp.example", "audience": "reports", "max_lifetime": DAY}
    caller.post("update", application(self_service="1", secret=STRONG_SECRET, **policy))
    token = issue(caller)["token"]
    assert list(token_parts(token)[1]) == ["loginname", "iss", "aud", "jti", "iat", "exp"]
    assert signs_in(caller, token)


def test_a_lifetime_above_the_applications_is_refused(caller: Caller) -> None:
    """The lifetime is at most the application's, and nothing is recorded for a refused one."""
    for expire in (0, -1, DAY + 1, "x", 1.5, True):
        response = caller.post("personal", {"expire": expire}, LENA)
        assert response.status_code == 400
        assert response.json["msg"].startswith("expire ")
    assert "86400 seconds" in caller.post("personal", {"expire": DAY + 1}, LENA).json["msg"]
    assert listed(caller) == []
    assert issue(caller, expire=DAY)["expire"] == DAY


@pytest.mark.parametrize("label", ["x" * 65, "a\nb", "a\x00", "\u202ex", "a\u2028b", "a\x7f", 5, ["a"], "\ud800"])
def test_labels_that_are_refused(caller: Caller, label: Any) -> None:
    """A label has at most 64 characters and no control, format or separator characters."""
    response = caller.post("personal", json.dumps({"label": label}), LENA, content_type="application/json")
    assert response.status_code == 400
    assert listed(caller) == []


@pytest.mark.parametrize("label", ["", " ", "ä" * 64, 'CI <b> & "x" %s', "夜間エクスポート", "🗝"])
def test_labels_that_are_kept(caller: Caller, label: str) -> None:
    """Any other text is kept as it was sent."""
    assert issue(caller, label=label)["label"] == label
    assert listed(caller)[0]["label"] == label


def test_the_list(caller: Caller, clock: Clock) -> None:
    """The list has the newest token first, and no token that others can see."""
    first = issue(caller, label="first", expire=60)
    clock.advance(1)
    second = issue(caller)
    assert listed(caller) == [
        {**{name: one[name] for name in ("jti", "label", "name", "issued_at", "expires_at")}, **more}
        for one, more in (
            (second, {"last_used_at": None, "status": "active"}),
            (first, {"last_used_at": None, "status": "active"}),
        )
    ]
    assert listed(caller, OTTO) == []
    assert listed(caller, basic(), "?username=LENA") == listed(caller)
    assert listed(caller, LENA, "?username=Lena") == listed(caller)
    assert caller.get("personal/list?username=lena", OTTO).status_code == 403
    assert caller.get("personal/list?username=nobody").status_code == 404
    assert caller.get("personal/list", {}).status_code == 401
    clock.advance(59)
    assert statuses(caller) == ["active", "expired"]


def test_an_expired_token_is_listed_for_thirty_days(
    caller: Caller, clock: Clock, tokens: PersonalTokens, settings: Settings
) -> None:
    """Thirty days after its expiry a token is no longer listed, and the sweep removes it from the record."""
    issue(caller, expire=60)
    clock.advance(60 + 30 * DAY - 1)
    tokens.sweep()
    assert statuses(caller) == ["expired"]
    issue(caller)
    clock.advance(1)
    assert statuses(caller) == ["active"]
    record = Record(settings.data_dir, "personal_tokens", "lena")
    assert len(json.loads(record.read_text())["tokens"]) == 2
    tokens.sweep()
    assert len(json.loads(record.read_text())["tokens"]) == 1


def test_revoke(app: Flask, caller: Caller) -> None:
    """A revoked token is refused, listed as revoked, and in the audit log; other tokens are not affected."""
    one, other = issue(caller), issue(caller)
    for _ in range(2):
        assert caller.post("personal/revoke", {"jti": one["jti"]}, LENA).json == {"success": True, "msg": "success"}
        assert not signs_in(caller, one["token"])
    assert signs_in(caller, other["token"])
    assert {entry["jti"]: entry["status"] for entry in listed(caller)} == {
        one["jti"]: "revoked", other["jti"]: "active",
    }  # fmt: skip
    events = caller.get("audit").json["data"]
    (revoked,) = [event for event in events if event["event"] == "token_revoked"]
    issued = [event for event in events if event["event"] == "token_personal"][1]
    assert revoked["target"] == issued["target"] == {
        "application": "ERP", "user": "lena", "token": revoked["target"]["token"],
    }  # fmt: skip
    assert revoked["actor"] == "lena"


def test_revoking_those_of_others(caller: Caller) -> None:
    """An Administrator revokes the token of any user; other users only their own, and learn of no other."""
    found = issue(caller)
    for jti in (found["jti"], "x", ""):
        response = caller.post("personal/revoke", {"jti": jti}, OTTO)
        assert (response.status_code, response.json["msg"]) == (404, "token not found")
    assert caller.post("personal/revoke", {"jti": found["jti"], "username": "lena"}, OTTO).status_code == 403
    assert caller.post("personal/revoke", {"jti": found["jti"]}).status_code == 404
    assert caller.post("personal/revoke", {"jti": found["jti"], "username": "nobody"}).status_code == 404
    assert caller.post("personal/revoke", {}, LENA).status_code == 400
    assert signs_in(caller, found["token"])
    assert caller.post("personal/revoke", {"jti": found["jti"], "username": "Lena"}).status_code == 200
    assert statuses(caller) == ["revoked"]


def test_a_token_that_was_revoked_in_another_way_is_listed_as_revoked(caller: Caller, tokens: PersonalTokens) -> None:
    """A token is listed as revoked after token/revoke and after a cut-off too."""
    found = issue(caller)
    caller.post("revoke", {"token": found["token"]}, LENA)
    assert statuses(caller) == ["revoked"]
    issue(caller)
    assert statuses(caller) == ["active", "revoked"]
    tokens._cut_offs.set("lena", None, None)
    assert statuses(caller) == ["revoked", "revoked"]


def test_a_limit_of_active_tokens(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many active tokens as allowed, a further one is 409 until one is revoked or expires."""
    monkeypatch.setattr(personal, "MOST_ACTIVE", 3)
    first, *_ = [issue(caller) for _ in range(3)]
    response = caller.post("personal", {}, LENA)
    assert response.status_code == 409
    assert "revoke one first" in response.json["msg"]
    issue(caller, OTTO)
    caller.post("revoke", {"token": first["token"]}, LENA)
    issue(caller, expire=60)
    assert caller.post("personal", {}, LENA).status_code == 409


def test_fifty_are_allowed(caller: Caller, clock: Clock) -> None:
    """A user has at most 50 active tokens; expired ones do not count."""
    issue(caller, expire=60)
    clock.advance(60)
    for _ in range(50):
        issue(caller)
    assert caller.post("personal", {}, LENA).status_code == 409


def test_two_at_once_at_the_limit(caller: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several requests at once for the last token that is allowed, one gets it."""
    monkeypatch.setattr(personal, "MOST_ACTIVE", 3)
    issue(caller)
    issue(caller)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Caller(app.test_client()).post("personal", {}, LENA).status_code, range(4)))
    assert sorted(found) == [200, 409, 409, 409]
    assert len(listed(caller)) == 3


def test_the_record_is_bounded(
    caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Of too many tokens, the oldest that have expired are forgotten, then the oldest that are revoked."""
    monkeypatch.setattr(personal, "MOST_ACTIVE", 2)
    monkeypatch.setattr(personal, "_MOST", 4)
    revoked = [issue(caller, label=f"revoked {number}") for number in range(2)]
    for one in revoked:
        caller.post("personal/revoke", {"jti": one["jti"]}, LENA)
    for number in range(3):
        issue(caller, label=f"expired {number}", expire=60)
        clock.advance(60)
    assert [one["label"] for one in listed(caller)] == ["expired 2", "expired 1", "revoked 1", "revoked 0"]
    for number in range(2):
        issue(caller, label=f"active {number}")
    assert [one["label"] for one in listed(caller)] == ["active 1", "active 0", "revoked 1", "revoked 0"]
    caller.post("personal/revoke", {"jti": listed(caller)[1]["jti"]}, LENA)
    issue(caller, label="last")
    assert [one["label"] for one in listed(caller)] == ["last", "active 1", "active 0", "revoked 1"]
    assert not signs_in(caller, revoked[0]["token"])


def test_no_token_without_a_record(caller: Caller, settings: Settings) -> None:
    """While the record cannot be written no token is issued, and none is in the audit log."""
    with unavailable(settings.data_dir, "personal_tokens"):
        response = caller.post("personal", {}, LENA)
        assert response.status_code == 503
        assert "token" not in response.json
    assert listed(caller) == []
    assert caller.get("audit?event=token_personal").json["data"] == []


def test_nothing_is_revoked_in_an_outage(caller: Caller, settings: Settings) -> None:
    """A revocation that cannot be stored is 503, and the token stays valid."""
    found = issue(caller)
    with unavailable(settings.data_dir, "personal_tokens"):
        assert caller.post("personal/revoke", {"jti": found["jti"]}, LENA).status_code == 503
        assert caller.get("personal/list", LENA).status_code == 503
    assert signs_in(caller, found["token"])


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": None}, {"tokens": ["x"]}, {"tokens": [{"jti": "x"}]}, {"format": 2}, {"format": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_record(app: Flask, caller: Caller, settings: Settings, change: dict[str, Any]) -> None:
    """A damaged record is 503 for its user, in words, and stays; others are served, and the check names it."""
    found = issue(caller)
    record = Record(settings.data_dir, "personal_tokens", "lena")
    damaged = json.dumps({**json.loads(record.read_text()), **change})
    record.write_text(damaged)
    for response in (
        caller.post("personal", {}, LENA),
        caller.get("personal/list", LENA),
        caller.post("personal/revoke", {"jti": found["jti"]}, LENA),
    ):
        assert response.status_code == 503
        assert "the record of the personal tokens of lena is damaged" in response.json["msg"]
    assert signs_in(caller, found["token"])
    issue(caller, OTTO)
    assert listed(caller, OTTO)[0]["status"] == "active"
    services = services_in(app)
    services.personal_tokens.sweep()
    services.personal_tokens.uses.flush()
    assert record.read_text() == damaged
    check = invoke(app, ["store", "check"])
    assert check.exit_code == 1
    assert "personal tokens of 'lena'" in check.output


def test_unknown_members_are_kept(caller: Caller, settings: Settings) -> None:
    """Members that a later version wrote are written back unchanged."""
    issue(caller)
    record = Record(settings.data_dir, "personal_tokens", "lena")
    stored = json.loads(record.read_text())
    stored["later"] = [1]
    stored["tokens"][0]["scope"] = "read"
    record.write_text(json.dumps(stored))
    issue(caller)
    after = json.loads(record.read_text())
    assert after["later"] == [1]
    assert after["tokens"][0]["scope"] == "read"


def test_the_record_has_no_token(caller: Caller, settings: Settings) -> None:
    """The record has neither the token nor a part of it."""
    found = issue(caller)
    (record,) = records_in(settings.data_dir, "personal_tokens")
    text = record.read_text()
    assert not any(part in text for part in found["token"].split("."))


def test_a_rotated_secret(app: Flask, caller: Caller, clock: Clock) -> None:
    """A token of the former secret is used and revoked in its grace period like any other."""
    first, second = issue(caller), issue(caller)
    caller.post("rotate", {"name": "ERP", "grace": 600})
    assert signs_in(caller, first["token"])
    services_in(app).personal_tokens.uses.flush()
    assert {one["jti"]: one["last_used_at"] for one in listed(caller)} == {
        first["jti"]: int(clock.now) * 1000, second["jti"]: None,
    }  # fmt: skip
    caller.post("personal/revoke", {"jti": first["jti"]}, LENA)
    assert not signs_in(caller, first["token"])
    assert signs_in(caller, second["token"])


def test_a_deleted_user(app: Flask, caller: Caller, clock: Clock, settings: Settings) -> None:
    """With a user the record of their tokens is deleted, and a user of the same name begins with none."""
    found = issue(caller)
    clock.advance(2)
    assert invoke(app, ["user", "delete", "lena", "--yes"]).exit_code == 0
    assert records_in(settings.data_dir, "personal_tokens") == []
    assert not signs_in(caller, found["token"])
    clock.advance(2)
    assert invoke(app, ["user", "add", "lena"], put="lena's password").exit_code == 0
    assert listed(caller) == []
    assert not signs_in(caller, found["token"])
    assert signs_in(caller, issue(caller)["token"])


def test_a_user_with_a_damaged_record_can_be_deleted(app: Flask, caller: Caller, settings: Settings) -> None:
    """A damaged record stays and does not prevent the deletion of its user."""
    issue(caller)
    record = Record(settings.data_dir, "personal_tokens", "lena")
    record.write_text("{")
    result = invoke(app, ["user", "delete", "lena", "--yes"])
    assert result.exit_code == 0, result.output
    assert record.read_text() == "{"


@pytest.mark.file_store
def test_a_restore(app: Flask, caller: Caller, tmp_path: Path) -> None:
    """After the restore of an old backup, a token issued since is listed, and a token revoked since stays revoked."""
    revoked = issue(caller, label="revoked since")
    file = str(tmp_path / "backup.gz")
    assert invoke(app, ["store", "backup", file]).exit_code == 0
    caller.post("personal/revoke", {"jti": revoked["jti"]}, LENA)
    issued = issue(caller, label="issued since")
    restored = invoke(app, ["store", "restore", file, "--yes"])
    assert restored.exit_code == 0, restored.output
    assert [(one["label"], one["status"]) for one in listed(caller)] == [
        ("issued since", "active"), ("revoked since", "revoked"),
    ]  # fmt: skip
    assert not signs_in(caller, revoked["token"])
    caller.post("personal/revoke", {"jti": issued["jti"]}, LENA)
    assert not signs_in(caller, issued["token"])


def test_the_command(app: Flask, caller: Caller) -> None:
    """The command lists the tokens of a user as the call does, and revokes one."""
    found = issue(caller, label="nightly")
    shown = json.loads(invoke(app, ["token", "personal", "lena", "--json"]).output)
    assert shown == listed(caller)
    table = invoke(app, ["token", "personal", "lena"]).output
    assert "nightly" in table
    assert "never" in table
    for name, words in (("nobody", "user 'nobody' does not exist"), ("otto", "otto has no personal token")):
        refused = invoke(app, ["token", "personal", name, "--revoke", found["jti"]])
        assert refused.exit_code == 1
        assert words in refused.output
    assert invoke(app, ["token", "personal", "lena", "--revoke", found["jti"]]).exit_code == 0
    assert statuses(caller) == ["revoked"]
