"""``datafor-token token``."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from datafor_token.settings import Settings
from datafor_token.tokens import refusals
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import NOW, claims, token
from tests.stores import records_in
from tests.support import SAMPLE_APPLICATION, STRONG_SECRET, Clock, application, key_for, private_pem, public_pem

DETAIL = "/plugin/datafor-modeler/api/user/detail"


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    caller.post("update", application())


@pytest.mark.parametrize(
    ("changes", "username", "warned"),
    [
        ({"inituser": "0"}, "nobody", "user nobody does not exist"),
        ({}, "nobody", ""),
        ({"secret": STRONG_SECRET}, "admin", "TOKENS_MAY_ADMINISTER is false"),
        ({"secret": STRONG_SECRET}, "lena", ""),
    ],
)
def test_a_token_that_does_not_sign_in(
    shell: Shell, caller: Caller, changes: dict[str, str], username: str, warned: str
) -> None:
    """``token generate`` warns of a token that this service would refuse, and creates no user by asking."""
    caller.post("update", application(name="ERP", **changes))
    result = shell("token", "generate", "ERP", "--username", username)
    assert (result.exit_code, result.stdout.count(".")) == (0, 2)
    assert ("warning: it does not sign in here: " in result.stderr, warned in result.stderr) == (bool(warned), True)
    assert "nobody" not in shell.done("user", "list")


@pytest.mark.tokens_may_administer
def test_an_administrator_and_a_weak_secret(shell: Shell, caller: Caller) -> None:
    """With TOKENS_MAY_ADMINISTER, ``token generate`` warns of an Administrator's token only if the secret is weak."""
    for secret, warning in (("abcd", "warning: it does not sign in here: the secret of ERP is weak"), (None, "")):
        caller.post("update", application(name="ERP", secret=secret or STRONG_SECRET))
        stderr = shell("token", "generate", "ERP", "--username", "admin").stderr
        assert warning in stderr
        assert ("warning" in stderr) == bool(warning)


