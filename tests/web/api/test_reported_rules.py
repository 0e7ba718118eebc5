"""Rules of an application that are only reported: they refuse nothing, and what they would refuse is recorded."""

import dataclasses
import io
import json
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.applications.policy import REPORTABLE
from datafor_token.limits.storages import Storages
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, put_user
from tests.handmade_tokens import NOW, SHARED_HEADER, claims, token
from tests.metrics.test_metrics import count, samples
from tests.redis_server import Redis
from tests.stores import records_in
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application
from tests.web.api.test_gate import check, enter, gate_of, ticket_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"
DAY = 86400
INSIDE, OUTSIDE = "127.0.0.1", "192.0.2.1"
GOOD = {"aud": "erp", "iss": "portal", "azp": "web", "iat": NOW, "exp": NOW + 30 * DAY}
RULES: dict[str, Any] = {
    "audience": ["erp"],
    "issuer": "portal",
    "require": {"azp": "web"},
    "token_types": ["JWT"],
    "max_lifetime": 30 * DAY,
    "users": "own",
}
# Behind no proxy, the check cannot know the client's address.
NETWORKS = ["127.0.0.0/8"]
# What breaks each rule: changed claims, header, address, or the user's application; and the reason of the refusal.
BREACHES: dict[str, tuple[dict[str, Any], str]] = {
    "audience": ({"aud": "crm"}, "audience"),
    "issuer": ({"iss": "other"}, "issuer"),
    "require": ({"azp": "app"}, "claim"),
    "token_types": ({"typ": "at+jwt"}, "header"),
    "max_lifetime": ({"exp": NOW + 31 * DAY}, "too_long_lived"),
    "networks": ({"address": OUTSIDE}, "network"),
    "users": ({"belongs_to": "CRM"}, "not_own_user"),
}


def store(caller: Caller, *report: str, **changes: Any) -> Any:
    body = {**application(secret=STRONG_SECRET, expire=3600), **RULES, "report": list(report), **changes}
    response = caller.post("update", body)
    assert response.status_code == 200, response.json
    return response.json


def signed(**breach: Any) -> str:
    header = {**SHARED_HEADER, "typ": breach.pop("typ", "JWT")}
    changes = {name: value for name, value in breach.items() if name not in ("address", "belongs_to")}
    return token(claims(**{**GOOD, **changes}), STRONG_SECRET, header)


def status(app: Flask, text: str, address: str = INSIDE) -> int:
    headers = {"Authorization": f"Bearer {text}"}
    return Caller(app.test_client()).get(DETAIL, headers, environ_overrides={"REMOTE_ADDR": address}).status_code


def recorded(caller: Caller) -> list[dict[str, Any]]:
    """Return the recorded would-be refusals, oldest first."""
    found: list[dict[str, Any]] = caller.get("audit?event=rule_reported").json["data"]
    return found[::-1]


def counted(app: Flask, rule: str) -> float:
    found = samples(app.test_client().get("/metrics").text)
    return count(found, "would_be_refusals_total", application="ERP", rule=rule)


@pytest.fixture(autouse=True)
def _lena(app: Flask) -> None:
    put_user(app, "lena", application="ERP")


