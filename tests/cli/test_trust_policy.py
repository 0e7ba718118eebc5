"""``datafor-token application``: the fields of the trust policy, on command lines and in declared files."""

import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from datafor_token.applications.record import POLICY
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.support import STRONG_SECRET, application, key_for, public_pem
from tests.web.api.test_sent_back import APPLICATIONS

KEY = public_pem(key_for("ES256"))
OPTIONS: dict[str, tuple[list[str], Any]] = {
    "audience": (["--audience", "erp", "--audience", "https://erp.example"], ["erp", "https://erp.example"]),
    "issuer": (["--issuer", "https://id.example"], "https://id.example"),
    "require": (["--require", "azp=erp"], {"azp": "erp"}),
    "token_types": (["--token-type", "JWT", "--token-type", "at+jwt"], ["JWT", "at+jwt"]),
    "max_lifetime": (["--max-lifetime", "90000"], 90000),
    "networks": (["--network", "10.0.0.0/8", "--network", "::1"], ["10.0.0.0/8", "::1/128"]),
    "users": (["--users", "own"], "own"),
    "roles_claim": (["--roles-claim", "/realm_access/roles"], "/realm_access/roles"),
    "roles_map": (["--roles-map", "CN=Sales,OU=x=Sales", "--roles-map", "b=B"], {"CN=Sales,OU=x": "Sales", "b": "B"}),
    "sync": (["--sync", "name", "--sync", "email"], ["name", "email"]),
    "origins": (["--origin", "https://a.example", "--origin", "http://b:81"], ["https://a.example", "http://b:81"]),
    "session_idle": (["--session-idle", "600"], 600),
    "session_max": (["--session-max", "3600"], 3600),
    "report": (["--report", "issuer", "--report", "users"], ["issuer", "users"]),
    "rate": (["--rate", "10000/hour"], "10000/hour"),
}  # fmt: skip


def shown(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell.done("application", "show", "ERP", "--json"))
    return found


@pytest.mark.parametrize("field", OPTIONS)
def test_each_option(shell: Shell, field: str) -> None:
    """Each field is set by its option of add and of set, stays with a change of another, and is cleared by ''."""
    options, value = OPTIONS[field]
    shell.done("application", "add", "ERP", *options, put=STRONG_SECRET)
    assert shown(shell)[field] == value
    shell.done("application", "set", "ERP", options[0], "")
    assert not shown(shell).get(field)
    shell.done("application", "set", "ERP", *options)
    assert shown(shell)[field] == value
    shell.done("application", "set", "ERP", "--expire", "60")
    assert shown(shell)[field] == value


def test_every_field_has_a_tested_option() -> None:
    """The table above has every field of the policy but jwks_uri."""
    assert {*OPTIONS, "jwks_uri"} == {*POLICY}


@pytest.mark.parametrize(
    ("given", "required"),
    [
        (["tenant=acme"], {"tenant": "acme"}),
        (["a=true", "b=false", "c=5", "d=-1.5"], {"a": True, "b": False, "c": 5, "d": -1.5}),
        (['a="5"', 'b="true"'], {"a": "5", "b": "true"}),
        (["a=True", "b=007", "c=null", "d=[1"], {"a": "True", "b": "007", "c": "null", "d": "[1"}),
        (['a={"x":1}'], {"a": '{"x":1}'}),
        (["a=1=2=="], {"a": "1=2=="}),
        (['a=["x", 1]', "a=y", "b=z"], {"a": ["x", 1, "y"], "b": "z"}),
        (["azp = erp", ' b= "5" '], {"azp": "erp", "b": "5"}),
        (["/realm_access/roles=erp"], {"/realm_access/roles": "erp"}),
    ],
)  # fmt: skip
def test_values_of_require(shell: Shell, given: list[str], required: dict[str, Any]) -> None:
    """A value is JSON if it is a truth value, number, list or quoted text, else text; one claim may have several."""
    shell.done("application", "add", "ERP", *(f"--require={one}" for one in given), put=STRONG_SECRET)
    assert shown(shell)["require"] == required


def test_show_tells_texts_from_numbers(shell: Shell) -> None:
    """Show has required values as --require takes them: a text that looks like JSON has its quotes."""
    given = ['a="5"', "b=5", "c=x", 'd=["x", 1]', "e=true", 'e=" x"', "f=[x"]
    shell.done("application", "add", "ERP", *(f"--require={one}" for one in given), put=STRONG_SECRET)
    line = next(one for one in shell.done("application", "show", "ERP").splitlines() if one.startswith("require "))
    assert line.split(None, 1)[1] == 'a="5", b=5, c=x, d=["x", 1], e=[true, " x"], f=[x'


def test_show_says_when_keys_were_fetched(shell: Shell) -> None:
    """Show has the keys of a provider in words: never, as long as no server has fetched them."""
    provider = ["--jwks-uri", "https://localhost:1/keys", "--issuer", "https://id.example", "--algorithm", "ES256"]
    shell.done("application", "add", "ERP", *provider)
    line = next(one for one in shell.done("application", "show", "ERP").splitlines() if one.startswith("keys "))
    assert line.split(None, 1)[1] == "fetched=never"


