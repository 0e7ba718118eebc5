"""Two nodes on one store during a key change, and records that are encrypted with a key that one of them lacks."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.commands import invoke
from tests.console.client import Client, Page
from tests.handmade_tokens import claims, token
from tests.log_lines import read
from tests.service import NEW, OLD, Service
from tests.stores import Record
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, basic
from tests.web.api.test_gate_assertion import PUBLIC_URL

CHECK, DETAIL = "/auth/check", "/plugin/datafor-modeler/api/user/detail"
CONSOLE = "/console"
OTHER = f"{STRONG_SECRET}-of-CRM"
UNAVAILABLE = {"success": False, "code": "503", "msg": "storage is unavailable"}


class Node:
    """A node with its own keys."""

    def __init__(self, service: Service, *keys: str) -> None:
        self.caller = service.start(*keys)
        self.app: Flask = service.app

    def status(self, text: str) -> int:
        return self.caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code


@dataclasses.dataclass
class Pair:
    """A node with the old key only, and one that has the new one in front; CRM was changed by the second."""

    old: Node
    new: Node
    cookie: str  # of a gate session by a token of CRM
    link: str


@pytest.fixture
def pair(service: Service) -> Pair:
    old, new = Node(service, OLD), Node(service, NEW, OLD)
    for name, secret in (("CRM", OTHER), ("ERP", STRONG_SECRET)):
        body = application(name=name, secret=secret, token_name=f"of_{name}", self_service="1")
        assert old.caller.post("update", body).status_code == 200
    entered = old.caller.get(f"/auth/enter?of_CRM={signed_by_crm()}&next=/", headers={})
    link = old.caller.post("link", {"name": "CRM", "username": "lena"}).json["url"]
    # The record is encrypted again, with another key.
    changed = application(name="CRM", secret=None, token_name="of_CRM", self_service="1", expire=3600)
    assert new.caller.post("update", changed).status_code == 200
    return Pair(old, new, entered.headers["Set-Cookie"].partition(";")[0], link)


def signed_by_crm(**changes: Any) -> str:
    return token(claims(**changes), OTHER)


def test_a_token_is_503_never_401(pair: Pair) -> None:
    """If the secret of an application cannot be decrypted, its tokens are 503 everywhere, and 200 elsewhere."""
    text = signed_by_crm()
    bearer = {"Authorization": f"Bearer {text}"}
    for path, headers in (
        (DETAIL, bearer),
        (f"{DETAIL}?of_CRM={text}", {}),
        (CHECK, bearer),
        (f"{CHECK}?header=X-Api-Token", {"X-Api-Token": text}),
        (CHECK, {"X-Original-URI": f"/?of_CRM={text}"}),
        (CHECK, {"Cookie": pair.cookie}),
    ):
        response = pair.old.caller.get(path, headers)
        assert (response.status_code, response.json) == (503, UNAVAILABLE), path
        assert pair.new.caller.get(path, headers).status_code == 200, path
    for path in (f"/auth/enter?of_CRM={text}&next=/", pair.link):
        assert pair.old.caller.get(path, {}).status_code == 503, path
        # The link was not used up.
        assert pair.new.caller.get(path, {}).status_code == 303, path
    assert pair.old.caller.post("introspect", {"token": text}).status_code == 503
    assert pair.new.caller.post("introspect", {"token": text}).json["active"]


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("generate", {"name": "CRM"}),
        ("generate", {"name": "CRM", "privateKey": OTHER}),
        ("link", {"name": "CRM", "username": "lena"}),
        ("personal", {"name": "CRM"}),
        # The first application by name that allows personal tokens.
        ("personal", {}),
        ("explain", {"name": "CRM", "token": "x"}),
        ("rotate", {"name": "CRM"}),
        ("update", application(name="CRM", secret="another secret, which is long enough")),
        ("delete", {"name": "CRM"}),
        ("revoke", {"token": signed_by_crm()}),
    ],
)
def test_calls_about_the_application(pair: Pair, call: str, body: dict[str, Any]) -> None:
    """Every call that needs the application is 503 on the node without the key, and changes nothing."""
    response = pair.old.caller.post(call, body)
    assert (response.status_code, response.json) == (503, UNAVAILABLE)
    assert pair.new.status(signed_by_crm()) == 200


def test_other_applications(pair: Pair) -> None:
    """All other applications are served, a token that cannot be of CRM is 401, and lists name CRM."""
    caller = pair.old.caller
    assert pair.old.status(token(claims(), STRONG_SECRET)) == 200
    assert caller.post("generate", {"name": "ERP"}).status_code == 200
    # An expired token of ERP, other claims, another algorithm, and texts that are no tokens.
    assert pair.old.status(token(claims(exp=1), STRONG_SECRET)) == 401
    assert pair.old.status(token({"sub": "lena", "exp": 9999999999}, "x")) == 401
    assert pair.old.status(token(claims(), "x", {"alg": "HS384"}, "sha384")) == 401
    assert pair.old.status("x") == 401
    assert caller.get(f"{DETAIL}?of_ERP={token(claims(), 'x')}", {}).status_code == 401
    assert caller.get(f"{DETAIL}?other={signed_by_crm()}", {}).status_code == 401
    assert caller.get(DETAIL, basic()).status_code == 200
    assert caller.get("list").json["damaged"] == ["CRM"]
    explained = caller.post("explain", {"token": signed_by_crm()}).json
    assert "CRM" in explained["steps"][-1]["detail"]


def test_a_disabled_application(pair: Pair) -> None:
    """A disabled application accepts no token, whether or not its secret can be decrypted."""
    body = application(name="CRM", secret=None, token_name="of_CRM", enable="0")
    assert pair.new.caller.post("update", body).status_code == 200
    assert [node.status(signed_by_crm()) for node in (pair.old, pair.new)] == [401, 401]


def test_the_log_says_what_to_do(pair: Pair, settings: Settings, log: Any) -> None:
    """The log of the refusal, and `store check`, name the key that is missing and where it belongs."""
    pair.old.status(signed_by_crm())
    (line,) = [line for line in read(log.getvalue()) if line.get("status") == 503]
    key = json.loads(Record(settings.data_dir, "applications", "crm").read_text())["secret"].split(":")[1]
    sentence = f"the key {key}, which this node does not have: add that key to config/secret_key"
    assert line["reason"].startswith("CRM may have signed the token")
    assert sentence in line["reason"]
    checked = invoke(pair.old.app, ["store", "check"])
    assert (checked.exit_code, sentence in checked.output) == (1, True)


def test_a_record_that_tells_nothing(pair: Pair, settings: Settings) -> None:
    """A record that is not even JSON may be that of any token that nobody else signed, in whatever parameter."""
    Record(settings.data_dir, "applications", "crm").write_text("{")
    text = signed_by_crm()
    for path in (DETAIL, CHECK):
        assert pair.old.caller.get(path, {"Authorization": f"Bearer {text}"}).status_code == 503
    assert pair.old.caller.get(f"{DETAIL}?of_CRM={text}", {}).status_code == 503
    assert pair.old.caller.get(CHECK, {"X-Original-URI": f"/?of_CRM={text}"}).status_code == 503
    assert pair.old.caller.get(f"/auth/enter?of_CRM={text}&next=/", {}).status_code == 503
    # Other credentials, and other parameters, are served as before.
    assert pair.old.caller.get(f"{DETAIL}?state={text}", basic()).status_code == 200
    assert pair.old.caller.get(f"{DETAIL}?state=www.example.org", {}).status_code == 401
    assert pair.old.caller.get("personal/config").json["enabled"]


def test_console_and_commands(pair: Pair) -> None:
    """Every page of the application is 503, lists name it, and commands about it end with the status of an outage."""
    client = Client(pair.old.app)
    client.sign_in()
    rules = [rule for rule in pair.old.app.url_map.iter_rules() if "/applications/<name>" in rule.rule]
    pages = [rule.rule for rule in rules if "GET" in (rule.methods or ())]
    assert len(pages) > 9
    for page in pages:
        assert client.client.get(page.replace("<name>", "CRM")).status_code == 503, page
    for page in ("", "applications"):
        assert "CRM" in client.get(page).text
    assert "their records cannot be read: CRM" in client.post("tokens", {"token": signed_by_crm()}).text
    for command in (["token", "generate", "CRM", "--username", "lena"], ["application", "show", "CRM"]):
        assert invoke(pair.old.app, command).exit_code == 3, command


@pytest.fixture
def with_identities(service: Service) -> Iterator[None]:
    before = service.settings
    service.settings = dataclasses.replace(before, gate_assertion=True, public_url=PUBLIC_URL)
    yield
    service.settings = before


@pytest.mark.usefixtures("with_identities")
def test_keys_of_signed_identities(service: Service, request: pytest.FixtureRequest) -> None:
    """Without the key of the identity keys a check is 503, and the log does not say to remove the record."""
    old, new = Node(service, OLD), Node(service, NEW, OLD)
    # It starts one more node, with the present keys.
    log = request.getfixturevalue("log")
    assert old.caller.get(CHECK, basic()).status_code == 200
    with new.app.app_context():
        services().assertion_keys.reseal()
    assert old.caller.get(CHECK, basic()).status_code == 503
    assert new.caller.get(CHECK, basic()).status_code == 200
    (reason,) = [line["reason"] for line in read(log.getvalue()) if line.get("status") == 503]
    assert "which this node does not have: add that key" in reason
    assert "remove" not in reason


class TestOtherKeyInFront:
    """Both nodes have both keys, each another one in front: nothing that one of them did is lost on the other."""

    @pytest.fixture
    def nodes(self, service: Service) -> tuple[Node, Node]:
        nodes = Node(service, OLD, NEW), Node(service, NEW, OLD)
        assert nodes[0].caller.post("update", application(secret=STRONG_SECRET)).status_code == 200
        return nodes

    def test_a_revoked_link(self, nodes: tuple[Node, Node]) -> None:
        """A one-time link that was revoked by its identifier in the audit log is refused by both."""
        for one, other in (nodes, nodes[::-1]):
            url = one.caller.post("link", {"name": "ERP", "username": "lena"}).json["url"]
            (event,) = one.caller.get("audit?event=link_made&limit=1").json["data"]
            assert one.caller.post("revoke", {"id": event["target"]["token"]}).status_code == 200
            assert other.caller.get(url, {}).status_code == 401

    def test_a_session_that_was_left(self, nodes: tuple[Node, Node]) -> None:
        """A token opens one session, and after the sign-out no request but a navigation opens another one."""
        for number, (one, other) in enumerate((nodes, nodes[::-1])):
            original = {"X-Original-URI": f"/?token={token(claims(jti=str(number)), STRONG_SECRET)}"}
            cookies = [node.caller.get(CHECK, original).headers["Set-Cookie"] for node in (one, other)]
            assert cookies[0] == cookies[1]
            cookie = {"Cookie": cookies[0].partition(";")[0], "Sec-Fetch-Site": "same-origin"}
            assert one.caller.client.post("/auth/leave", headers=cookie).status_code == 200
            for node in (one, other):
                assert "Set-Cookie" not in node.caller.get(CHECK, original).headers

    def test_a_form(self, nodes: tuple[Node, Node]) -> None:
        """A form of the console that one node sent can be sent to the other."""
        for one, other in (nodes, nodes[::-1]):
            page = one.app.test_client()
            form = Page(page.get(f"{CONSOLE}/sign-in").text).form_token
            cookie = page.get_cookie("datafor_form")
            assert cookie is not None
            sent = other.app.test_client()
            sent.set_cookie("datafor_form", cookie.value)
            fields = {"form_token": form, "username": "admin", "password": ADMIN_PASSWORD}
            assert sent.post(f"{CONSOLE}/sign-in", data=fields).status_code == 303
