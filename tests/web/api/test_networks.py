"""Networks of an application: from where its tokens, gate sessions and one-time links are accepted."""

import dataclasses
import io
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.audit.filters import Filter
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.handmade_tokens import claims, token
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application, basic
from tests.web.api.test_gate import gate_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"
INSIDE, OUTSIDE, PROXY = "10.1.2.3", "192.0.2.1", "172.16.0.1"


@pytest.fixture(params=[0, 1, 2], ids=["no proxy", "one proxy", "two proxies"])
def proxies(request: pytest.FixtureRequest) -> int:
    """Return the number of trusted proxies."""
    number: int = request.param
    return number


@pytest.fixture
def app(settings: Settings, clock: Clock, proxies: int, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    behind = dataclasses.replace(settings, trusted_proxies=proxies)
    return create_app(behind, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    body = application(secret=STRONG_SECRET, networks=["10.0.0.0/8", "2001:db8:1::/48"])
    assert caller.post("update", body).status_code == 200


class Visitor:
    """A client at an address, whose requests pass through the trusted proxies."""

    def __init__(self, app: Flask, address: str) -> None:
        self._client = app.test_client(use_cookies=False)
        with app.app_context():
            proxies = services().settings.trusted_proxies
        # The last proxy is the peer; each one appended the address of its own peer.
        hops = [address, "172.16.0.2"][:proxies]
        self.peer = PROXY if proxies else address
        self.headers = {"X-Forwarded-For": ", ".join(hops)} if proxies else {}

    def get(self, path: str, **headers: str) -> TestResponse:
        """Send a GET; ``headers`` have ``_`` for ``-``, and an empty one is left out."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self._client.get(
            path,
            headers={name: value for name, value in sent.items() if value},
            environ_base={"REMOTE_ADDR": self.peer},
        )

    def bearer(self, text: str) -> int:
        """Return the status of a call with a token in its header."""
        return self.get(DETAIL, Authorization=f"Bearer {text}").status_code

    def check(self, cookie: str) -> TestResponse:
        """Ask the gate about a request with its cookie."""
        return self.get("/auth/check", Cookie=cookie)


def signed(**changes: Any) -> str:
    return token(claims(**changes), STRONG_SECRET)


def refusals(app: Flask) -> list[dict[str, Any]]:
    """Return the refused sign-ins of the audit log, oldest first."""
    with app.app_context():
        return list(reversed(services().audit.page(Filter(event="sign_in_refused"), 1000).events))


@pytest.mark.parametrize("way", ["bearer", "url"])
@pytest.mark.parametrize(
    ("address", "status"),
    [
        (INSIDE, 200),
        (f"::ffff:{INSIDE}", 200),
        ("2001:db8:1:2::3", 200),
        (OUTSIDE, 401),
        (f"::ffff:{OUTSIDE}", 401),
        ("2001:db8:2::3", 401),
        ("", 401),
    ],
)
def test_where_a_token_is_accepted(app: Flask, way: str, address: str, status: int) -> None:
    """A token is accepted only in the networks of its application, in a header and in a URL."""
    visitor = Visitor(app, address)
    if way == "bearer":
        response = visitor.get(DETAIL, Authorization=f"Bearer {signed()}")
    else:
        response = visitor.get(f"{DETAIL}?token={signed()}")
    assert response.status_code == status
    if status == 401:
        assert response.get_json() == {"success": False, "code": "401", "msg": "invalid token"}


def test_a_cached_token(app: Flask, log: io.StringIO) -> None:
    """A token that was accepted inside is refused outside, and accepted inside again."""
    inside, outside = Visitor(app, INSIDE), Visitor(app, OUTSIDE)
    assert [one.bearer(signed()) for one in (inside, outside, inside, outside, inside)] == [200, 401, 200, 401, 200]
    line = next(line for line in log.getvalue().splitlines() if "status=401" in line)
    assert "reason=network" in line
    assert f"the client's address is {OUTSIDE}; ERP accepts tokens only from 10.0.0.0/8, 2001:db8:1::/48" in line
    assert "application=ERP" in line
    event = refusals(app)[-1]
    assert (event["reason"], event["address"], event["way"]) == ("network", OUTSIDE, "bearer")
    assert (event["target"]["application"], event["target"]["user"]) == ("ERP", "lena")


def test_a_refused_token_creates_nobody(app: Flask, settings: Settings) -> None:
    """No user is created from outside."""
    assert Visitor(app, OUTSIDE).bearer(signed()) == 401
    assert len(records_in(settings.data_dir, "users")) == 1
    assert Visitor(app, INSIDE).bearer(signed()) == 200
    assert len(records_in(settings.data_dir, "users")) == 2


def test_a_session_of_the_gate(app: Flask, settings: Settings, log: io.StringIO) -> None:
    """A gate session is refused outside, remains valid inside, and its refusal is logged and recorded."""
    inside, outside = Visitor(app, INSIDE), Visitor(app, OUTSIDE)
    cookie = gate_of(inside.get(f"/auth/enter?token={signed()}"))
    assert inside.check(cookie).status_code == 200
    for _ in range(2):
        refused = outside.check(cookie)
        assert (refused.status_code, refused.get_json()["msg"]) == (401, "not logged in")
        assert "Set-Cookie" not in refused.headers
    assert len(records_in(settings.data_dir, "sessions")) == 1
    response = inside.check(cookie)
    assert (response.status_code, response.headers["Remote-User"]) == (200, "lena")
    line = next(line for line in log.getvalue().splitlines() if "status=401" in line)
    assert "reason=network" in line
    assert f"the client's address is {OUTSIDE}" in line
    event = refusals(app)[-1]
    assert (event["reason"], event["address"], event["way"]) == ("network", OUTSIDE, "gate")
    assert event["target"]["application"] == "ERP"
    assert event["target"]["user"] == "lena"
    assert len(event["target"]["token"]) == 32


def test_another_session_of_the_same_browser(app: Flask, caller: Caller) -> None:
    """A session that is refused in this network does not keep another one of the browser from being used."""
    crm = application(name="CRM", token_name="crm", secret=STRONG_SECRET + "2")
    assert caller.post("update", crm).status_code == 200
    inside, outside = Visitor(app, INSIDE), Visitor(app, OUTSIDE)
    refused = gate_of(inside.get(f"/auth/enter?token={signed()}"))
    other = gate_of(outside.get(f"/auth/enter?crm={token(claims(), STRONG_SECRET + '2')}"))
    for both in (f"{refused}; {other}", f"{other}; {refused}"):
        assert outside.check(both).status_code == 200


def test_a_one_time_link(app: Flask, caller: Caller) -> None:
    """A link is refused outside and not used up; the session that it opens inside is refused outside too."""
    inside, outside = Visitor(app, INSIDE), Visitor(app, OUTSIDE)
    url = caller.post("link", {"name": "ERP", "username": "lena"}).json["url"]
    assert outside.get(url).status_code == 401
    event = refusals(app)[-1]
    assert (event["reason"], event["way"], event["target"]["user"]) == ("network", "ticket", "lena")
    entered = inside.get(url)
    assert entered.status_code == 303
    assert inside.check(gate_of(entered)).status_code == 200
    assert outside.check(gate_of(entered)).status_code == 401
    assert inside.get(url).status_code == 401
    assert refusals(app)[-1]["reason"] == "ticket"


def test_a_changed_network_holds_at_once(app: Flask, caller: Caller) -> None:
    """Sessions and links are checked by the networks of now, and a changed network ends no session."""
    visitor = Visitor(app, INSIDE)
    cookie = gate_of(visitor.get(f"/auth/enter?token={signed()}"))
    url = caller.post("link", {"name": "ERP", "username": "lena"}).json["url"]
    for networks, status in ((["192.0.2.0/24"], 401), (["10.1.0.0/16"], 200), ([], 200)):
        caller.post("update", application(secret=STRONG_SECRET, networks=networks))
        assert visitor.check(cookie).status_code == visitor.bearer(signed()) == status
        if status == 401:
            assert visitor.get(url).status_code == 401
    assert visitor.get(url).status_code == 303


def test_the_visitor_of_a_check(app: Flask, proxies: int) -> None:
    """The check is about the client whose address the proxy passes on; without a trusted proxy it is refused."""
    uri = f"/?token={signed()}"
    inside = Visitor(app, INSIDE).get("/auth/check", X_Original_URI=uri)
    assert inside.status_code == (200 if proxies else 401)
    assert bool(gate_of(inside)) is bool(proxies)
    assert Visitor(app, OUTSIDE).get("/auth/check", X_Original_URI=uri).status_code == 401


def test_another_users_cookie_from_elsewhere(app: Flask, caller: Caller) -> None:
    """A cookie that is refused here does not keep the token of another application from signing in."""
    caller.post("update", application(name="CRM", token_name="crm", secret="c" * 64))
    cookie = gate_of(Visitor(app, INSIDE).get(f"/auth/enter?token={signed()}"))
    text = token(claims(loginname="otto"), "c" * 64)
    opened = Visitor(app, OUTSIDE).get("/auth/check", X_Original_URI=f"/?crm={text}", Cookie=cookie)
    assert (opened.status_code, opened.headers["Remote-User"]) == (200, "otto")
    assert gate_of(opened) not in ("", cookie)


def test_explain_does_not_check_it(app: Flask, caller: Caller) -> None:
    """``explain`` and ``introspect`` accept the token, and ``explain`` says that it did not check the network."""
    del app
    explained = caller.post("explain", {"token": signed()}).json
    assert (explained["accepted"], explained["reason"]) == (True, None)
    assert {
        "step": "network",
        "ok": True,
        "detail": "not checked here: ERP accepts tokens only from 10.0.0.0/8, 2001:db8:1::/48",
    } in explained["steps"]
    assert caller.post("introspect", {"token": signed()}).json["active"] is True
    caller.post("update", application(secret=STRONG_SECRET, networks=""))
    assert "network" not in [step["step"] for step in caller.post("explain", {"token": signed()}).json["steps"]]


class TestSeveralApplications:
    """Two applications with the same key, of which the first has networks."""

    @pytest.fixture(autouse=True)
    def _second(self, caller: Caller) -> None:
        assert caller.post("update", application(name="Z", secret=STRONG_SECRET)).status_code == 200

    def test_the_first_that_accepts_wholly(self, app: Flask) -> None:
        """Inside it is the first, outside the second, in whichever order the token arrives."""
        inside, outside = Visitor(app, INSIDE), Visitor(app, OUTSIDE)
        for n, order in enumerate(([inside, outside, inside], [outside, inside, outside])):
            for visitor in order:
                uri = f"/auth/enter?token={signed(n=n)}"
                cookie = gate_of(visitor.get(uri))
                expected = "ERP" if visitor is inside else "Z"
                found = visitor.get(f"/auth/check?application={expected}", Cookie=cookie)
                assert found.status_code == 200, (n, expected)

    def test_the_token_is_cached_for_both(self, app: Flask) -> None:
        """Once each application has verified it, the token is found in the cache for both."""
        lookups: list[bool] = []
        with app.app_context():
            services().signin.cache._looked_up = lookups.append
        for address in (OUTSIDE, INSIDE, OUTSIDE):
            assert Visitor(app, address).bearer(signed()) == 200
        assert lookups == [False, True, True]


class TestForwarding:
    """Requests whose forwarding headers do not fit the setting ``TRUSTED_PROXIES``."""

    @pytest.mark.parametrize("proxies", [0], indirect=True)
    @pytest.mark.parametrize(
        "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Original-URI", "X-Forwarded-Proto"]
    )
    def test_no_trusted_proxy(self, app: Flask, caller: Caller, log: io.StringIO, header: str) -> None:
        """Without a trusted proxy a request with a forwarding header is refused, unless there are no networks."""
        visitor = Visitor(app, INSIDE)
        headers = {header: INSIDE, "Authorization": f"Bearer {signed()}"}
        assert visitor.get(DETAIL, **headers).status_code == 401
        assert "reason=network" in log.getvalue()
        assert "a proxy sent the request, and TRUSTED_PROXIES is 0" in log.getvalue()
        cookie = gate_of(visitor.get(f"/auth/enter?token={signed()}"))
        assert visitor.get("/auth/check", Cookie=cookie).status_code == 200
        assert visitor.get("/auth/check", Cookie=cookie, **{header: INSIDE}).status_code == 401
        caller.post("update", application(secret=STRONG_SECRET, networks=[]))
        assert visitor.get(DETAIL, **headers).status_code == 200

    @pytest.mark.parametrize("proxies", [1, 2], indirect=True)
    @pytest.mark.parametrize("forged", [INSIDE, f"{INSIDE}, {INSIDE}", f"{INSIDE},{INSIDE},{INSIDE}"])
    def test_forged_addresses(self, app: Flask, forged: str) -> None:
        """Addresses that a client sends in front of those of the trusted proxies do not count."""
        outside = Visitor(app, OUTSIDE)
        outside.headers["X-Forwarded-For"] = f"{forged}, {outside.headers['X-Forwarded-For']}"
        outside.headers["Forwarded"] = f"for={INSIDE}"
        outside.headers["X-Real-IP"] = INSIDE
        assert outside.bearer(signed()) == 401
        inside = Visitor(app, INSIDE)
        inside.headers["X-Forwarded-For"] = f"{OUTSIDE}, {inside.headers['X-Forwarded-For']}"
        assert inside.bearer(signed()) == 200

    @pytest.mark.parametrize("proxies", [2], indirect=True)
    def test_fewer_proxies_than_trusted(self, app: Flask, log: io.StringIO) -> None:
        """A request that passed fewer proxies than are trusted is refused, even if the proxy itself is inside."""
        visitor = Visitor(app, OUTSIDE)
        visitor.peer, visitor.headers = INSIDE, {"X-Forwarded-For": OUTSIDE}
        assert visitor.bearer(signed()) == 401
        assert "X-Forwarded-For has fewer addresses than TRUSTED_PROXIES says: 2" in log.getvalue()
        visitor.headers = {"X-Forwarded-Proto": "https"}
        assert visitor.bearer(signed()) == 401

    @pytest.mark.parametrize(
        ("proxies", "sent"),
        [(1, f"{INSIDE},"), (1, f'{INSIDE}, ""'), (2, f"{INSIDE}, , 172.16.0.2"), (2, f"{INSIDE}, {INSIDE}, ")],
        indirect=["proxies"],
    )
    def test_a_proxy_that_adds_no_address(self, app: Flask, log: io.StringIO, sent: str) -> None:
        """With an empty entry among those of the trusted proxies, an address that the client sent does not count."""
        visitor = Visitor(app, OUTSIDE)
        visitor.headers["X-Forwarded-For"] = sent
        assert visitor.bearer(signed()) == 401
        assert "X-Forwarded-For has fewer addresses than TRUSTED_PROXIES says" in log.getvalue()

    @pytest.mark.parametrize("proxies", [1, 2], indirect=True)
    def test_a_direct_request(self, app: Flask) -> None:
        """A request without any forwarding header comes from its peer."""
        for address, status in ((INSIDE, 200), (OUTSIDE, 401)):
            visitor = Visitor(app, OUTSIDE)
            visitor.peer, visitor.headers = address, {}
            assert visitor.bearer(signed()) == status

    @pytest.mark.parametrize("proxies", [0, 1], indirect=True)
    def test_a_unix_socket(self, app: Flask, log: io.StringIO, proxies: int) -> None:
        """A client of a Unix socket has no address, and is refused, unless a trusted proxy names one."""
        visitor = Visitor(app, INSIDE)
        visitor.peer = ""
        assert visitor.bearer(signed()) == (200 if proxies else 401)
        for sent in ({}, {"X-Forwarded-For": "unknown"} if proxies else {}):
            visitor.headers = sent
            assert visitor.bearer(signed()) == 401
        assert "the client has no IP address" in log.getvalue()


def test_a_record_that_was_edited(app: Flask, settings: Settings) -> None:
    """Networks that somebody removes from the record by hand no longer hold."""
    visitor = Visitor(app, OUTSIDE)
    assert visitor.bearer(signed()) == 401
    record = Record(settings.data_dir, "applications", "ERP")
    record.write_text(record.read_text().replace("10.0.0.0/8", "192.0.2.0/24"))
    assert visitor.bearer(signed()) == 200


def test_passwords_are_not_concerned(app: Flask) -> None:
    """A password is accepted from everywhere."""
    assert Visitor(app, OUTSIDE).get(DETAIL, **basic()).status_code == 200