def test_a_provider(shell: Shell, caller: Caller) -> None:
    """With --jwks-uri, add asks for no secret, set replaces the secret, and a new secret replaces the provider."""
    provider = ["--jwks-uri", "https://localhost:1/keys", "--issuer", "https://id.example", "--algorithm", "ES256"]
    shell.done("application", "add", "ERP", *provider)
    assert shown(shell)["jwks_uri"] == "https://localhost:1/keys"
    output = shell.refused("application", "set", "ERP", "--jwks-uri", "")
    assert output.startswith("secret is missing: without jwks_uri, the application has no keys")
    shell.done("application", "set", "ERP", "--new-secret", put=KEY)
    assert (shown(shell)["secret"], "jwks_uri" in shown(shell)) == (KEY.rstrip("\n"), False)
    shell.done("application", "set", "ERP", "--jwks-uri", "https://localhost:1/keys")
    assert (shown(shell)["secret"], shown(shell)["jwks_uri"]) == ("************", "https://localhost:1/keys")
    # A secret that others can verify replaces it at once.
    output = shell.refused("application", "set", "ERP", "--algorithm", "HS256")
    assert "jwks_uri needs an algorithm with public keys" in output
    shell.done("application", "set", "ERP", "--algorithm", "HS256", "--new-secret", put=STRONG_SECRET)
    assert "jwks_uri" not in shown(shell)


def test_rotation_to_a_provider_and_back(shell: Shell, caller: Caller) -> None:
    """Rotated to a provider, the old key has its grace period; rotated to a key, the provider has none."""
    caller.post("update", application(algorithm="ES256", secret=KEY, issuer="https://id.example"))
    shell.done("application", "rotate", "ERP", "--jwks-uri", "https://localhost:1/keys")
    found = shown(shell)
    assert (found["jwks_uri"], "previous" in found) == ("https://localhost:1/keys", True)
    assert "jwks_uri is the present one" in shell.refused(
        "application", "rotate", "ERP", "--jwks-uri", "https://localhost:1/keys"
    )
    assert "secret is missing: the service makes none" in shell.refused("application", "rotate", "ERP")


@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize("kind", APPLICATIONS)
def test_export_and_apply(shell: Shell, caller: Caller, tmp_path: Path, kind: str, form: str) -> None:
    """An exported application of any kind is applied without a change, and is the same after its deletion."""
    caller.post("update", APPLICATIONS[kind])
    before = shown(shell)
    file = tmp_path / f"all.{form}"
    file.write_text(shell.done("application", "export", "--format", form, "--secrets"))
    assert shell.done("application", "apply", str(file)) == "nothing to change\n"
    shell.done("application", "delete", "ERP", "--yes")
    shell.done("application", "apply", str(file))
    after = shown(shell)
    # The keys of a provider are fetched in the background.
    different = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    assert different <= {"creatorId", "keys"}
    # For git: a shared secret stays.
    file.write_text(shell.done("application", "export", "--format", form))
    assert shell.done("application", "apply", str(file)) == "nothing to change\n"


def test_changes_of_the_policy(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """apply shows the old and the new value of each field of the policy that a file changes or clears."""
    caller.post("update", APPLICATIONS["policy"])
    file = tmp_path / "erp.toml"
    declared = {
        **APPLICATIONS["policy"],
        "secret": STRONG_SECRET,
        "audience": "erp",
        "users": "",
        "max_lifetime": 90000,
    }
    file.write_text(tomli_w.dumps({"application": [declared]}))
    lines = shell.done("application", "apply", str(file)).splitlines()
    assert lines == [
        "change ERP",
        r'    audience: ["portal", "[\"text\", that looks like a list"] -> ["erp"]',
        "    max_lifetime: 86400 -> 90000",
        "    users: own -> not set",
        "1 changed",
    ]
    assert shown(shell)["audience"] == ["erp"]


def test_a_field_that_a_file_leaves_out(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """A stored field of the policy that a file leaves out stays, and apply names it and says how to clear it."""
    caller.post("update", APPLICATIONS["policy"])
    file = tmp_path / "erp.json"
    kept = {name: value for name, value in APPLICATIONS["policy"].items() if name not in ("audience", "users")}
    file.write_text(json.dumps({"application": [kept]}))
    for options, output in ((["--dry-run"], "nothing would be changed\n"), ([], "nothing to change\n")):
        result = shell("application", "apply", str(file), *options)
        assert (result.exit_code, result.stdout) == (0, output)
        assert result.stderr.splitlines() == [
            'warning: ERP: audience is stored and not declared: it stays; declare audience = "" to clear it',
            'warning: ERP: users is stored and not declared: it stays; declare users = "" to clear it',
        ]
    assert shown(shell)["users"] == "own"
    file.write_text(json.dumps({"application": [{**kept, "audience": "", "users": ""}]}))
    shell.done("application", "apply", str(file))
    assert {"audience", "users"} & shown(shell).keys() == set()


def test_a_declared_provider(shell: Shell, tmp_path: Path) -> None:
    """A declared application with jwks_uri needs no secret; with both, it is refused."""
    file = tmp_path / "erp.json"
    provider = APPLICATIONS["provider"]
    file.write_text(json.dumps({"application": [provider]}))
    assert "create ERP" in shell.done("application", "apply", str(file))
    file.write_text(json.dumps({"application": [{**provider, "secret": KEY}]}))
    assert "jwks_uri cannot be given together with secret" in shell.refused("application", "apply", str(file))
