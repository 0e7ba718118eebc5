"""Every response is the envelope, for every rule of the URL map and every error."""

import contextlib
import dataclasses
import http.client
import io
import json
import socket

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from datafor_token import create_app, errors
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.log_lines import read
from tests.support import ADMIN_PASSWORD, API, SAMPLE_APPLICATION, Server, basic

OTHER_FORMATS = ("/metrics", "/auth/sign-in", "/auth/frame", "/embed.js")
FORM = "application/x-www-form-urlencoded"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def check_envelope(response: TestResponse) -> None:
    body = response.get_json()
    assert isinstance(body, dict)
    assert response.mimetype == "application/json"
    if response.status_code < 400:
        assert body["success"] is True
        # Only the logout of the documented product has a code on success.
        assert body.get("code") == ("200" if "/auth/logout" in response.request.path else None)
    else:
        assert list(body)[:3] == ["success", "code", "msg"]
        assert (body["success"], body["code"]) == (False, str(response.status_code))
        assert body["msg"]
        assert "\n" not in body["msg"]
    for name, value in HEADERS.items():
        assert response.headers.getlist(name) == [value]
    assert len(response.headers["X-Request-ID"]) == 32


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_rule_and_method_gives_the_envelope(app: Flask, method: str) -> None:
    """Each rule of the URL map responds to each method with the envelope, signed in or not."""
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("console."):
            # HTML pages: see tests/console.
            continue
        for headers in ({}, basic()):
            response = client.open(rule.rule, method=method, headers=headers)
            assert rule.endpoint != "gate.check" or response.status_code in (200, 401)
            assert response.status_code < 500
            # The description of the API, the guide, the metrics and pages of the gate have other formats; their errors
            # are the envelope.
            is_own = rule.rule in OTHER_FORMATS or rule.endpoint.startswith(("description.", "guide."))
            if method != "HEAD" and not (is_own and response.status_code in (200, 308)):
                check_envelope(response)
            if response.status_code == 405:
                assert response.headers["Allow"]


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "//healthz", "/healthz/", "/static/x", "/%00", "/%ff", f"{API}/update/"]
)
def test_unknown_paths(app: Flask, path: str) -> None:
    """An unknown path is 404 'not found', never a redirect."""
    response = app.test_client().get(path)
    assert (response.status_code, response.get_json()["msg"]) == (404, "not found")
    check_envelope(response)


def test_405_lists_the_allowed_methods(app: Flask) -> None:
    """A call with another method is 405, with the allowed methods."""
    response = app.test_client().get(f"{API}/update")
    assert (response.status_code, response.get_json()["msg"]) == (405, "method not allowed")
    assert response.headers["Allow"] == "POST"


def every_error() -> list[type[Exception]]:
    found: list[type[Exception]] = [errors.DataforTokenError]
    for kind in found:
        found += kind.__subclasses__()
    # An error of the console alone never reaches a call.
    return [kind for kind in found if kind is not errors.InvalidInput and kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_gives_the_envelope(app: Flask, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """The response to any of our errors is the envelope with the error's status and message."""
    error = kind()
    assert isinstance(error, errors.DataforTokenError)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("datafor_token.store.files.store.FileStore.check_readable", fail)
    response = app.test_client().get("/readyz")
    check_envelope(response)
    assert (response.status_code, response.get_json()["msg"]) == (error.status, error.message)


def test_a_bug_is_500_and_shows_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    """An unexpected error is 'internal error' with a request id; the log has its place, not its text."""

    def fail(*_: object) -> None:
        try:
            raise KeyError("marked-inner")
        except KeyError:
            raise RuntimeError("marked-outer") from None

    monkeypatch.setattr("datafor_token.store.files.store.FileStore.check_readable", fail)
    response = app.test_client().get("/readyz")
    check_envelope(response)
    assert response.get_json() == {
        "success": False,
        "code": "500",
        "msg": "internal error",
        "request_id": response.headers["X-Request-ID"],
    }
    assert "marked" not in log.getvalue()
    (line,) = read(log.getvalue())
    assert (line["level"], line["request_id"]) == ("error", response.headers["X-Request-ID"])
    assert (line["status"], line["reason"]) == (500, "bug")
    causes = line["exception"].split("\n")
    assert causes[-1] == "builtins.RuntimeError (its text is not logged)"
    assert causes[-2].endswith(" in fail")
    assert "builtins.KeyError (its text is not logged)" in causes


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("text/plain", 415), ("application/xml", 415), (None, 415), ("application/json; charset=latin1", 415)],
)
def test_415(caller: Caller, content_type: str | None, status: int) -> None:
    """A body of another type is 415 with a sentence that lists the accepted types."""
    response = caller.post("update", json.dumps(SAMPLE_APPLICATION), content_type=content_type)
    assert response.status_code == status
    assert "application/x-www-form-urlencoded" in response.json["msg"]


