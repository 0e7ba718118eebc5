"""OpenAPI document: complete, in agreement with the calls, and usable by tools."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.errors import RuleError, StoreUnavailable, TooManyAttempts
from datafor_token.requests import user_schemas
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.requests.fields import RuleField
from datafor_token.requests.schemas import IssuedSchema, ReadySchema
from datafor_token.requests.user_schemas import UsersSchema
from datafor_token.settings import Settings
from datafor_token.validation import names
from datafor_token.web.openapi.call import call_of
from datafor_token.web.openapi.document import ANY_METHOD
from datafor_token.web.openapi.rule_schemas import RULE_SCHEMAS
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.handmade_tokens import claims, token
from tests.support import (
    ADMIN_PASSWORD,
    API,
    ROOT,
    SAMPLE_APPLICATION,
    STRONG_SECRET,
    Clock,
    Server,
    application,
    basic,
    key_for,
    public_pem,
)

MODELER = API.removesuffix("/token")
# These return documents and files.
PAGES = {
    "redirect_docs",
    "redirect_guide",
    "get_description",
    "get_metrics",
    "show_docs",
    "get_docs_file",
    "show_guide",
    "show_guide_page",
    "show_sign_in",
    "show_frame",
    "get_embed_script",
}
LOGIN, LOGOUT = (f"/plugin/datafor/api/extension/auth/{what}" for what in ("login", "logout"))


@pytest.fixture
def description(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(app.test_client().get("/openapi.json").data)
    return found


def operations(description: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): found for path, item in description["paths"].items() for method, found in item.items()
    }


def test_it_is_openapi_3_1(description: dict[str, Any]) -> None:
    """The document is valid OpenAPI 3.1."""
    OpenAPIV31SpecValidator(description).validate()
    assert description["openapi"].startswith("3.1.")


def test_every_call_is_described_and_nothing_else(app: Flask, description: dict[str, Any]) -> None:
    """The document has one operation, with its own identifier, for each route and method, and no others."""
    expected = set()
    rules = [rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith("console.")]
    for rule in rules:
        path = re.sub("<([a-z]+)>", r"{\1}", rule.rule)
        expected |= {(method, path) for method in (rule.methods or set(ANY_METHOD)) - {"HEAD"}}
        expected |= {("HEAD", path)} if rule.methods is None else set()
    found = operations(description)
    assert found.keys() == expected
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for operation in found.values():
        assert operation["summary"]
        assert operation["responses"]


@pytest.mark.own_app
def test_a_view_without_a_declaration_is_an_error(app: Flask) -> None:
    """A route whose view has no declaration makes the document fail, and the error names the view."""

    def undeclared() -> str:
        return ""

    app.add_url_rule("/other", view_func=undeclared)
    app.testing = True
    with pytest.raises(LookupError, match="undeclared has no declaration"):
        call_of(undeclared)
    assert app.test_client().get("/openapi.json").status_code == 500


def form_of(description: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    name = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["$ref"].rpartition("/")[2]
    found: dict[str, Any] = description["components"]["schemas"][name]
    return found


def test_the_bodies_are_those_that_the_views_read(caller: Caller, description: dict[str, Any]) -> None:
    """Each call accepts exactly the fields of its described body."""
    bodies = {path: operation for (_, path), operation in operations(description).items() if "requestBody" in operation}
    fields = set().union(*(form_of(description, operation)["properties"] for operation in bodies.values())) | {
        "unknown"
    }
    assert len(bodies) > 10
    for path, operation in bodies.items():
        # A value that every field refuses, so that nothing is changed.
        said = {field: caller.post(path, {field: {"": [[]]}}).json.get("errors", {}) for field in fields}
        unknown = {
            field
            for field, errors in said.items()
            if any("is not a field of this call" in one[0] for one in errors.values()) or "request" in errors
        }
        assert fields - unknown == set(form_of(description, operation)["properties"]), path
        missing = caller.post(path, {}).json.get("errors", {})
        must = form_of(description, operation).get("required", [])
        assert {field for field in missing if missing[field] == [f"{field} is missing"]} == set(must), path


def test_a_view_without_a_body_reads_none(caller: Caller, description: dict[str, Any]) -> None:
    """A call without a described body ignores any body."""
    for (method, path), operation in operations(description).items():
        if method == "POST" and "requestBody" not in operation:
            assert caller.post(path, "{", content_type="text/plain").status_code not in (400, 415)


def test_the_query_parameters_are_those_that_the_views_read(caller: Caller, description: dict[str, Any]) -> None:
    """Each described query parameter is checked by its call."""
    broken = {"name": "_", "username": ":", "next": "x", "withRole": "%00", "filter": "%00", "arrived": "x"}
    seen = set()
    for (method, path), operation in operations(description).items():
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "query" and path != "/auth/check":
                seen.add(name)
                response = caller.open(method, f"{path}?{name}={broken.get(name, '')}", None)
                assert response.status_code == (401 if name == "ticket" else 400), (path, name)
                left_out = caller.open(method, path, None).status_code == 400
                assert left_out is parameter["required"], (path, name)
    schemas = AuditSchema, IssuedSchema, ReadySchema, UsersSchema
    assert seen == {*broken, "ticket", *(name for schema in schemas for name in schema().fields)}


def all_ruled_fields(app: Flask) -> list[RuleField[Any]]:
    calls = [call_of(view) for endpoint, view in app.view_functions.items() if not endpoint.startswith("console.")]
    kinds = {schema for call in calls for schema in (call.body, call.query) if schema is not None}
    return [field for kind in kinds for field in kind().fields.values() if isinstance(field, RuleField)]


def test_a_rule_takes_what_its_description_allows(app: Flask) -> None:
    """The JSON Schema of a field allows every sample value that its rule accepts."""
    for_new_values: dict[Callable[..., object], Callable[[Any], object]] = {
        names.stored_token_name: names.token_name,
        user_schemas.profile_text: names.new_profile_text,
        user_schemas.user_roles: lambda value: [
            names.new_user_role_name(role) for role in (value.split("&") if isinstance(value, str) else value) if value
        ],
    }
    values: list[Any] = [
        *("ERP", "Größe", "1", "0", "_x", "a b", "", "x" * 65, "a:b", "/x", "/x?y=//z", "//x", "/a\\b", "x\n", "exp"),
        *("token", "name", "HS256", "none", "************", 1, 0, -1, 60, 10**10, True, False, {}, {"x": [1]}),
        *([], ["a"], ["Administrator", "SYS_Reader"], ["SYS_Reader", "x"]),
        *("https://id.example/keys", "HTTP://[::1]:8/", "10.0.0.0/255.0.0.0", ["::ffff:10.0.0.0/104"], "*", "own"),
        *("at+jwt", "application/at+JWT", ["name", "roles"], {"/a/b": [1.5, True, "x"], "c": "SYS_Creator"}, "/exp"),
    ]
    checked = 0
    for field in all_ruled_fields(app):
        if field.schema_rule not in RULE_SCHEMAS:
            continue  # an object with a schema of its own
        schema = RULE_SCHEMAS[field.schema_rule]
        for value in values:
            try:
                field.rule(value)
                for_new_values.get(field.schema_rule, str)(value)
            except RuleError:
                continue
            jsonschema.validate(value, schema)
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("value", [" x", "a:b", "a\x00", "", "x" * 129])
def test_bad_user_names_are_bad_in_the_description_too(value: str) -> None:
    """The JSON Schema of user names refuses what the rule refuses in ASCII."""
    (schema,) = [found for rule, found in RULE_SCHEMAS.items() if getattr(rule, "__name__", "") == "user_name"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


class Documented:
    """Client that validates each response against the document."""

    def __init__(self, app: Flask, description: dict[str, Any]) -> None:
        self.client, self.description = app.test_client(use_cookies=False), description
        self.seen: set[str] = set()

    def call(
        self, method: str, path: str, status: int = 200, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        sent = basic() if headers is None else headers
        response = self.client.open(path, method=method, headers=sent, **options)
        assert response.status_code == status, response.data
        self.check(response, method, path.partition("?")[0])
        return response.get_json()

    def check(self, response: TestResponse, method: str, path: str) -> None:
        operation = self.description["paths"][path][method.lower()]
        found = operation["responses"][str(response.status_code)]
        if "$ref" in found:
            found = self.description["components"]["responses"][found["$ref"].rpartition("/")[2]]
        schema = {**found["content"][response.mimetype]["schema"], "components": self.description["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.get_json())
        if response.status_code < 400:
            self.seen.add(operation["operationId"])
            named = set(found["headers"])
            assert {name for name in ("Location", "Remote-User") if name in response.headers} <= named
            assert ("Set-Cookie" not in response.headers) or "Set-Cookie" in named


def call_personal_tokens(to: Documented) -> None:
    jti = to.call("POST", f"{API}/personal", json={"label": "nightly", "expire": 60})["jti"]
    assert to.call("GET", f"{API}/personal/list")["data"]
    to.call("GET", f"{API}/personal/list?username=nobody", 404)
    to.call("POST", f"{API}/personal/revoke", json={"jti": jti})
    to.call("POST", f"{API}/personal/revoke", 404, json={"jti": "x"})


def call_dry_runs(to: Documented) -> None:
    """Call the calls that rehearse a change; one of the tokens would be refused."""
    changed = application(secret=STRONG_SECRET, issuer="portal", dry_run="1", initpwd="another secret")
    assert to.call("POST", f"{API}/update", json=changed)["rehearsal"]["rules"][0]["examples"]
    assert to.call("POST", f"{API}/update", json=application(name="New", dry_run="1"))["warnings"]
    assert to.call("POST", f"{API}/rotate", json={"name": "ERP", "dry_run": "1"})["after_grace"]["refused"]
    to.call("POST", f"{API}/rotate", json={"name": "ERP", "dry_run": "1", "grace": 0, "days": 1})
    to.call("POST", f"{API}/delete", json={"name": "ERP", "dry_run": "1"})
    to.call("POST", f"{API}/deleteBatch", json={"name": ["ERP", "none"], "dry_run": "1"})
    rehearsed = to.call("POST", f"{API}/rehearse", json={"require_strong_secrets": True, "leeway": 0.5})
    assert rehearsed["rehearsal"]["sign_ins"]
    to.call("POST", f"{API}/rehearse", 400, json={})


def call_users(to: Documented) -> None:
    """Call the calls that list, change and delete users."""
    to.call("GET", f"{MODELER}/roles/types")
    assert to.call("GET", f"{MODELER}/user/list")["data"]["total"]
    to.call("POST", f"{MODELER}/user/insertOrUpdate", json={"username": "lena", "roles": "A&B"})
    to.call("POST", f"{MODELER}/user/insertOrUpdate", 409, json={"username": "admin", "enabled": "0"})
    to.call("POST", f"{MODELER}/user/delete", json={"username": "lena"})
    to.call("POST", f"{MODELER}/user/delete", 404, json={"username": "lena"})
    to.call("POST", f"{MODELER}/user/delete", 409, json={"username": "admin"})


def change_passwords(to: Documented) -> dict[str, str]:
    """Call the calls that change the caller's password, and return the credential with the last one."""
    new = {"old": ADMIN_PASSWORD, "new": "another one"}
    to.call("POST", f"{MODELER}/user/password", json=new)
    there = basic(password="another one")
    newer = {"oldPwd": "another one", "newPwd": "the last one"}
    to.call("POST", f"{MODELER}/user/updatePassword", headers=there, json=newer)
    return basic(password="the last one")


