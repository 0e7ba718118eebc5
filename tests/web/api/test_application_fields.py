"""Fields of an application: each that ``Application`` declares is in the API, console, commands and declared files."""

import re

import pytest
from flask import Flask

from datafor_token.applications.record import FIELDS
from datafor_token.cli.applications import add, set_fields
from datafor_token.operations import declared
from datafor_token.requests.schemas import ApplicationSchema
from datafor_token.web.openapi.response_schemas import ApplicationObject
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application
from tests.web.api.test_sent_back import POLICY

LOGIN = "/plugin/datafor/api/extension/auth/login"
# Fields that a command has no option for, with the reason.
NO_OPTION = {
    "secret": "read from a file or a prompt",
    "enable": "has commands of its own: enable and disable",
    "initpwd": "a password on a command line would be visible to other users; a declared file can have it",
}


def test_the_call_and_its_response_have_every_field() -> None:
    """The schema of ``token/update``, and that of an application in responses, have every declared field."""
    assert FIELDS.keys() == ApplicationSchema().fields.keys()
    assert FIELDS.keys() <= ApplicationObject().fields.keys()


def test_the_openapi_document_has_every_field(app: Flask) -> None:
    """The document describes every declared field, in each form of the request and in the response."""
    components = app.test_client().get("/openapi.json").get_json()["components"]["schemas"]
    for name in ("UpdateRequest", "UpdateForm", "UpdateParts", "ApplicationObject"):
        assert FIELDS.keys() <= components[name]["properties"].keys(), name
    descriptions = {name: components["UpdateRequest"]["properties"][name].get("description") for name in FIELDS}
    # An object is described by its own schema.
    assert [name for name, text in descriptions.items() if not text and name != "fieldmap"] == []


TABS = [f"applications/ERP/{tab}" for tab in ("settings", "trust", "keys")]


@pytest.mark.parametrize(("paths", "fixed"), [(["new-application"], set()), (TABS, {"name", "enable"})])
def test_the_console_has_every_field(app: Flask, caller: Caller, paths: list[str], fixed: set[str]) -> None:
    """The forms of a new and of a stored application have an input for every declared field, but for the buttons'."""
    caller.post("update", application(secret=STRONG_SECRET))
    client = app.test_client()
    client.post(LOGIN, json={"username": "admin", "password": ADMIN_PASSWORD})
    form = "".join(client.get(f"/console/{path}").text for path in paths)
    inputs = {name.partition("[")[0] for name in re.findall(r'<(?:input|select|textarea)[^>]* name="([^"]+)"', form)}
    assert FIELDS.keys() - inputs == fixed


def test_the_commands_have_every_field() -> None:
    """The commands add and set have an argument or option for every declared field, except for those with a reason."""
    for command in (add, set_fields):
        names = {str(parameter.name) for parameter in command.params}
        members = {"fieldmap" for name in names if name.startswith("claim_")}
        assert FIELDS.keys() - names - members == NO_OPTION.keys(), command.name


def test_declared_files_have_every_field(app: Flask, caller: Caller) -> None:
    """An exported application with its secrets has every declared field, and the schema of files reads it."""
    caller.post("update", application(**POLICY, secret=STRONG_SECRET, initpwd="a-long-Password-7"))
    with app.app_context():
        entry = declared.declaration(services().registry.get("ERP"), with_secrets=True)
    # One of secret and jwks_uri replaces the other.
    assert entry.keys() == FIELDS.keys() - {"jwks_uri"}
