"""Byte order marks: text is UTF-8 with or without one; UTF-16 is refused by name."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token.errors import RuleError, StartError
from datafor_token.requests.forms import decode
from datafor_token.settings import Settings
from datafor_token.settings_sources import load_settings
from datafor_token.validation import utf8
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.requests.test_forms import FORM, MULTIPART, multipart
from tests.stores import Record
from tests.support import STRONG_SECRET, application, key_for, private_pem, public_pem, record_of

MARK = b"\xef\xbb\xbf"


def marked(text: str) -> bytes:
    return MARK + text.encode()


def as_notepad(text: str) -> bytes:
    """Return the file that Notepad saves as "UTF-8 with BOM"."""
    return MARK + text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (FORM, b"name=ERP&initroles=A"),
        (FORM, b'{"name": "ERP", "initroles": "A"}'),
        (FORM, b'\r\n {"name": "ERP", "initroles": "A"}'),
        ("application/json", b'{"name": "ERP", "initroles": "A"}'),
        (MULTIPART, multipart(("name", "ERP"), ("initroles", "A"))),
    ],
)
def test_a_mark_before_a_body_is_skipped(content_type: str, data: bytes) -> None:
    """A byte order mark before a body of any content type is skipped."""
    assert decode(content_type, MARK + data) == decode(content_type, data)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("content_type", [FORM, "application/json"])
def test_a_body_in_utf_16_says_so(caller: Caller, content_type: str, encoding: str) -> None:
    """A body in UTF-16, the default of PowerShell, is refused by name."""
    response = caller.post("update", json.dumps(application()).encode(encoding), content_type=content_type)
    assert (response.status_code, response.json["msg"]) == (400, "the request is UTF-16 text: send it as UTF-8")


def test_json_in_a_field_may_have_a_mark(caller: Caller) -> None:
    """JSON text in a field of a form may begin with a byte order mark."""
    fields = {name: value for name, value in application(secret=STRONG_SECRET).items() if name != "fieldmap"}
    fields["initroles"] = '\ufeff["Sales"]'
    fields["fieldmap"] = "\ufeff" + json.dumps(application()["fieldmap"])
    response = caller.post("update", fields, content_type="multipart/form-data")
    assert response.status_code == 200, response.json
    assert caller.get("content?name=ERP").json["initroles"] == ["Sales"]


def test_a_mark_in_a_value_stays(caller: Caller, settings: Settings) -> None:
    """A byte order mark inside a value is part of it."""
    caller.post("update", application(secret=f"\ufeff{STRONG_SECRET}"))
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == f"\ufeff{STRONG_SECRET}"


@pytest.mark.parametrize(
    "body",
    [
        "'{name:ERP,token_name:token}'",
        '\'{"name":"ERP"}\'',
        "{name:ERP}",
        "{'name': 'ERP'}",
        "\u2018{\u201cname\u201d: 1}\u2019",
        '"{name:ERP}',
        "`{name}`",
        "'[1]'",
        "%7B%22name%22%3A%22ERP%22%7D",
        "%EF%BB%BF%7B%22name%22%3A%22ERP%22%7D",
    ],
)
@pytest.mark.parametrize("content_type", [FORM, "application/json"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_what_looks_like_json_and_is_not(caller: Caller, content_type: str, body: str, mark: bytes) -> None:
    """A body that resembles JSON but is invalid gets a message about quotes and shells."""
    response = caller.post("update", mark + body.encode(), content_type=content_type)
    assert response.status_code == 400
    if not body.startswith("%") or content_type == FORM:
        assert response.json["msg"].startswith("the request body looks like JSON, but is not valid JSON; in cmd.exe")
    assert "ERP" not in json.dumps(response.json)


@pytest.mark.parametrize("text", ["name=ERP", "name=%7B%7D", "secret={x}", "a[b]=1", "'x=1"])
def test_forms_are_forms(text: str) -> None:
    """A form with braces, brackets or quotes in a value is a form."""
    assert decode(FORM, text.encode()).is_form


def test_settings_with_a_mark(tmp_path: Path) -> None:
    """settings.toml may begin with a byte order mark; in UTF-16 it is a start error."""
    file = tmp_path / "settings.toml"
    file.write_bytes(as_notepad('LOG_LEVEL = "ERROR"\n'))
    assert load_settings(tmp_path, {}).log_level == "ERROR"
    file.write_bytes('LOG_LEVEL = "ERROR"\n'.encode("utf-16"))
    with pytest.raises(StartError, match="UTF-16"):
        load_settings(tmp_path, {})


def test_the_key_with_a_mark(tmp_path: Path) -> None:
    """config/secret_key may begin with a byte order mark; in UTF-16 it is a start error."""
    from datafor_token.crypto.at_rest import load_keyring
    from datafor_token.store.files.store import FileStore

    store = FileStore(tmp_path / "data", ("applications", "instance"), 1)
    key = base64.urlsafe_b64encode(bytes(range(32))).decode() + "\n"
    for data in (key.encode(), as_notepad(key)):
        (tmp_path / "secret_key").write_bytes(data)
        assert load_keyring(tmp_path, {}, store).identifier
    (tmp_path / "secret_key").write_bytes(key.encode("utf-16"))
    with pytest.raises(StartError, match="UTF-16"):
        load_keyring(tmp_path, {}, store)


@pytest.mark.file_store
def test_a_record_edited_with_notepad(caller: Caller, settings: Settings) -> None:
    """A record with a byte order mark and Windows line ends is read; one in UTF-16 is damaged."""
    caller.post("update", application(secret=STRONG_SECRET))
    path = settings.data_dir / "applications" / "erp.json"
    record = json.dumps({**json.loads(path.read_text()), "expire": 77}, indent=2)
    path.write_bytes(as_notepad(record))
    assert caller.get("content?name=ERP").json["expire"] == 77
    assert caller.post("update", application(secret=None, expire=78)).status_code == 200
    assert Record(settings.data_dir, "applications", "erp").read_text().startswith("{")
    path.write_bytes(record.encode("utf-16"))
    assert caller.get("content?name=ERP").status_code == 503


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_declared_files_with_a_mark(app: Flask, settings: Settings, tmp_path: Path, suffix: str) -> None:
    """Declared files and secret files may begin with a byte order mark; UTF-16 is refused by name."""
    shell = Shell(app)
    one = {**application(), "secret_file": "secret"}
    del one["secret"]
    (tmp_path / "secret").write_bytes(as_notepad(f"{STRONG_SECRET}\n"))
    text = json.dumps({"application": [one]}, indent=1)
    if suffix == "toml":
        import tomli_w

        text = tomli_w.dumps({"application": [one]})
    file = tmp_path / f"apps.{suffix}"
    file.write_bytes(as_notepad(text))
    assert "create ERP" in shell.done("application", "apply", str(file))
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == STRONG_SECRET
    file.write_bytes(text.encode("utf-16"))
    assert "UTF-16" in shell.refused("application", "apply", str(file))
    file.write_bytes(text.encode())
    (tmp_path / "secret").write_bytes(STRONG_SECRET.encode("utf-16"))
    assert "UTF-16" in shell.refused("application", "apply", str(file))


def test_files_of_commands_with_a_mark(app: Flask, settings: Settings, tmp_path: Path) -> None:
    """Secrets, passwords, keys and tokens in files of Notepad are read as typed."""
    shell = Shell(app)
    file = tmp_path / "file"

    def write(text: str, form: Callable[[str], bytes] = as_notepad) -> str:
        file.write_bytes(form(f"{text}\n"))
        return str(file)

    shell.done("application", "add", "ERP", "--secret-file", write(STRONG_SECRET))
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == STRONG_SECRET
    shell.done("user", "add", "lena", "--password-file", write("a-long-Password-7"))
    caller = Caller(app.test_client())
    login = {"username": "lena", "password": "a-long-Password-7"}
    assert caller.post("/plugin/datafor/api/extension/auth/login", login).status_code == 200
    key = key_for("RS256")
    shell.done("application", "add", "RSA", "--algorithm", "RS256", "--secret-file", write(public_pem(key)))
    made = shell.done("token", "generate", "RSA", "--username", "lena", "--private-key-file", write(private_pem(key)))
    assert made.count(".") == 2
    text = token(claims(username="lena", loginname=None), STRONG_SECRET)
    assert "accepted" in shell("token", "explain", put=as_notepad(f"{text}\n")).output
    for command in (("application", "rotate", "ERP", "--secret-file"), ("user", "passwd", "lena", "--password-file")):
        said = shell.refused(*command, write(STRONG_SECRET, lambda text: text.encode("utf-16")))
        assert "UTF-16" in said
    result = shell("token", "explain", put=text.encode("utf-16"))
    assert (result.exit_code, "UTF-16" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a", "a"),
        (MARK, ""),
        (MARK + b"a", "a"),
        (MARK * 2, "\ufeff"),
        ("ä\n".encode(), "ä\n"),
        (b"\0\0", "\0\0"),
    ],
)
def test_text(data: bytes, text: str) -> None:
    """One byte order mark at the beginning is skipped, and nothing else."""
    assert utf8.decode(data) == text


@pytest.mark.parametrize(
    ("data", "says"), [(b"\xff\xfea\0", "UTF-16"), (b"a\0b\0", "UTF-16"), (b"\0a", "UTF-16"), (b"\xe4", "UTF-8")]
)
def test_other_encodings(data: bytes, says: str) -> None:
    """UTF-16 is refused by name, and other bytes as not UTF-8."""
    with pytest.raises(RuleError, match=says):
        utf8.decode(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [("x", "x"), ("x\n", "x"), ("x\r\n", "x"), ("x\r", "x\r"), ("x\n\n", "x\n"), ("x \n", "x "), ("", "")],
)
def test_the_last_line_end(text: str, value: str) -> None:
    """The last line end of a file, of Unix or Windows, is not part of its value."""
    assert utf8.without_line_end(text) == value


def test_a_token_has_no_mark(caller: Caller) -> None:
    """A token whose payload begins with a byte order mark is malformed."""
    caller.post("update", application(secret=STRONG_SECRET))
    payload: Any = MARK + json.dumps(claims()).encode()
    said = caller.post("explain", {"token": token(payload, STRONG_SECRET)}).json
    assert said["reason"] == "malformed"
