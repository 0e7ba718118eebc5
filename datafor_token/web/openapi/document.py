"""OpenAPI 3.1 document of all calls, built with apispec from their declarations and schemas."""

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from datafor_token import __version__, errors
from datafor_token.errors import DataforTokenError
from datafor_token.requests import schemas
from datafor_token.requests.fields import CallSchema, Flag, Names, RuleField, Structure
from datafor_token.validation import names
from datafor_token.web.openapi import error_responses
from datafor_token.web.openapi.call import HEADERS, JSON_TYPE, SECURITY_SCHEMES, Access, Call
from datafor_token.web.openapi.response_schemas import ErrorResponse
from datafor_token.web.openapi.rule_schemas import RULE_SCHEMAS

_DESCRIPTION = """\
Stores applications whose signed tokens (JWT) are trusted, issues such tokens, and verifies them.

Every response is a JSON object with `success`. If `success` is `false`, the object also has `code`, the HTTP status as
text, and `msg`, one sentence. An unknown path is 404 and another method is 405, both in the same form. A call that
a browser sends from a page of another site is 403."""
_BODY_DESCRIPTION = """\
The object as JSON, where null means left out; or as a form, with nested values as `fieldmap[username]=x`,
`fieldmap.username=x` or JSON text (`fieldmap={"username":"x"}`), and lists as `initroles=A&initroles=B`,
`initroles[]=A`, `initroles[0]=A` or JSON text; or as JSON with the content type of a form, like `curl -d '{...}'`."""
_SEC_FETCH_SITE = {
    "name": "Sec-Fetch-Site",
    "in": "header",
    "description": "Set by browsers. A call from a page of another site is refused with 403.",
    "schema": {"type": "string", "enum": ["same-origin", "none"]},
}
_TOO_LONG = "The URL or the headers exceed 8190 bytes. The web server refuses the request before the service sees it."
_FORM_TYPE, _MULTIPART_TYPE = "application/x-www-form-urlencoded", "multipart/form-data"
# Methods that OpenAPI 3.1 can describe, for a view that accepts any.
ANY_METHOD = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")


@dataclass(frozen=True)
class Route:
    """A route of the API: its path as in OpenAPI, its methods (``None``: any), the view's docstring and its call."""

    path: str
    methods: Iterable[str] | None
    tag: str
    docstring: str
    call: Call


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document of these routes, without ``servers``."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec("datafor_token", __version__, "3.1.0", plugins=[plugin], info={"description": _DESCRIPTION})
    _converter(plugin).add_attribute_function(_rule_schema)  # type: ignore[no-untyped-call]  # apispec's
    for scheme, members in SECURITY_SCHEMES.items():
        spec.components.security_scheme(scheme, members)
    for header, description in HEADERS.items():
        spec.components.header(header, {"description": description, "schema": {"type": "string"}})
    for status in error_responses.ERRORS:
        schema = error_responses.SCHEMAS.get(status, ErrorResponse)
        spec.components.response(f"Error{status}", _error_response(status, schema))
    spec.components.response("TooLong", {"description": _TOO_LONG, "content": {"text/html": {"schema": {}}}})
    for route in routes:
        operations = {
            method.lower(): _operation(plugin, route, method, number)
            for number, method in enumerate(ANY_METHOD if route.methods is None else sorted(route.methods))
        }
        spec.path(route.path, operations=operations)
    built = spec.to_dict()
    for body in dict.fromkeys(route.call.body for route in routes if route.call.body is not None):
        _add_form(built["components"]["schemas"], body)
    return built


def _converter(plugin: MarshmallowPlugin) -> OpenAPIConverter:
    if plugin.converter is None:
        raise TypeError("apispec makes the plugin's converter with the spec")
    return plugin.converter


def _name(schema: Any) -> str:
    """Return the name of a schema in the document, and so of a class in generated clients."""
    kind = schema if isinstance(schema, type) else type(schema)
    return re.sub("Schema$", "Request", kind.__name__)


def _operation(plugin: MarshmallowPlugin, route: Route, method: str, number: int) -> dict[str, Any]:
    call = route.call
    summary, _, rest = inspect.cleandoc(route.docstring).replace("``", "`").partition("\n")
    operation: dict[str, Any] = {
        # A call with several methods is one operation for each; their identifiers must differ.
        "operationId": call.id if number == 0 else f"{call.id}_by_{method.lower()}",
        "tags": [route.tag],
        "summary": summary.removesuffix("."),
        "description": f"{call.access.sentence} {rest.strip()}".strip(),
        "security": [{scheme: []} for scheme in call.access.schemes],
        "responses": _responses(call),
    }
    # The check, which accepts any method, is exempt: a proxy asks about another application's request.
    may_be_refused = method == "POST" and route.methods is not None
    parameters = [*_query(plugin, call), *call.parameters, *([_SEC_FETCH_SITE] if may_be_refused else [])]
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        operation["requestBody"] = _body(call.body, may_be_list=call.body_may_be_list)
    return operation


def _query(plugin: MarshmallowPlugin, call: Call) -> list[dict[str, Any]]:
    if call.query is None:
        return []
    found: list[dict[str, Any]] = _converter(plugin).schema2parameters(call.query(), location="query")
    for parameter in found:
        # The parameter itself has the description.
        parameter["schema"] = _as_text(parameter["schema"])
        parameter["schema"].pop("description", None)
    return found