def test_413(caller: Caller) -> None:
    """A body longer than MAX_CONTENT_LENGTH is 413, with the setting's name; one of exactly that length is read."""
    body = json.dumps(SAMPLE_APPLICATION)
    assert caller.post("update", body + " " * (65536 - len(body))).status_code == 200
    response = caller.post("update", body + " " * (65537 - len(body)))
    assert (response.status_code, response.json["msg"]) == (413, errors.BodyTooLarge.message)


@pytest.mark.parametrize(("length", "status"), [(65536, 200), (65537, 413), (100_000, 413)])
def test_413_without_a_length(server: Server, length: int, status: int) -> None:
    """A chunked body has the same limit; it is never truncated."""
    body = json.dumps(SAMPLE_APPLICATION).encode().ljust(length)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        parts = [body[start : start + 9_999] for start in range(0, length, 9_999)]
        # The server may respond and close before it has read all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", f"{API}/update", body=iter(parts), headers={**basic(), "Content-Type": FORM})
        response = connection.getresponse()
        received = json.loads(response.read())
    assert (response.status, received["success"]) == (status, status == 200)


def raw(server: Server, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        response = b""
        while part := connection.recv(65536):
            response += part
        return response


# A form that would be stored, cut off in the middle of its secret.
COMPLETE_SO_FAR = (
    b"name=Cut&expire=60&fieldmap.username=u&fieldmap.name=n&fieldmap.email=e&algorithm=HS256"
    b"&enable=1&inituser=1&initroles=SYS_Reader&secret=kkkkkkkkkk"
)


@pytest.mark.parametrize(
    "body",
    [b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nx\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
     b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", b"Content-Length: 50\r\n\r\nname=E",
     b"Content-Length: 400\r\n\r\n" + COMPLETE_SO_FAR],
)  # fmt: skip
def test_broken_bodies_on_the_wire(server: Server, body: bytes) -> None:
    """A body that ends early or violates HTTP is 400, never 500."""
    head = f"POST {API}/update HTTP/1.1\r\nHost: x\r\nAuthorization: {basic()['Authorization']}\r\n"
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    response = raw(server, (head + form).encode() + body)
    assert response.startswith(b"HTTP/1.1 400 "), response
    assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "400"


@given(
    path=st.sampled_from([f"{API}/update", f"{API}/generate", "/healthz", "/readyz", "/x"]),
    method=st.sampled_from(["GET", "POST", "PUT"]),
    content_type=st.sampled_from([FORM, "application/json", "multipart/form-data; boundary=X"]),
    body=st.binary(max_size=200),
    signed_in=st.booleans(),
    origin=st.none() | st.text(alphabet="htp:/[]@x. ", max_size=12),
)  # fmt: skip
def test_no_request_is_a_500(
    app: Flask, path: str, method: str, content_type: str, body: bytes, signed_in: bool, origin: str | None
) -> None:
    """The response to any request is an envelope with a status below 500."""
    headers = {**(basic() if signed_in else {}), **({"Origin": origin} if origin is not None else {})}
    response = app.test_client().open(path, method=method, data=body, content_type=content_type, headers=headers)
    assert response.status_code < 500
    check_envelope(response)


def test_the_prefix_moves_every_path(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With URL_PREFIX, every call is under it, and none outside."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    moved = dataclasses.replace(settings, url_prefix="/datafor")
    app = create_app(moved, hasher=CHEAP_FOR_TESTS_ONLY)
    assert all(rule.rule.startswith("/datafor/") for rule in app.url_map.iter_rules())
    assert app.test_client().get("/datafor/healthz").status_code == 200
    assert app.test_client().get("/healthz").status_code == 404