def test_each_rule(app: Flask, caller: Caller, subtests: pytest.Subtests) -> None:
    """A reported rule accepts what it refuses when it is enforced, with the sentence of that refusal as its step."""
    assert set(BREACHES) == set(REPORTABLE)
    for rule, (breach, reason) in BREACHES.items():
        with subtests.test(rule):
            put_user(app, "lena", application=breach.get("belongs_to", "ERP"))
            text, address = signed(**breach), breach.get("address", INSIDE)
            store(caller, networks=NETWORKS)
            assert status(app, text, address) == 401
            refused = caller.get("audit?event=sign_in_refused").json["data"][0]
            assert refused["reason"] == reason
            store(caller, *(one for one in REPORTABLE if one != rule), networks=NETWORKS)
            assert status(app, text, address) == 401
            store(caller, rule, networks=NETWORKS)
            assert [status(app, text, address) for _ in range(3)] == [200] * 3
            assert counted(app, rule) == 3
            event = recorded(caller)[-1]
            assert (event["rule"], event["reason"], event["way"]) == (rule, reason, "bearer")
            assert event["target"] == {"application": "ERP", "user": "lena", "token": refused["target"]["token"]}
            (step,), (refusing,) = event["steps"], refused["steps"][-1:]
            assert (step["step"], step["ok"], step["values"]["field"]) == (refusing["step"], True, rule)
            assert step["values"]["detail"] == {key: refusing[key] for key in ("detail", "values")}
            store(caller, networks=NETWORKS)
            assert status(app, text, address) == 401
    assert [event["rule"] for event in recorded(caller)] == list(BREACHES)


def test_what_keeps_the_rules_is_not_reported(app: Flask, caller: Caller) -> None:
    """A token that keeps all rules is neither counted nor recorded, nor one that is refused for another reason."""
    store(caller, *REPORTABLE)
    assert status(app, signed()) == 200
    assert status(app, signed(iss="other", exp=NOW - 3600)) == 401
    put_user(app, "lena", application="ERP", enabled=False)
    assert status(app, signed(iss="other")) == 401
    assert (recorded(caller), counted(app, "issuer")) == ([], 0)