def test_generate(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """A token is printed alone, the same as from the API; a private key is read from a file."""
    text = shell.done("token", "generate", "erp", "--username", "lena", "--payload", '{"email": "l@x"}').strip()
    body = {"name": "ERP", "username": "lena", "payload": {"email": "l@x"}}
    assert text == caller.post("generate", body).json["token"]
    assert shell.done("token", "generate", "ERP", "--username", "lena", "--payload", "null").count(".") == 2
    key = key_for("ES256")
    caller.post("update", application(name="P", algorithm="ES256", secret=public_pem(key)))
    (tmp_path / "key.pem").write_text(private_pem(key))
    shell.done("token", "generate", "P", "--username", "x", "--private-key-file", str(tmp_path / "key.pem"))
    for arguments, message in (
        (("generate", "P", "--username", "x"), "privateKey is missing"),
        (("generate", "nobody", "--username", "x"), "application 'nobody' does not exist"),
        (("generate", "ERP", "--username", "a:b"), "username cannot contain ':'"),
        (("generate", "ERP", "--username", "a", "--payload", "{"), "payload is not valid JSON"),
        (("generate", "ERP", "--username", "a", "--payload", "[]"), "payload must be an object"),
    ):
        assert message in shell.refused("token", *arguments)


def test_explain(shell: Shell, caller: Caller) -> None:
    """The steps are those of the API; the exit code is 0 for an accepted token and 1 for a refused one."""
    for text, code in ((token(claims()), 0), (token(claims(exp=1)), 1), ("x", 1)):
        result = shell("token", "explain", "--json", put=text + "\n")
        assert result.exit_code == code
        response = caller.post("explain", {"token": text}).json
        del response["success"]
        assert json.loads(result.stdout) == response
    assert "refused: expired" in shell.refused("token", "explain", token(claims(exp=1)))
    assert "application 'nobody' does not exist" in shell.refused("token", "explain", "x", "--application", "nobody")


def test_explain_a_request(shell: Shell, caller: Caller) -> None:
    """``token explain --request`` shows why a request was refused, as the API does; without a refusal it fails."""
    refused = caller.get("/auth/check", {"Authorization": f"Bearer {token(claims(exp=NOW - 600))}"})
    request_id = refused.headers["X-Request-ID"]
    shown = shell.done("token", "explain", "--request", f" {request_id.upper()} ")
    assert "expired 600 s ago" in shown
    assert "reason: expired, application: ERP, time: 2024-08-06T07:31:56.000Z, way: bearer" in shown
    response = caller.post("explain", {"request_id": request_id}).json
    del response["success"]
    assert json.loads(shell.done("token", "explain", "--request", request_id, "--json")) == response
    assert "no refusal in the audit log has this reference" in shell.refused("token", "explain", "--request", "0" * 32)
    # Without the reference: the table of the audit log has it.
    assert f"reason=expired, request={request_id}" in shell.done("audit", "show", "--event", "sign_in_refused")
    assert "must be the 32 hex digits" in shell.refused("token", "explain", "--request", "x")
    for more in ("x", "--application=ERP"):
        said = shell.refused("token", "explain", more, "--request", request_id, code=2)
        assert "Give either a token or --request" in said


@pytest.mark.file_store
def test_a_command_searches_the_whole_log(
    shell: Shell, caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command finds a refusal also in the part of a large log that a request does not read."""
    refused = caller.get("/auth/check", {"Authorization": f"Bearer {token(claims(exp=NOW - 600))}"})
    (settings.data_dir / "audit.log").rename(settings.data_dir / "audit.log.1")
    caller.post("update", application(name="CRM"))
    monkeypatch.setattr(refusals, "_MOST_READ", 100)
    assert "reason: expired" in shell.done("token", "explain", "--request", refused.headers["X-Request-ID"])


def test_decode(shell: Shell) -> None:
    """Header and claims of any token are shown, with readable times."""
    output = shell.done("token", "decode", put=token(claims(exp=NOW + 7200, nbf=NOW - 86400, iat="x"), "foreign"))
    assert "header alg" in output
    assert f"{NOW + 7200} (2024-08-06 09:31:56 UTC, in 2 h)" in output
    assert f"{NOW - 86400} (2024-08-05 07:31:56 UTC, 1 d ago)" in output
    assert json.loads(shell.done("token", "decode", "--json", token(claims())))["claims"]["loginname"] == "lena"
    assert "three parts" in shell.refused("token", "decode", put="x")


@pytest.mark.parametrize(
    ("header", "more", "message"),
    [
        ({"alg": "HS256", "typ": 5}, {}, "typ"),
        ({"alg": "none"}, {}, "no signature"),
        ({"alg": "HS256", "cty": "JWT"}, {}, "cty"),
        ({"alg": "HS256"}, {"big": 2**70}, "payload"),
        ({}, {"exp": NOW, "nested": {"a": [1]}}, "no alg"),
    ],
)
def test_decode_of_a_refused_token(shell: Shell, header: dict[str, Any], more: dict[str, Any], message: str) -> None:
    """Any two or three parts with JSON objects are shown, with the reason why this service refuses the token."""
    header_part, payload_part = (
        base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=")
        for one in (header, {"loginname": "lena", **more})
    )
    endings = (".", "") if header.get("alg") == "none" else (".c2ln",)
    for ending in endings:
        result = shell("token", "decode", "--json", put=f"{header_part}.{payload_part}{ending}")
        assert result.exit_code == 0, result.output
        shown = json.loads(result.stdout)
        assert (shown["header"], shown["claims"]) == (header, {"loginname": "lena", **more})
        assert shown["identifiers"] == []
        assert message in shown["refused"] or ending == ""
        result = shell("token", "decode", put=f"{header_part}.{payload_part}{ending}")
        assert "loginname" in result.stdout
        assert result.stderr == f"this service does not accept it: {shown['refused']}\n"


@pytest.mark.parametrize("before", ["Bearer ", "bearer\n ", "Authorization: Bearer ", " \t"])
def test_decode_of_a_header(shell: Shell, before: str) -> None:
    """The prefix of an Authorization header and white space around or inside the token are ignored."""
    text = token(claims())
    output = json.loads(shell.done("token", "decode", "--json", put=f"{before}{text[:20]}\n{text[20:]}\n"))
    assert output["claims"]["loginname"] == "lena"
    assert len(output["identifiers"]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer",
        "a.b",
        "e30",
        "e30.W10.x",
        "W10.e30.",
        "e30.e30.e30.e30.e30",
        "e30.\xff.",
        "e30." + "e30" * 4000,
    ],
)
def test_decode_of_nonsense(shell: Shell, text: str) -> None:
    """Other text is refused in one line."""
    assert len(shell.refused("token", "decode", put=text).splitlines()) == 1


def test_decode_of_a_hostile_token(shell: Shell) -> None:
    """Text of a token cannot move the cursor, start a line, or be shown as another number."""
    hostile = token({"a": "\x1b[2J\nheader alg  none", "n": "1e5", "b": ["\x9b0m"]})
    output = shell.done("token", "decode", put=hostile)
    assert "\x1b" not in output
    assert "\x9b" not in output
    assert re.search(r"^header alg +HS256$", output, flags=re.MULTILINE)
    assert len(re.findall(r"^header alg", output, flags=re.MULTILINE)) == 1
    assert re.search(r" 1e5$", output, flags=re.MULTILINE)


def test_names_of_claims_are_escaped(shell: Shell) -> None:
    """Names of claims cannot control the terminal; as JSON, nothing of them is lost."""
    name = "\x1b[2J\x9b1m\u202e\r\n" + "exp\x7f\u2028"
    hostile = token({name: "x", "nested": {name: [name]}, "\U000e0041": 1})
    for options in ((), ("--json",)):
        output = shell.done("token", "decode", *options, put=hostile)
        assert all(letter == "\n" or letter.isprintable() for letter in output)
    assert json.loads(output)["claims"] == {name: "x", "nested": {name: [name]}, "\U000e0041": 1}


def test_errors_are_escaped(shell: Shell, tmp_path: Path) -> None:
    """Content and names of files are escaped in errors and in the output of apply."""
    entry = application(**{"name": "X", "\x1b[2Jtoken": "x"})
    for name, content in (
        ("a.json", json.dumps({"application": [entry]})),
        ("b\x1b[2J\n.json", "{"),
        ("c.toml", '"\\u001b]0;x" = 1\napplication = []'),
    ):
        (tmp_path / name).write_text(content)
        output = shell.refused("application", "apply", str(tmp_path / name))
        assert output.count("\n") == 1
        assert all(letter == "\n" or letter.isprintable() for letter in output), output


@pytest.mark.parametrize("form", ["toml", "json"])
def test_an_export_is_escaped(shell: Shell, caller: Caller, tmp_path: Path, form: str) -> None:
    """An export is safe to show on a terminal, and its escaped values are applied unchanged."""
    secret = "s\x9b1m\u202e\U000e0041" + "x" * 40
    assert caller.post("update", application(name="X", secret=secret)).status_code == 200
    output = shell.done("application", "export", "--secrets", "--format", form, "X")
    assert all(letter == "\n" or letter.isprintable() for letter in output), output
    (tmp_path / f"x.{form}").write_text(output)
    assert shell.done("application", "apply", str(tmp_path / f"x.{form}")) == "nothing to change\n"


@pytest.mark.parametrize("payload", ['{"a": 1, "a": 2}', '{"a": NaN}', "[1]", "[" * 5000])
def test_a_payload_that_is_not_json(shell: Shell, caller: Caller, payload: str) -> None:
    """The command refuses the payloads that the API refuses, in one line."""
    caller.post("update", SAMPLE_APPLICATION)
    assert len(shell.refused("token", "generate", "ERP", "--username", "lena", "--payload", payload).splitlines()) == 1


def test_revoke(shell: Shell, caller: Caller) -> None:
    """A revoked token is refused; to revoke it again succeeds."""
    for _ in range(2):
        assert shell.said("token", "revoke", put=token(claims()) + "\n") == "The token is revoked\n"
        assert caller.get(DETAIL, {"Authorization": f"Bearer {token(claims())}"}).status_code == 401


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "three parts"),
        (token(claims(), "of somebody else"), "no application here signed it"),
        (token(claims(exp=NOW - 3600)), "ERP: expired 3600 s ago"),
        (token(claims(loginname=5)), "ERP: the user name in loginname must be text"),
    ],
)
def test_revoke_of_a_token_that_is_not_accepted(
    shell: Shell, caller: Caller, settings: Settings, text: str, message: str
) -> None:
    """A token that cannot be revoked is reported in one line with exit code 1; the API succeeds (RFC 7009)."""
    output = shell.refused("token", "revoke", put=text + "\n")
    assert output.startswith("Nothing was revoked: ")
    assert message in output
    assert len(output.splitlines()) == 1
    assert records_in(settings.data_dir, "revocations") == []
    if text:
        assert caller.post("revoke", {"token": text}).json == {"success": True, "msg": "success"}


def test_revoke_by_name(shell: Shell, caller: Caller, settings: Settings, clock: Clock) -> None:
    """The options revoke by id, by jti, and all tokens up to a time; unknown names are a warning, not an error."""
    caller.post("update", application(name="CRM", secret="other"))
    headers = {"Authorization": f"Bearer {token(claims(jti='7'))}"}
    assert caller.get(DETAIL, headers).status_code == 200
    (line,) = caller.get("audit?event=sign_in&user=lena").json["data"]
    assert shell.said("token", "revoke", "--id", line["target"]["token"]) == "The token is revoked\n"
    assert caller.get(DETAIL, headers).status_code == 401
    other = {"Authorization": f"Bearer {token(claims(jti='8'))}"}
    assert caller.get(DETAIL, other).status_code == 200
    assert shell.said("token", "revoke", "--jti", "8", "--application", "erp") == "The token is revoked\n"
    assert caller.get(DETAIL, other).status_code == 401
    clock.advance(60)
    said = shell.said("token", "revoke", "--user", "LENA", "--application", "CRM", "--before", "30s")
    assert re.fullmatch(
        r"Revoked for lena \(tokens of CRM\) on 2024-08-06T07:32:56Z by \S+: tokens issued up to 2024-08-06T07:32:26Z"
        r" are refused, and until 2024-08-07T07:3\d:\d\dZ also tokens without iat, which may be older\n",
        said,
    )
    said = shell.said("token", "revoke", "--user", "nobody", "--before", "2024-08-06")
    assert said.startswith("warning: no user is called nobody\nRevoked for nobody on ")
    long_ago = shell.said("token", "revoke", "--application", "ERP", "--before", "2020-01-01")
    assert long_ago.endswith("tokens issued up to 2020-01-01T00:00:00Z are refused\n")
    done = json.loads(shell.done("token", "revoke", "--application", "Portal", "--before", "now", "--json"))
    assert done == {"revoked": True, "warnings": ["no application is called Portal"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--id", "0" * 12), "id has 12 of the 32 digits: give all of them"),
        (("--user", "lena"), "before is missing"),
        (("--before", "now"), "application is missing"),
        (("--jti", "7"), "application is missing"),
        (("--before", "tomorrow", "--user", "lena"), "before must be a time such as"),
        (("--before", "2099-01-01", "--user", "lena"), "before must not be in the future: now revokes all"),
        (("x.y.z", "--user", "lena", "--before", "now"), "cannot be given together with token"),
    ],
)
def test_revoke_with_wrong_options(shell: Shell, settings: Settings, arguments: tuple[str, ...], message: str) -> None:
    """A mixed or incomplete form is refused in one line that says what to give."""
    output = shell.refused("token", "revoke", *arguments)
    assert message in output, output
    assert len(output.splitlines()) == 1
    assert records_in(settings.data_dir, "cut_offs") == records_in(settings.data_dir, "revocations") == []


def test_show_cut_offs(shell: Shell, caller: Caller) -> None:
    """The commands that show a user or an application show the cut-offs in force, in a table as sentences."""
    assert caller.get(DETAIL, {"Authorization": f"Bearer {token(claims())}"}).status_code == 200
    assert "cut_offs" not in shell.done("user", "show", "lena") + shell.done("application", "show", "ERP")
    caller.post("revoke", {"user": "lena", "application": "ERP", "before": "now"})
    for words in (("user", "show", "lena"), ("application", "show", "ERP")):
        shown = shell.done(*words)
        assert "revoked for lena (tokens of ERP) on 2024-08-06T07:31:56Z by admin: tokens" in shown
        assert "and until 2024-08-07T07:31:56Z also tokens without iat" in shown
        (found,) = json.loads(shell.done(*words, "--json"))["cut_offs"]
        assert found == {"user": "lena", "application": "ERP", "before": NOW * 1000, "set": NOW * 1000, "by": "admin"}