def _body(schema: type[CallSchema], *, may_be_list: bool) -> dict[str, Any]:
    """Return the request body in every accepted content type, JSON first, which client generators choose."""
    fields = schema().fields
    structures = [
        name for name, field in fields.items() if isinstance(field, Structure) and not isinstance(field, Names)
    ]
    brackets = {name: {"style": "deepObject", "explode": True} for name in structures}
    forms = [
        {"schema": {"$ref": f"#/components/schemas/{name}"}, "example": schema.example} for name in _form_names(schema)
    ]
    in_json: Any = schema
    if may_be_list:
        in_json = {"anyOf": [schema, {"type": "array", "items": RULE_SCHEMAS[names.application_name]}]}
    return {
        "required": any(field.required for field in fields.values()),
        "description": _BODY_DESCRIPTION,
        "content": {
            JSON_TYPE: {"schema": in_json, "example": schema.example},
            _FORM_TYPE: forms[0] | ({"encoding": brackets} if brackets else {}),
            _MULTIPART_TYPE: forms[1],
        },
    }


def _add_form(components: dict[str, Any], schema: type[CallSchema]) -> None:
    """Add the schemas of the form bodies beside that of the JSON body: without null, and with flags as text."""
    found = components[_name(schema)]
    for name in schema.ignored:
        found["properties"].setdefault(name, {"description": "Ignored."})
    properties = {}
    for name, member in found["properties"].items():
        properties[name] = _as_text(member)
        if member.get("type") == "array":
            # A single item may be sent without a list, and a form cannot express an empty list.
            description = member.get("description", "")
            properties[name] = {"description": description, "anyOf": [{**member, "minItems": 1}, member["items"]]}
    for name in _form_names(schema):
        components[name] = {**found, "properties": properties}


def _as_text(member: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value in a form or query: without null, and a flag as text."""
    flag = {"oneOf": [{"type": "string", "enum": ["1", "0"]}]} if "oneOf" in member else {}
    return {**_without_null(member), **flag}


def _without_null(member: dict[str, Any]) -> dict[str, Any]:
    kinds = member.get("type")
    if "anyOf" in member:
        return {**member, "anyOf": [one for one in member["anyOf"] if one != {"type": "null"}]}
    return {**member, "type": kinds[0]} if isinstance(kinds, list) else {**member}


def _form_names(schema: type[CallSchema]) -> tuple[str, str]:
    """Return two names for the same schema: generated clients choose the content type of a body by its class."""
    return _name(schema).replace("Request", "Form"), _name(schema).replace("Request", "Parts")


def _responses(call: Call) -> dict[str, Any]:
    success: dict[str, Any] = {"headers": _headers(*call.headers)}
    if call.response is None:
        content: dict[str, Any] = {content_type: {"schema": {}} for content_type in call.content_types}
        success |= {"description": "The document or file.", "content": content}
    else:
        content = {JSON_TYPE: {"schema": call.response, "example": {"success": True, **call.response.example}}}
        success |= {"description": inspect.getdoc(call.response), "content": content}
    if call.links:
        success["links"] = {name: {"operationId": name, **link} for name, link in call.links.items()}
    found: dict[str, Any] = {str(status): success for status in call.statuses}
    found |= {"414": "TooLong", "431": "TooLong"}
    for status in sorted({kind.status for kind in _errors(call)}):
        own = call.error_responses.get(status)
        found[str(status)] = f"Error{status}" if own is None else _error_response(status, own)
    return found


def _errors(call: Call) -> Iterable[type[DataforTokenError]]:
    """Yield the errors of a call: those that follow from its access and its request, and those that it declares."""
    yield DataforTokenError
    yield errors.Forbidden
    yield from call.errors
    if not call.stateless:
        yield errors.StoreUnavailable
    if call.access is not Access.ANYONE:
        yield errors.NotAuthenticated
        if call.access not in (Access.GATE, Access.LINK):
            yield errors.TooManyAttempts
    if call.query is not None:
        yield errors.InvalidInput
    if call.body is not None:
        yield errors.InvalidInput
        yield errors.BodyTooLarge
        yield errors.UnsupportedMediaType


def _error_response(status: int, schema: type[ErrorResponse]) -> dict[str, Any]:
    examples = error_responses.examples(status)
    return {
        "description": "; ".join(example["value"]["msg"] for example in examples.values()),
        "headers": _headers(*error_responses.HEADERS.get(status, ())),
        "content": {JSON_TYPE: {"schema": schema, "examples": examples}},
    }


def _headers(*header_names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *header_names)}


def _rule_schema(converter: Any, field: Any, ret: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema that apispec adds to a field: that of the field's rule."""
    if not isinstance(field, RuleField):
        if ret.get("type") != "boolean" or "enum" not in ret:
            return {}
        # As text: client generators take any enumeration for one of strings, and then refuse ``true``.
        return {"description": f"Always {str(ret.pop('enum')[0]).lower()}."}
    if isinstance(field, schemas.FieldMapField):
        return dict(converter.resolve_nested_schema(field.members))
    found = dict(RULE_SCHEMAS[field.schema_rule])
    if isinstance(field.parent, CallSchema) and not field.required:
        # ``null`` means left out.
        several = next((one for one in ("oneOf", "anyOf") if one in found), None)
        if several:
            found[several] = [*found[several], {"type": "null"}]
        else:
            found["type"] = [found["type"], "null"]
    # In the description: client generators take a field with a ``default`` for one that is always present.
    default = ret.pop("default", "")
    if isinstance(field, Flag) and default != "":
        default = "1" if default else "0"
    if default != "" and not field.required:
        found["description"] = f"{ret.get('description', '')} Default: {default}.".strip()
    return found
