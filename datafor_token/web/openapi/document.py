"""The API description, OpenAPI 3.1: made by apispec from the schemas that validate and from ``calls``.

What a field of a request must be is found by its rule in ``stated``.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from datafor_token import errors
from datafor_token.errors import DataforTokenError
from datafor_token.requests import schemas
from datafor_token.requests.fields import CallSchema, Flag, Names, Ruled, Structure
from datafor_token.validation import names
from datafor_token.web.openapi import refusals
from datafor_token.web.openapi.operation import HEADERS, HEADERS_OF, SCHEMES, SECURITY, Call, Who
from datafor_token.web.openapi.stated import STATED

# Of the API, not of the program: it grows when a client must change.
_VERSION = "1"
_ABOUT = """\
Keeps applications whose signed tokens (JWT) are trusted, issues such tokens, and turns a token back into a user.

Every answer is a JSON object with `success`; where that is `false` also `code`, the status as text, and `msg`, one
sentence. A path that is no call is 404, another method than those here 405, both in the same form. A page of another
site that makes a browser call here gets 403."""
_SHAPES = """\
The object as JSON; or as a form, whose nested values are `fieldmap[username]=x`, `fieldmap.username=x` or JSON text
(`fieldmap={"username":"x"}`), its lists `initroles=A&initroles=B`, `initroles[]=A`, `initroles[0]=A` or JSON text; or
JSON under the type of a form, as `curl -d '{...}'` sends it. In JSON, null counts as left out."""
_FROM_A_PAGE = {
    "name": "Sec-Fetch-Site",
    "in": "header",
    "description": "set by browsers: from a page of another site the call is refused with 403",
    "schema": {"type": "string", "enum": ["same-origin", "none"]},
}
_TOO_LONG = "address or headers over 8190 bytes: refused by the web server, before the service"
_JSON, _FORM, _MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
# What a view that is routed for any method answers, as far as OpenAPI 3.1 has a word for it.
ANY_METHOD = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")


@dataclass(frozen=True)
class Route:
    """A rule of the URL map: its path as OpenAPI spells it, its methods (``None``: any), its view's docstring."""

    path: str
    methods: Iterable[str] | None
    endpoint: str
    says: str


