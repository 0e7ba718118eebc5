"""Random requests to all calls: each response is an envelope below 500, and has no secret."""

import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from flask import Flask
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.handmade_tokens import claims, token
from tests.support import API, SAMPLE_APPLICATION, Server, application, basic
from tests.validation.test_strict_json import JSON_VALUES
from tests.web.test_envelope import check_envelope, raw

FORM, JSON, MULTIPART = "application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=X"
FIELDS = [*SAMPLE_APPLICATION, "initpwd", "self_service", "privateKey", "username", "payload", "grace", "token",
          "next", "ttl", "ticket", "password", "role", "type", "application", "other", "fieldmap[username]",
          "initroles[]"]  # fmt: skip
GOOD = [
    *SAMPLE_APPLICATION.values(),
    token(claims()),
    token(claims(), "other"),
    "lena",
    "admin",
    "/x",
    60,
    "marked-secret",
]
PATHS = [
    *(f"{API}/{call}" for call in (
        "update", "generate", "list", "content", "delete", "deleteBatch", "personal", "personal/config",
        "personal/list", "personal/revoke", "explain",
        "rotate", "revoke", "introspect", "link", "nothing",
    )),
    "/plugin/datafor-modeler/api/user/detail", "/plugin/datafor/api/extension/auth/login",
    "/plugin/datafor/api/extension/auth/logout", "/auth/check", "/auth/enter", "/auth/sign-in", "/auth/leave",
    "/.well-known/jwks.json", "/readyz", "/",
]  # fmt: skip
VALUES = st.sampled_from(GOOD) | JSON_VALUES
OBJECTS = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), VALUES, max_size=6)


def as_form(fields: dict[str, Any]) -> bytes:
    return urlencode({name: str(value) for name, value in fields.items()}, errors="replace").encode()


BODIES = (
    OBJECTS.map(lambda fields: (JSON, json.dumps({**SAMPLE_APPLICATION, **fields}).encode()))
    | OBJECTS.map(lambda fields: (JSON, json.dumps(fields).encode()))
    | OBJECTS.map(lambda fields: (FORM, as_form(fields)))
    | st.tuples(st.sampled_from([FORM, JSON, MULTIPART, "text/plain", ""]), st.binary(max_size=120))
)  # fmt: skip
HEADER_TEXT = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(["Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Cookie", "X-Original-URI", "X-Forwarded-Uri",
                     "Host", "X-Forwarded-For", "Accept", "Upgrade", "Connection", "Access-Control-Request-Method"]),
    HEADER_TEXT | st.sampled_from(["websocket", "Upgrade", "/?token=" + token(claims()), "JSESSIONID=" + "x" * 43]),
    max_size=3,
)  # fmt: skip
CREDENTIALS = st.sampled_from([basic(), basic(), basic("lena", "x"), {}]) | HEADER_TEXT.map(
    lambda text: {"Authorization": text}
)


class Sent(NamedTuple):
    """A request, and the methods and paths of the calls to which it is sent, one after the other."""

    calls: list[tuple[str, str]]
    query: dict[str, Any]
    body: tuple[str, bytes]
    headers: dict[str, str]
    credential: dict[str, str]


METHODS = ["GET", "POST", "POST", "POST", "PUT", "OPTIONS"]
CALLS_EACH = 4
REQUESTS = st.builds(
    Sent,
    calls=st.lists(
        st.tuples(st.sampled_from(METHODS), st.sampled_from(PATHS)), min_size=CALLS_EACH, max_size=CALLS_EACH
    ),
    query=OBJECTS,
    body=BODIES,
    headers=HEADERS,
    credential=CREDENTIALS,
)


# In parts, which run beside each other. Hypothesis takes eight times as long to create a request as the service to
# serve it, so each is sent to several calls.
@pytest.mark.parametrize("part", range(2))
@pytest.mark.slow
def test_ten_thousand_requests(app: Flask, part: int) -> None:
    """Any request to any call gets an envelope with a status below 500."""

    @seed(part)
    @settings(max_examples=5000 // CALLS_EACH)
    @given(sent=REQUESTS)
    def send(sent: Sent) -> None:
        for method, path in sent.calls:
            check(app, method, path, sent)

    send()


def check(app: Flask, method: str, path: str, sent: Sent) -> None:
    """Send the request to a call and check the response."""
    _, query, body, headers, credential = sent
    response = app.test_client(use_cookies=False).open(
        path,
        method=method,
        query_string=as_form(query).decode(),
        content_type=body[0] or None,
        data=body[1],
        headers={**headers, **credential},
        # From a new address each: throttled requests are refused before anything else is checked.
        environ_base={"REMOTE_ADDR": f"10.{len(query)}.{len(body[1]) % 250}.{len(headers)}"},
    )
    assert response.status_code < 500, response.get_data()
    if response.status_code == 303:
        assert response.headers["Location"].startswith("/")
    elif response.mimetype == "text/html":
        assert path in ("/auth/sign-in", "/auth/leave")
    else:
        check_envelope(response)


LINES = [
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET  /healthz HTTP/1.1\r\n\r\n",
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: [\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_malformed_http(server: Server, line: bytes) -> None:
    """Malformed HTTP is refused by gunicorn or with the envelope; the next request is served."""
    status = raw(server, line).partition(b" ")[2][:3]
    assert status[:1] in (b"2", b"4", b"") or status in (b"501", b"505"), status
    assert server.request("GET", "/healthz").status == 200


def test_no_response_has_a_secret(app: Flask) -> None:
    """No response about an application, right or wrong, has one of its secrets."""
    client = app.test_client()
    sent = application(secret="marked-secret", initpwd="marked-initpwd")
    responses = b""
    for headers in (basic(), {}):
        for path, body in (
            ("update", sent), ("update", {**sent, "expire": "x"}), ("update", {**sent, "algorithm": "RS256"}),
            ("update", {**sent, "secret": ["marked-secret"]}), ("rotate", {"name": "ERP", "secret": "marked-second"}),
            ("generate", {"name": "ERP", "privateKey": "marked-wrong"}), ("generate", {"name": "ERP"}),
            ("explain", {"token": token(claims(), "marked-secret")}), ("introspect", {"token": "marked-token"}),
            ("link", {"name": "ERP"}), ("delete", {"name": "marked-name/"}), ("list", None), ("content?name=ERP", None),
        ):  # fmt: skip
            response = client.open(f"{API}/{path}", method="POST" if body else "GET", json=body, headers=headers)
            assert response.status_code < 500
            responses += response.get_data()
    assert b"marked" not in responses


def test_no_repr_has_a_secret(app: Flask) -> None:
    """The repr of the services, which a debugger would print, has no key, hash or password."""
    from datafor_token.web.services import services

    with app.app_context():
        bundle = services()
        key = (bundle.settings.config_dir / "secret_key").read_text().strip()
        user = bundle.users.get("admin")
        assert user is not None
        shown = repr(bundle) + repr(vars(bundle.keyring).keys()) + repr(user) + repr(bundle.users)
    assert key not in shown
    assert user.password not in shown