def test_once_a_day(
    app: Flask, caller: Caller, clock: Clock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one event for each user, rule and day, whatever token, in all workers and after a restart."""
    store(caller, "issuer", "audience")
    put_user(app, "otto", application="ERP")
    texts = [
        signed(iss="other"),
        signed(iss="another"),
        signed(iss="other", aud="crm"),
        signed(iss="x", loginname="otto"),
    ]
    other = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    for worker in (app, other, app):
        assert [status(worker, text) for text in texts] == [200] * 4

    def today() -> list[tuple[str, str]]:
        return [(event["target"]["user"], event["rule"]) for event in recorded(caller)]

    first = [("lena", "issuer"), ("lena", "audience"), ("otto", "issuer")]
    assert today() == first
    clock.advance(DAY - NOW % DAY)
    # Not exactly a day later: the days are those of UTC.
    assert [status(other, text) for text in texts] == [200] * 4
    assert today() == first * 2
    # A worker looks for what others have recorded only once.
    monkeypatch.setattr(Storages, "use", None)
    assert status(other, texts[0]) == 200


def test_very_many_users(app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker records each once a day also if the shared counts forget it, and from its limit on none any more."""
    monkeypatch.setattr("datafor_token.limits.tables._MOST_KEYS", 0)
    monkeypatch.setattr("datafor_token.tokens.reports._MOST", 3)
    store(caller, "issuer")
    for user in "abcd":
        put_user(app, user, application="ERP")
    texts = [signed(iss="other", loginname=user) for user in "abcd"]
    for text in texts * 2:
        assert status(app, text) == 200
    assert [event["target"]["user"] for event in recorded(caller)] == ["a", "b", "c"]


def test_sessions(app: Flask, caller: Caller, clock: Clock) -> None:
    """A session is reported as its token is, on each day of its use, and ends when the rule is enforced."""
    clock.advance(-NOW % DAY - 60)
    store(caller, "issuer", max_lifetime="")
    cookie = gate_of(check(app, f"/?token={signed(iss='other', iat=None)}"))
    assert check(app, Cookie=cookie).status_code == 200
    assert (counted(app, "issuer"), len(recorded(caller))) == (2, 1)
    clock.advance(120)
    assert check(app, Cookie=cookie).status_code == 200
    before, event = recorded(caller)
    assert (before["way"], event["way"]) == ("url", "gate")
    assert (event["actor"], event["rule"], event["reason"], event["steps"][0]["step"]) == ("lena", *["issuer"] * 3)
    assert event["target"] == before["target"]
    store(caller, max_lifetime="")
    assert check(app, Cookie=cookie).status_code == 401


def test_a_session_in_another_network(settings: Settings, clock: Clock) -> None:
    """Reported networks accept a session from anywhere; enforced, they end none, and accept it inside again."""
    behind = create_app(dataclasses.replace(settings, trusted_proxies=1), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    caller = Caller(behind.test_client())
    store(caller, "networks", networks=NETWORKS)
    cookie = gate_of(check(behind, f"/?token={signed()}", X_Forwarded_For=INSIDE))

    def used(address: str) -> int:
        return check(behind, Cookie=cookie, X_Forwarded_For=address).status_code

    assert (used(INSIDE), recorded(caller)) == (200, [])
    assert used(OUTSIDE) == 200
    assert [(event["rule"], event["way"]) for event in recorded(caller)] == [("networks", "gate")]
    store(caller, networks=NETWORKS)
    assert [used(OUTSIDE), used(INSIDE)] == [401, 200]


@pytest.mark.file_store
@pytest.mark.parametrize("edited", [5, "issuer", [5], ["networks", "nonsense", "secret"], {}])
def test_an_edited_session(app: Flask, caller: Caller, settings: Settings, edited: Any) -> None:
    """The reported rules in a session's record may be edited to anything."""
    store(caller, "issuer")
    cookie = gate_of(check(app, f"/?token={signed(iss='other')}"))
    (record,) = records_in(settings.data_dir, "sessions")
    document = json.loads(record.read_text())
    assert document["grant"]["reported"] == ["issuer"]
    document["grant"]["reported"] = edited
    record.write_text(json.dumps(document))
    assert check(app, Cookie=cookie).status_code == 200


def test_links(app: Flask, caller: Caller) -> None:
    """A one-time link is reported for the rules that hold when it is redeemed, not for those about claims."""
    store(caller, *REPORTABLE)
    put_user(app, "lena", application="CRM")
    ticket = ticket_of(caller)
    assert recorded(caller) == []
    response = enter(app, f"ticket={ticket}")
    assert response.status_code == 303
    (event,) = recorded(caller)
    assert (event["rule"], event["way"], event["target"]["user"]) == ("users", "ticket", "lena")
    assert check(app, Cookie=gate_of(response)).status_code == 200


def test_explain_and_introspect(app: Flask, caller: Caller) -> None:
    """explain shows the step as passed and what it would be refused for; introspect accepts; both count nothing."""
    store(caller, "issuer")
    text = signed(iss="other")
    explained = caller.post("explain", {"token": text}).json
    assert (explained["accepted"], explained["reason"]) == (True, None)
    (step,) = [step for step in explained["steps"] if "reported" in step]
    assert step == {
        "step": "issuer",
        "ok": True,
        "detail": 'not refused, as issuer is only reported: iss is "other"; ERP accepts "portal"',
        "reported": "issuer",
    }
    assert caller.post("introspect", {"token": text}).json["active"] is True
    assert (recorded(caller), counted(app, "issuer")) == ([], 0)
    store(caller)
    assert caller.post("explain", {"token": text}).json["reason"] == "issuer"
    assert caller.post("introspect", {"token": text}).json["active"] is False


def test_issued_tokens(app: Flask, caller: Caller, log: io.StringIO) -> None:
    """A token that a reported rule would refuse is issued, with a line in the log; an enforced rule refuses to."""
    put_user(app, "lena", application="CRM")
    wanted = {"name": "ERP", "username": "lena", "payload": {"azp": "app"}}
    for report, code in ((("users", "require"), 200), (("users",), 400), (("require",), 400)):
        store(caller, *report)
        log.truncate(0)
        response = caller.post("generate", wanted)
        assert response.status_code == code, response.json
        event = 'event="issued a token that a reported rule would refuse" application=ERP'
        assert code == 400 or all(f"{event} rule={rule}" in log.getvalue() for rule in report)
    store(caller, "users", "require")
    assert status(app, caller.post("generate", wanted).json["token"]) == 200
    assert {event["rule"] for event in recorded(caller)} == {"users", "require"}


def test_a_maximum_lifetime_below_that_of_issued_tokens(caller: Caller) -> None:
    """A reported max_lifetime may be shorter than expire; it cannot be enforced before expire is changed."""
    store(caller, "max_lifetime", max_lifetime=60)
    body = {**application(secret=STRONG_SECRET, expire=3600), "report": []}
    response = caller.post("update", body)
    assert (response.status_code, response.json["msg"]) == (400, "expire must be at most max_lifetime, which is 60")
    assert caller.post("update", {**body, "expire": 60}).status_code == 200


def test_rules_that_are_not_set(app: Flask, caller: Caller) -> None:
    """Without audience and token_types, the rules about tokens with aud or another type can be reported too."""
    store(caller, "audience", "token_types", audience="", token_types="")
    assert status(app, signed(typ="at+jwt")) == 200
    assert [event["rule"] for event in recorded(caller)] == ["token_types", "audience"]


@pytest.mark.parametrize("cleared", ["", [], {}])
def test_the_field(caller: Caller, cleared: Any) -> None:
    """report takes names of fields in any order, warns of them, and is cleared by an empty value."""
    warnings = store(caller, "users", "issuer", "users")["warnings"]
    sentence = "report has issuer, users: tokens that these rules refuse are accepted, and only reported; "
    assert warnings == [f"{sentence}take a field out of report to enforce it"]
    assert caller.get("content?name=ERP").json["report"] == ["issuer", "users"]
    assert "warnings" not in store(caller, report=cleared)
    assert "report" not in caller.get("content?name=ERP").json


@pytest.mark.parametrize("value", ["jwks_uri", ["issuer", "enable"], ["Issuer"], 5, [5], {"issuer": 1}, True])
def test_other_fields(caller: Caller, value: Any) -> None:
    """Another field, or no list of texts, is 400, with the fields that can be reported."""
    response = caller.post("update", {**application(secret=STRONG_SECRET), "report": value})
    assert (response.status_code, response.json["msg"].partition(" ")[0]) == (400, "report")
    if isinstance(value, str) or (isinstance(value, list) and value != [5]):
        assert response.json["msg"] == f"report must be a list with some of {', '.join(REPORTABLE)}"


def test_without_a_disk(app: Flask, caller: Caller, settings: Settings, log: io.StringIO) -> None:
    """If it cannot be stored what was recorded, each worker records it once a day, and nobody is refused."""
    (settings.data_dir / "reports").write_text("")
    store(caller, "issuer")
    assert [status(app, signed(iss="other")) for _ in range(2)] == [200] * 2
    assert (counted(app, "issuer"), len(recorded(caller))) == (2, 1)
    assert log.getvalue().count('event="reported rules are recorded alone" by=worker ') == 1


@pytest.mark.file_store
def test_nodes_with_a_redis(
    settings: Settings, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch, app: Flask
) -> None:
    """Two nodes with one Redis record a would-be refusal once."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    shared = dataclasses.replace(settings, ratelimit_storage_uri=redis.uri)
    nodes = [create_app(shared, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY) for _ in range(2)]
    caller = Caller(nodes[0].test_client())
    store(caller, "issuer")
    assert [status(node, signed(iss="other")) for node in nodes] == [200] * 2
    assert len(recorded(caller)) == 1
    assert not (settings.data_dir / "reports").exists()


@pytest.mark.file_store
def test_nothing_that_can_be_guessed_is_stored(app: Flask, caller: Caller, settings: Settings) -> None:
    """The files about recorded would-be refusals name no user, application or rule."""
    store(caller, *REPORTABLE)
    assert status(app, signed(iss="other")) == 200
    stored = b"".join(one.read_bytes() for one in (settings.data_dir / "reports").iterdir())
    assert stored
    assert [word for word in (b"lena", b"ERP", b"erp", b"issuer") if word in stored] == []