def described(routes: Iterable[Route], calls: Mapping[str, Call]) -> dict[str, Any]:
    """The whole description but for ``servers``, in the order of ``calls``, which must have every route."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec("datafor_token", _VERSION, "3.1.0", plugins=[plugin], info={"description": _ABOUT})
    _converter(plugin).add_attribute_function(_ruled)  # type: ignore[no-untyped-call]  # apispec's
    for scheme, members in SECURITY.items():
        spec.components.security_scheme(scheme, members)
    for header, says in HEADERS.items():
        spec.components.header(header, {"description": says, "schema": {"type": "string"}})
    for status in refusals.KINDS:
        spec.components.response(f"Refused{status}", _refusal(status, refusals.schema_of(status)))
    spec.components.response("TooLong", {"description": _TOO_LONG, "content": {"text/html": {"schema": {}}}})
    for route in sorted(routes, key=lambda route: list(calls).index(route.endpoint)):
        operations = {
            method.lower(): _operation(plugin, route, calls[route.endpoint], method, number)
            for number, method in enumerate(ANY_METHOD if route.methods is None else sorted(route.methods))
        }
        spec.path(route.path, operations=operations)
    description = spec.to_dict()
    for schema in {call.body for call in calls.values() if call.body is not None}:
        _add_form(description["components"]["schemas"], schema)
    return description


def _converter(plugin: MarshmallowPlugin) -> OpenAPIConverter:
    if plugin.converter is None:
        raise TypeError("apispec makes the plugin's converter with the spec")
    return plugin.converter


def _name(schema: Any) -> str:
    """What a schema is called, in the description and so in clients that are made from it."""
    kind = schema if isinstance(schema, type) else type(schema)
    return re.sub("Schema$", "Request", kind.__name__)


def _operation(plugin: MarshmallowPlugin, route: Route, call: Call, method: str, number: int) -> dict[str, Any]:
    summary, _, rest = inspect.cleandoc(route.says).replace("``", "`").partition("\n")
    operation: dict[str, Any] = {
        # A call with several methods is one operation for each; names must differ.
        "operationId": call.id if number == 0 else f"{call.id}_by_{method.lower()}",
        "tags": [route.endpoint.partition(".")[0]],
        "summary": summary.removesuffix("."),
        "description": f"{call.who.value} {rest.strip()}".strip(),
        "security": [{scheme: []} for scheme in SCHEMES[call.who]],
        "responses": _responses(call),
    }
    # A call for any method is a proxy's question about another application.
    from_a_page = [_FROM_A_PAGE] if method == "POST" and route.methods is not None else []
    parameters = [*_query(plugin, call), *call.parameters, *from_a_page]
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        operation["requestBody"] = _body(call.body, call)
    return operation


def _query(plugin: MarshmallowPlugin, call: Call) -> list[dict[str, Any]]:
    if call.query is None:
        return []
    found: list[dict[str, Any]] = _converter(plugin).schema2parameters(call.query(), location="query")
    for parameter in found:
        # The words stand beside it, and there is no null in a query string.
        parameter["schema"] = _without_null(parameter["schema"])
        parameter["schema"].pop("description", None)
    return found


def _body(schema: type[CallSchema], call: Call) -> dict[str, Any]:
    """Every shape of contract section 2; JSON first, which generators take."""
    fields = schema().fields
    structures = [
        name for name, field in fields.items() if isinstance(field, Structure) and not isinstance(field, Names)
    ]
    brackets = {name: {"style": "deepObject", "explode": True} for name in structures}
    forms = [{"schema": {"$ref": f"#/components/schemas/{name}"}, "example": call.example} for name in _forms(schema)]
    in_json: Any = schema
    if call.takes_list:
        in_json = {"anyOf": [schema, {"type": "array", "items": STATED[names.application_name]}]}
    return {
        "required": any(field.required for field in fields.values()),
        "description": _SHAPES,
        "content": {
            _JSON: {"schema": in_json, "example": call.example},
            _FORM: forms[0] | ({"encoding": brackets} if brackets else {}),
            _MULTIPART: forms[1],
        },
    }


def _add_form(schemas_of: dict[str, Any], schema: type[CallSchema]) -> None:
    """Beside the object of a JSON body the same one as a form has it: without null, a flag as text."""
    found = schemas_of[_name(schema)]
    for name in schema.ignored:
        found["properties"].setdefault(name, {"description": "ignored"})
    properties = {}
    for name, member in found["properties"].items():
        properties[name] = _without_null(member)
        if "oneOf" in member:
            properties[name] |= {"oneOf": [{"type": "string", "enum": ["1", "0"]}]}
        if member.get("type") == "array":
            # A single one may come alone, and a form cannot say that there is none.
            said = member.get("description", "")
            properties[name] = {"description": said, "anyOf": [{**member, "minItems": 1}, member["items"]]}
    for name in _forms(schema):
        schemas_of[name] = {**found, "properties": properties}


def _without_null(member: dict[str, Any]) -> dict[str, Any]:
    kinds = member.get("type")
    return {**member, "type": kinds[0]} if isinstance(kinds, list) else {**member}


def _forms(schema: type[CallSchema]) -> tuple[str, str]:
    """Two names for the same: generated clients take the type of a body from its class."""
    return _name(schema).replace("Request", "Form"), _name(schema).replace("Request", "Parts")


def _responses(call: Call) -> dict[str, Any]:
    success: dict[str, Any] = {"headers": _headers(*call.headers)}
    if call.answer is None:
        success |= {"description": "As it is.", "content": {kind: {"schema": {}} for kind in call.media}}
    else:
        shown = {_JSON: {"schema": call.answer, "example": {"success": True, **call.shown}}}
        success |= {"description": inspect.getdoc(call.answer), "content": shown}
    if call.then:
        success["links"] = {name: {"operationId": name, **given} for name, given in call.then.items()}
    found: dict[str, Any] = {str(status): success for status in (call.status, *call.also)}
    found |= {"414": "TooLong", "431": "TooLong"}
    for status in sorted({kind.status for kind in _errors(call)}):
        own = call.refusals.get(status)
        found[str(status)] = f"Refused{status}" if own is None else _refusal(status, own)
    return found


def _errors(call: Call) -> Iterable[type[DataforTokenError]]:
    """What the call may refuse with: what follows from who may call and what is read, and what it says itself."""
    yield DataforTokenError
    yield errors.Forbidden
    yield from call.errors
    if not call.static:
        yield errors.StoreUnavailable
    if call.who is not Who.ANYONE:
        yield errors.NotAuthenticated
        if call.who not in (Who.GATE, Who.LINK):
            yield errors.TooManyAttempts
    if call.query is not None:
        yield errors.InvalidInput
    if call.body is not None:
        yield errors.InvalidInput
        yield errors.BodyTooLarge
        yield errors.UnsupportedMediaType


def _refusal(status: int, schema: type[refusals.Refusal]) -> dict[str, Any]:
    shown = refusals.examples(status)
    return {
        "description": "; ".join(example["value"]["msg"] for example in shown.values()),
        "headers": _headers(*HEADERS_OF.get(status, ())),
        "content": {_JSON: {"schema": schema, "examples": shown}},
    }


def _headers(*names_of: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *names_of)}


def _ruled(converter: Any, field: Any, ret: dict[str, Any]) -> dict[str, Any]:
    """Apispec's question about each field: what it is beyond Marshmallow's own."""
    if not isinstance(field, Ruled):
        if ret.get("type") != "boolean" or "enum" not in ret:
            return {}
        # In words: makers of clients read an enumeration as one of texts, also of ``true`` alone, and then refuse it.
        return {"description": f"always {str(ret.pop('enum')[0]).lower()}"}
    if isinstance(field, schemas.FieldMapField):
        return dict(converter.resolve_nested_schema(field.members))
    found = dict(STATED[field.stated])
    if isinstance(field.parent, CallSchema) and not field.required:
        # ``null`` counts as left out.
        if "oneOf" in found:
            found["oneOf"] = [*found["oneOf"], {"type": "null"}]
        else:
            found["type"] = [found["type"], "null"]
    # Not as such: makers of clients take what has a default for what is always there.
    default = ret.pop("default", "")
    if isinstance(field, Flag):
        default = "1" if default else "0"
    if default != "" and not field.required:
        found["description"] = f"{ret.get('description', '')}; default: {default}".lstrip("; ")
    return found
