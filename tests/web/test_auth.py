"""Authentication: Basic sign-in, calls for Administrators, requests from other sites."""

import base64
import dataclasses
import io

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.log_lines import read
from tests.support import API, SAMPLE_APPLICATION, Clock, basic


@pytest.fixture(autouse=True)
def _users(app: Flask) -> None:
    hashed = CHEAP_FOR_TESTS_ONLY.hash("p:ä w ")
    with app.app_context():
        for user in (
            User(name="lena", type="SYS_Creator", password=hashed),
            User(name="off", type="Administrator", password=hashed, enabled=False),
            User(name="Jürgen Ö", type="Administrator", password=hashed),
        ):
            services().store.put("users", user.to_document())


def challenges(response: object) -> list[str]:
    headers = getattr(response, "headers")  # noqa: B009 - a Reply or a TestResponse
    return [value.partition(" ")[0] for value in headers.getlist("WWW-Authenticate")]


@pytest.mark.parametrize("call", ["update", "generate"])
def test_no_credential(caller: Caller, call: str) -> None:
    """Without a credential, the response is 401 'not logged in', with both challenges."""
    response = caller.post(call, SAMPLE_APPLICATION, headers={})
    assert (response.status_code, response.json["msg"]) == (401, "not logged in")
    assert challenges(response) == ["Bearer", "Basic"]


def test_no_password_prompt_in_a_browser(caller: Caller) -> None:
    """A request that a browser sends from a page gets no Basic challenge."""
    response = caller.post("update", SAMPLE_APPLICATION, headers={"Sec-Fetch-Site": "same-origin"})
    assert response.status_code == 401
    assert challenges(response) == ["Bearer"]


def credential(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        credential("admin:wrong"), credential("admin:"), credential("nobody:x"), credential("off:p:ä w "),
        credential("admin"), credential(""), credential(":"), credential("a" * 500 + ":x"), credential("\0:\0"),
        credential(b"admin:\xff"), credential("Jürgen Ö:p:ä w ".encode("latin-1")), "Basic", "Basic ", "Basic !!!!",
        "Basic YWRtaW4", "basic " + "A" * 4001, credential("admin:x") + "," + credential("admin:y"),
    ],
)  # fmt: skip
def test_wrong_passwords_get_one_response(caller: Caller, header: str) -> None:
    """Unknown user, wrong password, disabled user and unreadable credential are the same 401 'wrong password'."""
    response = caller.post("generate", {}, headers={"Authorization": header})
    assert (response.status_code, response.json) == (401, {"success": False, "code": "401", "msg": "wrong password"})
    assert challenges(response) == ["Bearer", "Basic"]


@pytest.mark.parametrize("name", ["Jürgen Ö", "JÜRGEN Ö", "Ju\u0308rgen o\u0308"])
def test_names_and_passwords_of_any_script(caller: Caller, name: str) -> None:
    """Basic is UTF-8; the name is found in any case; the password may contain a colon and outer spaces."""
    caller.post("update", SAMPLE_APPLICATION)
    assert caller.post("generate", {}, headers=basic(name, "p:ä w ")).status_code == 200


@pytest.mark.parametrize("call", ["update", "generate"])
def test_administrators_only(caller: Caller, call: str) -> None:
    """A caller who is not an Administrator gets 403 'no permission' before the body is read."""
    for body in (SAMPLE_APPLICATION, "%ff", {"name": 5}):
        response = caller.post(call, body, headers=basic("lena", "p:ä w "))
        assert (response.status_code, response.json["msg"]) == (403, "no permission")


ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://["},
    {"Origin": "https://localhost"},
    {"Origin": "https://token.example"},
]
HERE: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Origin": "http://localhost"},
    {"Origin": "http://LOCALHOST"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_post_from_another_site_changes_nothing(app: Flask, caller: Caller, headers: dict[str, str]) -> None:
    """A request that a browser sends from another site is 403 although the password is right."""
    response = caller.post("update", SAMPLE_APPLICATION, headers={**basic(), **headers})
    assert response.status_code == 403
    assert "another site" in response.json["msg"]
    with app.app_context():
        assert services().store.names("applications") == []


@pytest.mark.parametrize("headers", HERE)
def test_a_post_from_here_or_from_curl_works(caller: Caller, headers: dict[str, str]) -> None:
    """Requests from our own origin, and of clients that send neither header, are served."""
    assert caller.post("update", SAMPLE_APPLICATION, headers={**basic(), **headers}).status_code == 200


def test_a_refused_site_is_logged(caller: Caller, log: io.StringIO) -> None:
    """The log line of a request from another site has its Origin and Host, shortened, and the expected Origin."""
    headers = {**basic(), "Origin": "http://intra.example" + "x" * 5000, "Host": "127.0.0.1:28080"}
    caller.post("update", SAMPLE_APPLICATION, headers=headers)
    (line,) = read(log.getvalue())
    assert (line["status"], line["reason"]) == (403, "a request from another site is not accepted")
    for words in (
        "Origin 'http://intra.examplexx",
        "Host '127.0.0.1:28080'",
        "expected Origin: http://127.0.0.1:28080",
    ):
        assert words in line["detail"]
    assert len(line["detail"]) < 600


@pytest.mark.parametrize("public", ["https://intra.example", "https://Intra.example:443"])
def test_a_page_under_the_public_url_is_from_here(settings: Settings, clock: Clock, public: str) -> None:
    """Behind a proxy that does not pass Host on, the origin of our pages is that of PUBLIC_URL."""
    settings = dataclasses.replace(settings, public_url=public)
    app = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    for origin, status in (("https://intra.example", 401), ("http://intra.example", 403)):
        response = app.test_client().post(f"{API}/update", json=SAMPLE_APPLICATION, headers={"Origin": origin})
        assert response.status_code == status


def test_no_origin_is_a_request_without_a_host(app: Flask) -> None:
    """Origin null is another site, also in a request without a host."""
    headers = {**basic(), "Origin": "null", "Host": ""}
    assert app.test_client().post(f"{API}/update", json=SAMPLE_APPLICATION, headers=headers).status_code == 403


def test_bearer_is_exempt_from_the_cross_site_rule(caller: Caller) -> None:
    """A call with a Bearer token is accepted from any site: no browser adds one."""
    response = caller.post("update", {}, headers={"Authorization": "Bearer x", "Origin": "https://app.example"})
    assert response.status_code == 401


def test_open_calls_ignore_credentials(app: Flask) -> None:
    """/healthz and /readyz respond to any client, with any credential."""
    for path in ("/healthz", "/readyz"):
        assert app.test_client().get(path, headers={"Authorization": "Basic !!!"}).status_code == 200


def test_an_unknown_path_is_404_with_any_credential(app: Flask) -> None:
    """An unknown path is 404 for any client, also with a wrong password."""
    assert app.test_client().post(f"{API}/nothing", headers=basic("admin", "wrong")).status_code == 404
