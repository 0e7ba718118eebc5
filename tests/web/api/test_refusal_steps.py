"""Steps of refused requests in the audit log: those of the token in hand, without anything that may be a secret."""

import hashlib
import io
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask

from datafor_token.audit import repeats
from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.tokens import signin
from tests.conftest import Caller, put_user, services_in
from tests.handmade_tokens import NOW, claims, part, token
from tests.log_lines import read
from tests.processes import run_command
from tests.stores import audit_text
from tests.support import API, Clock, Server, application, basic
from tests.web.api.test_past_refusals import EXPIRED, bearer, explained, reference

SHARED = application(name="CRM", secret="secret-of-the-crm", algorithm="HS512")


@pytest.fixture(autouse=True)
def _applications(request: pytest.FixtureRequest) -> None:
    if "app" not in request.fixturenames and "caller" not in request.fixturenames:
        return
    caller: Caller = request.getfixturevalue("caller")
    for fields in (application(), SHARED):
        assert caller.post("update", fields).status_code == 200


def refuse(caller: Caller, text: str, query: str = "") -> Any:
    response = caller.get(f"/auth/check{query}", bearer(text))
    assert response.status_code in (401, 403), text
    return response


def counted(app: Flask) -> None:
    """Write the counts of this minute."""
    services_in(app).audit.finish()


TIGHT = {
    "audience": ["a"],
    "issuer": "https://id.test",
    "require": {"tid": ["1", "2"]},
    "max_lifetime": 600,
    "token_types": ["JWT", "at+jwt"],
    "expire": 600,
}
FITTING = {"aud": "a", "iss": "https://id.test", "tid": "1", "iat": NOW, "exp": NOW + 600}
# The rules of ERP, and a token that they refuse.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, EXPIRED),
    ({}, token(claims(exp=None))),
    ({}, token(claims(exp="soon"))),
    ({}, token(claims(exp=NOW * 1000))),
    ({}, token(claims(nbf=NOW + 600))),
    ({}, token(claims(loginname=None))),
    ({}, token(claims(loginname="a:b"))),
    ({}, token(claims(loginname="off"))),
    ({}, token(claims(loginname="admin"))),
    ({}, token(claims(aud="x"))),
    ({}, token(claims(), header={"alg": "HS256", "typ": "x"})),
    ({"enable": "0"}, token(claims())),
    ({"inituser": "0"}, token(claims())),
    ({"users": "own"}, token(claims(loginname="otto"))),
    (TIGHT, token(claims(**{**FITTING, "aud": ["b", "c"]}))),
    (TIGHT, token(claims(**{**FITTING, "iss": "https://id.test/"}))),
    (TIGHT, token(claims(**{**FITTING, "tid": 1}))),
    (TIGHT, token(claims(**{**FITTING, "exp": NOW + 601}))),
    # No key signed these: the cause is searched for.
    ({}, "x"),
    ({}, token(claims()).partition(".")[2]),
    ({}, f'"{token(claims())}"'),
    ({}, f"https://erp.test/?token={token(claims())}"),
    ({}, token("no JSON")),
    ({}, token('{"exp":1,"exp":2}')),
    ({}, token(claims(), header={"typ": "JWT"})),
    ({}, token(claims(), header={"alg": "HS256", "crit": ["x"]})),
    ({}, token(claims(), header={"alg": "none"})),
    ({}, token(claims(), header={"alg": "RS256"})),
    ({}, token(claims(), "other")),
    ({}, token(claims(), "abcd\n")),
    ({}, token(claims(), "ABCD")),
    ({}, token(claims(), "secret-of-the-crm")),
    ({}, token(claims(), header={"alg": "HS512", "typ": "JWT"}, digest="sha512")),
    ({}, "x" * 9000),
]