def test_responses_match_their_schemas(  # noqa: PLR0915 - one call after another
    app: Flask, clock: Clock, description: dict[str, Any]
) -> None:
    """Successful responses of every call, and errors of many, match their schemas."""
    to = Documented(app, description)
    lena = token(claims(loginname="lena", exp=int(clock.now) + 600), STRONG_SECRET)
    to.call("POST", f"{API}/update", json=SAMPLE_APPLICATION)
    to.call("POST", f"{API}/update", json=application(secret=STRONG_SECRET, self_service="1", initpwd="secret"))
    to.call("POST", f"{API}/update", 409, json=application(name="erp"))
    key = public_pem(key_for("ES256"))
    to.call("POST", f"{API}/update", json=application(name="CRM", token_name="t", secret=key, algorithm="ES256"))
    to.call("GET", f"{API}/list")
    assert to.call("GET", f"{API}/content?name=ERP")["initpwd"]
    to.call("GET", f"{API}/content?name=none", 404)
    to.call("GET", f"{API}/content", 400)
    to.call("GET", f"{API}/content?name=ERP", 401, headers={})
    to.call("POST", f"{API}/generate", json={"name": "ERP"})
    to.call("POST", f"{API}/generate", 403, json={"name": "ERP", "privateKey": "x"})
    to.call("POST", f"{API}/generate", 415, data=b"x", content_type="text/plain")
    to.call("POST", f"{API}/generate", 413, data=b" " * 70000, content_type="application/json")
    assert to.call("GET", f"{API}/personal/config")["enabled"]
    call_personal_tokens(to)
    for one in (lena, lena[:-2] + "AA", "x"):
        to.call("POST", f"{API}/explain", json={"token": one})
        to.call("POST", f"{API}/introspect", json={"token": one})
    url = to.call("POST", f"{API}/link", json={"name": "ERP", "username": "lena"})["url"]
    to.call("GET", url, 303)
    to.call("GET", url, 401)
    to.call("GET", "/auth/leave", headers={})
    to.call("POST", "/auth/leave?next=/", 303)
    to.call("POST", "/auth/sign-in", 303, json={"username": "admin", "password": ADMIN_PASSWORD})
    to.call("POST", "/auth/sign-in", 401, json={"username": "admin", "password": "x", "next": "/"})
    for method in ANY_METHOD:
        if method != "HEAD":
            to.call(method, "/auth/check", headers={"Authorization": f"Bearer {lena}"})
            to.call(method, "/auth/check", 401, headers={})
    to.seen |= {"check_by_head"}  # no body, so nothing to hold against a schema
    call_dry_runs(to)
    to.call("GET", "/.well-known/jwks.json")
    to.call("GET", "/.well-known/gate-jwks.json")
    assert to.call("POST", f"{API}/rotate", json={"name": "ERP", "grace": 600})["secret"]
    to.call("POST", f"{API}/rotate", json={"name": "ERP", "secret": "easy", "grace": 0})
    to.call("GET", f"{API}/list")
    assert "next" in to.call("GET", f"{API}/audit?limit=1")
    assert {"fields", "reason"} <= {name for event in to.call("GET", f"{API}/audit")["data"] for name in event}
    to.call("POST", f"{API}/revoke", json={"token": lena})
    assert len(to.call("GET", f"{API}/issued?limit=1")["data"]) == 1
    to.call("GET", f"{MODELER}/user/detail?username=lena")
    call_users(to)
    to.call("POST", LOGIN, json={"username": "admin", "password": ADMIN_PASSWORD})
    to.call("POST", LOGIN, 401, json={"username": "admin", "password": "x"})
    assert to.call("GET", f"{MODELER}/user/sessions")["data"]
    to.call("POST", f"{MODELER}/user/sessions/end", 400, json={})
    to.call("POST", f"{MODELER}/user/sessions/end", 404, json={"id": "x"})
    to.call("POST", f"{MODELER}/user/sessions/end", json={"username": "admin"})
    to.call("GET", LOGOUT)
    to.call("POST", LOGOUT)
    there = change_passwords(to)
    to.call("POST", f"{API}/delete", headers=there, json={"name": "ERP"})
    to.call("POST", f"{API}/deleteBatch", headers=there, json=["CRM"])
    for path in ("/healthz", "/readyz"):
        to.call("GET", path, headers={})
    assert to.seen == {operation["operationId"] for operation in operations(description).values()} - PAGES