@pytest.mark.parametrize(("rules", "text"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_the_steps_of_the_token_in_hand(app: Flask, caller: Caller, rules: dict[str, Any], text: str) -> None:
    """The steps of a refused request are those that ``explain`` shows for its token."""
    put_user(app, "off", enabled=False)
    put_user(app, "otto")
    assert caller.post("update", application(**rules)).status_code == 200
    found = explained(caller, refuse(caller, text))
    in_hand = caller.post("explain", {"token": text}).json
    assert found["steps"] == in_hand["steps"]
    assert (found["reason"], found["application"]) == (in_hand["reason"], in_hand["application"])


SENT = (
    token(claims(), header={"alg": "Hunter2-a"}),
    token(claims(), "other", header={"alg": "HS256", "kid": "Hunter2-b"}),
    token(claims(), header={"alg": "RS256", "kid": "Hunter2-c"}),
    token(claims(loginname="Hunter2-d", iss="Hunter2-e", aud="Hunter2-f"), "other"),
    token({"Hunter2-g": 1}, "other"),
    f"https://erp.test/?Hunter2-h={token(claims())}",
    "Hunter2-i",
    f"{part('Hunter2-j')}.{part('Hunter2-k')}.AAAA",
)


@pytest.mark.parametrize("way", ["bearer", "url"])
def test_what_nobody_proved_is_not_recorded(
    app: Flask, caller: Caller, settings: Settings, clock: Clock, way: str
) -> None:
    """No value of a token that no key signed is in the audit log or on the pages that show the refusal."""
    shown = []
    for text in SENT:
        clock.advance(61)
        if way == "bearer":
            shown.append(explained(caller, refuse(caller, text)))
        else:
            response = app.test_client().get("/auth/check", headers={"X-Original-URI": f"/?token={quote(text)}"})
            shown.append(explained(caller, response))
    counted(app)
    for found in (json.dumps(shown), audit_text(settings.data_dir)):
        assert "Hunter2" not in found
        assert "eyJ" not in found
    if way == "bearer":
        assert shown[0]["steps"][0]["detail"] == "the token can be read; its alg is (not recorded)"


@pytest.mark.parametrize("report", [[], ["audience", "issuer", "require", "token_types"]], ids=["enforced", "reported"])
def test_a_token_inside_of_a_token(
    app: Flask, settings: Settings, caller: Caller, log: io.StringIO, report: list[str]
) -> None:
    """No value, type or name of a claim that may be a token is recorded, logged or shown, although a key signed it."""
    inner = token({"exp": NOW})
    caller.post("update", application(**TIGHT, report=report))
    tokens = [
        token(claims(**{**FITTING, **changes}), header={"typ": kind, "alg": "HS256"})
        for changes, kind in (
            ({"aud": inner}, "JWT"),
            ({"iss": inner}, "JWT"),
            ({"tid": [inner]}, "JWT"),
            ({}, inner),
            ({"loginname": None, inner: "lena"}, "JWT"),
        )
    ]
    shown = []
    for text in tokens:
        caller.get("/auth/check", bearer(text))
        shown.append(caller.post("explain", {"token": text}).json["steps"])
    counted(app)
    for part_of_it in inner.split("."):
        for text in (audit_text(settings.data_dir), log.getvalue(), json.dumps(shown)):
            assert part_of_it[:12] not in text


def test_searches_are_bounded(caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause is searched for at most once a second, and only for the first refusal of a kind."""
    searched: list[object] = []
    monkeypatch.setattr(signin, "near_miss", lambda *found: searched.append(found))
    for number in range(20):
        refuse(caller, token(claims(), f"wrong {number}"))
        refuse(caller, token(claims(), header={"alg": "RS256", "n": number}))
    assert len(searched) == 1
    clock.advance(2)
    refuse(caller, token(claims(), "wrong"))
    assert len(searched) == 1
    refuse(caller, token(claims(), header={"alg": "ES256"}))
    assert len(searched) == 2


def test_a_search_in_an_outage(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the search for the cause fails, the refusal has the steps that are known without it."""

    def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(signin, "near_miss", fail)
    steps = explained(caller, refuse(caller, token(claims(), "abcd\n")))["steps"]
    assert steps[-1]["detail"].endswith("the token was changed, or signed with another secret")


def test_the_hint_is_for_its_token_alone(app: Flask, caller: Caller, clock: Clock) -> None:
    """The cause that was found for one token is shown for its repetitions, not for tokens that are counted with it."""
    text = token(claims(), "abcd\n")
    replies = [refuse(caller, text), refuse(caller, text)]
    counted(app)
    for reply in replies:
        assert explained(caller, reply)["steps"][-1]["detail"].endswith("with a line break at its end")
    clock.advance(60)
    replies = [refuse(caller, text), refuse(caller, text), refuse(caller, token(claims(), "other"))]
    counted(app)
    assert explained(caller, replies[0])["steps"][-1]["detail"].endswith("with a line break at its end")
    for reply in replies[1:]:
        found = explained(caller, reply)
        assert found["steps"][-1]["detail"].endswith("the token was changed, or signed with another secret")
        assert found["count"] == 2


def test_tokens_have_steps_of_their_own(app: Flask, caller: Caller) -> None:
    """Two refused tokens of one application have their own steps, also if they come from one address at once."""
    first, second = (refuse(caller, token(claims(aud=aud))) for aud in ("x", "y"))
    counted(app)
    for reply, aud in ((first, "x"), (second, "y")):
        assert f'aud is "{aud}"' in explained(caller, reply)["steps"][-1]["detail"]
    first, second = (refuse(caller, token(claims()), f"?role={role}") for role in ("Sales", "Board"))
    counted(app)
    for reply, role in ((first, "Sales"), (second, "Board")):
        assert f"requires the role {role}" in explained(caller, reply)["steps"][-1]["detail"]


def test_the_reference_of_a_flood(
    app: Flask, caller: Caller, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """In a flood, the header, the page and the log have the same reference, which finds the refusal."""
    monkeypatch.setattr(repeats, "_MOST_REQUESTS", 1)
    client = app.test_client()
    replies = [
        client.get("/auth/check", headers={**bearer(EXPIRED), "Accept": "text/html", "X-Original-URI": "/"})
        for _ in range(20)
    ]
    references = [reference(reply) for reply in replies]
    assert len(set(references)) == 20
    assert [re.search("[0-9a-f]{32}", reply.get_data(as_text=True))[0] for reply in replies] == references  # type: ignore[index]
    assert [line["request_id"] for line in read(log.getvalue()) if line.get("reason") == "expired"] == references
    counted(app)
    assert {explained(caller, reply)["steps"][-1]["step"] for reply in replies} == {"time"}
    assert audit_text(settings.data_dir).count("sign_in_refused") == 2


def test_a_flood_pushes_nobody_out(
    app: Flask, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """A flood of junk from many addresses takes up few lines, and no other refusal loses its line or its steps."""
    for limit, number in (("_MOST", 20), ("_MOST_OF_REASON", 10), ("_MOST_OF_CLIENT", 5), ("_MOST_REQUESTS", 5)):
        monkeypatch.setattr(repeats, limit, number)
    client = app.test_client()

    def send(text: str, address: str) -> Any:
        return client.get("/auth/check", headers=bearer(text), environ_base={"REMOTE_ADDR": address})

    flood = [
        send(token(claims(), f"wrong {number}") if number % 2 else f"x{number}", f"10.1.{number // 250}.{number % 250}")
        for number in range(600)
    ]
    # As one of the flood, with a reason of its own, and with the signature of an application.
    lost, several = send(token(claims(), "lost"), "10.2.0.1"), client.get(f"/auth/enter?token={EXPIRED}&token=x")
    signed = send(EXPIRED, "10.2.0.2")
    assert explained(caller, signed)["address"] == "10.2.0.2"
    counted(app)
    assert explained(caller, lost)["steps"][-1]["step"] == "signature"
    assert explained(caller, several)["reason"] == "several_tokens"
    for reply in flood[::50]:
        assert explained(caller, reply)["reason"] in ("signature", "malformed")
    assert audit_text(settings.data_dir).count("sign_in_refused") < 60


def test_variants_are_bounded(app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of any length, and headers of any content, are counted as few kinds."""
    for number in range(300):
        refuse(caller, "x" * (8193 + number))
        refuse(caller, token(claims(), header={"alg": f"x{number}", "kid": f"{number}"}))
    found = services_in(app).audit._repeats._found
    assert len(found) == 2


def test_the_response_has_no_steps(caller: Caller) -> None:
    """The response to a refused request says nothing of its steps."""
    assert refuse(caller, token(claims(), "abcd\n")).json == {"success": False, "code": "401", "msg": "invalid token"}


@pytest.mark.slow
def test_every_kind_after_a_restart(tmp_path: Path) -> None:
    """Each kind of refusal is found after a restart by the call and the command, and no file has what was sent."""
    server, now = Server(tmp_path).start(), int(time.time())
    for name, fields in (("ERP", TIGHT), ("CRM", {"token_name": "crm", "inituser": "0"})):
        assert server.post("update", application(name=name, secret=f"secret-of-{name}" * 3, **fields)).status == 200
    kinds = (
        {"exp": now - 600},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": now + 600},
        {"loginname": None},
        {"loginname": "a:b"},
        {"loginname": "admin"},
        {"loginname": "nobody", "tid": "3"},
        {"aud": "b"},
    )
    fitting = {"ERP": FITTING, "CRM": {}}
    texts = [
        token(claims(**{**fitting[name], "exp": now + 600, **changes}), secret)
        for secret, name in (("secret-of-ERP" * 3, "ERP"), ("secret-of-CRM" * 3, "CRM"))
        for changes in kinds
    ]
    texts.append(token(claims(), "other"))
    refused = [server.request("GET", "/auth/check", headers=bearer(text)) for text in texts]
    refused += [server.request("GET", "/auth/check", headers={"X-Original-URI": f"/?crm={text}"}) for text in texts[:2]]
    refused += [server.request("GET", f"/auth/enter?{query}") for query in ("ticket=" + "t" * 43, "token=a&crm=b")]
    refused += [
        server.request("GET", "/auth/check", headers=basic(name, "wrong-Password"))
        for name in ("admin", "wrong-Username")
    ]
    assert {response.status for response in refused} == {401}
    server.stop()
    restarted = Server(tmp_path).start()
    for number, response in enumerate(refused):
        found = restarted.request("POST", f"{API}/explain", {"request_id": reference(response)})
        assert (found.status, found.json["steps"][-1]["ok"]) == (200, False)
        if number < 2:
            shown = run_command(tmp_path, "token", "explain", "--request", reference(response), "--json")
            assert json.loads(shown.stdout)["steps"] == found.json["steps"]
    restarted.stop()
    for file in restarted.data_dir.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        for text in ("eyJ", "wrong-Password", "wrong-Username", *(text.rpartition(".")[2] for text in texts)):
            assert text.encode() not in data
        for text in (*texts, "wrong-Password", "wrong-Username"):
            assert hashlib.sha256(text.encode()).hexdigest()[:16].encode() not in data