def test_a_trust_policy_matches_its_schemas(app: Flask, description: dict[str, Any]) -> None:
    """Responses about an application with a trust policy, and about one with a provider, match their schemas."""
    to = Documented(app, description)
    key = public_pem(key_for("ES256"))
    policy = {
        "audience": "crm", "require": {"/realm/roles": ["a", True]}, "token_types": ["JWT", "at+jwt"],
        "max_lifetime": 86400, "networks": "10.0.0.0/8", "users": "own", "report": ["issuer", "users"],
        "sync": ["roles"], "roles_claim": "roles", "roles_map": {"staff": "Sales"},
        "origins": ["https://portal.example"], "session_idle": 60, "session_max": 31536000, "rate": "1000000/day",
    }  # fmt: skip
    to.call("POST", f"{API}/update", json=application(name="CRM", secret=key, algorithm="ES256", **policy))
    provider = {"jwks_uri": "https://localhost:1/keys", "issuer": "https://id.example"}
    to.call("POST", f"{API}/update", json=application(name="Portal", secret=None, algorithm="ES256", **provider))
    assert policy.keys() <= to.call("GET", f"{API}/content?name=CRM").keys()
    assert provider.keys() <= to.call("GET", f"{API}/content?name=Portal").keys()
    to.call("GET", f"{API}/list")


def test_a_bug_an_outage_and_too_many_attempts_match_their_schemas(
    app: Flask, description: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Responses to a bug, an outage and throttling match their schemas."""
    to = Documented(app, description)

    for error, status in ((OSError("disk"), 500), (StoreUnavailable(), 503), (TooManyAttempts(9), 429)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("datafor_token.store.files.store.FileStore.stamp", fail)
        to.call("GET", f"{API}/list", status)


def test_cut_offs_match_their_schemas(app: Flask, description: dict[str, Any]) -> None:
    """Responses that set and show cut-offs, and the error of their second, match their schemas."""
    to = Documented(app, description)
    to.call("POST", f"{API}/update", json=SAMPLE_APPLICATION)
    to.call("GET", "/auth/check", headers={"Authorization": f"Bearer {token(claims())}"})
    for whose in ({"user": "lena"}, {"application": "ERP"}, {"user": "lena", "application": "ERP"}):
        to.call("POST", f"{API}/revoke", json={**whose, "before": "now"})
    assert to.call("POST", f"{API}/revoke", json={"id": "0" * 32})["warnings"]
    assert to.call("POST", f"{API}/generate", 503, json={"name": "ERP", "username": "lena"})["msg"]
    assert to.call("GET", f"{API}/content?name=ERP")["cut_offs"]
    assert to.call("GET", f"{MODELER}/user/detail?username=lena")["data"]["user"]["cut_offs"]
    to.call("GET", f"{API}/audit?event=tokens_cut_off")


def test_the_reasons_are_those_of_the_code(description: dict[str, Any]) -> None:
    """The described reasons are those of the page of calls and of the code."""
    reasons = description["components"]["schemas"]["ExplainResponse"]["properties"]["reason"]["enum"]
    code = "".join((ROOT / "datafor_token/tokens" / f"{module}.py").read_text() for module in ("verifier", "signin"))
    given = set(re.findall(r'Refused\(\s*"\w+",\s*"(\w+)"', code)) | set(re.findall(r'Verification\("(\w+)"', code))
    assert given <= set(reasons)
    text = (ROOT / "docs/http-api.md").read_text().partition("`reason` is `null`")[2].partition("; the last")[0]
    assert [reason for reason in reasons if reason] == re.findall(r"`(\w+)`", text)


def test_the_examples_are_the_documented_ones(description: dict[str, Any]) -> None:
    """The examples of update and generate are the documented ones."""
    update = description["paths"][f"{API}/update"]["post"]
    assert update["requestBody"]["content"]["application/json"]["example"] == SAMPLE_APPLICATION
    assert update["responses"]["200"]["content"]["application/json"]["example"] == {"success": True, "msg": "success"}
    generate = description["paths"][f"{API}/generate"]["post"]
    example = {"name": "ERP", "privateKey": "abcd", "username": "admin"}
    assert generate["requestBody"]["content"]["application/json"]["example"] == example
    shown = generate["responses"]["200"]["content"]["application/json"]["example"]
    assert shown["token"] == token({"ERP": "admin", "exp": 1723015916})


def test_examples_match_their_schemas(description: dict[str, Any]) -> None:
    """Every example of a body or response matches its schema."""
    checked = 0
    for operation in operations(description).values():
        contents = [found.get("content", {}) for found in operation["responses"].values()]
        contents += [operation.get("requestBody", {}).get("content", {})]
        contents += [found.get("content", {}) for found in description["components"]["responses"].values()]
        for media in (media for content in contents for media in content.values()):
            schema = {**media["schema"], "components": description["components"]}
            for example in [media.get("example"), *(one["value"] for one in media.get("examples", {}).values())]:
                if example is not None:
                    jsonschema.Draft202012Validator(schema).validate(example)
                    checked += 1
    assert checked > 100


def test_a_prefix_is_the_servers_and_not_the_paths(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """``servers`` has URL_PREFIX and the prefix of a trusted proxy; paths have neither."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    moved = dataclasses.replace(settings, url_prefix="/datafor", trusted_proxies=1, trust_forwarded_prefix=True)
    app = create_app(moved, hasher=CHEAP_FOR_TESTS_ONLY)
    for headers, server in (({}, "/datafor"), ({"X-Forwarded-Prefix": "/a/b"}, "/a/b/datafor")):
        found = app.test_client().get("/datafor/openapi.json", headers=headers).get_json()
        assert found["servers"] == [{"url": server}]
        assert f"{API}/update" in found["paths"]
    injected = app.test_client().get("/datafor/openapi.json", headers={"X-Forwarded-Prefix": '/"}]'}).get_json()
    assert injected["servers"] == [{"url": "/datafor"}]


@pytest.mark.slow
def test_a_generated_client_works(server: Server, tmp_path: Path) -> None:
    """A client from a public generator creates an application and generates a token."""
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    url = f"http://127.0.0.1:{server.port}"
    # The generator formats its output with the ruff in PATH.
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command += ["--output-path", str(tmp_path / "made_client"), "--url", f"{url}/openapi.json"]
    done = subprocess.run(command, env=path, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # A secret of its own: with a shared one, introspection would name the first application.
    secret = "generated-" + STRONG_SECRET
    program = f"""
import json
import os
from made_client import AuthenticatedClient
from made_client.api.applications import update_application
from made_client.api.tokens import generate_token
from made_client.models import GenerateRequest, UpdateRequest
credential = {basic()["Authorization"].removeprefix("Basic ")!r}
client = AuthenticatedClient(base_url={url!r}, token=credential, prefix="Basic")
application = UpdateRequest.from_dict({application(name="Generated", secret=secret)!r})
print(update_application.sync(client=client, body=application).success)
body = GenerateRequest(name="Generated", private_key={secret!r}, username="lena")
print(generate_token.sync(client=client, body=body).token)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    success, made = done.stdout.split()
    assert success == "True"
    introspection = server.post("introspect", {"token": made}).json
    assert (introspection["active"], introspection["username"], introspection["client_id"]) == (
        True,
        "lena",
        "Generated",
    )


def test_the_order_of_schemas(description: dict[str, Any]) -> None:
    """The schemas of forms have the order of the calls, so that all workers serve the same document."""
    bodies = re.findall(r'"#/components/schemas/(\w+Form)"', json.dumps(description["paths"]))
    assert [name for name in description["components"]["schemas"] if name.endswith("Form")] == list(
        dict.fromkeys(bodies)
    )
