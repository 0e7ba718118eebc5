"""JSON Schema (2020-12) of each rule of a request field, with the limits of the rule itself.

A rule may refuse more than its schema, which cannot express, for example, that a PEM holds a valid key or that a path
does not hide another host behind percent-encoding.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from datafor_token.applications import policy, rules
from datafor_token.audit.events import Kind
from datafor_token.crypto.algorithms import ALGORITHMS
from datafor_token.requests import (
    audit_schema,
    explain_schema,
    identifiers,
    rehearsal_schemas,
    revoke_schema,
    schemas,
    user_schemas,
)
from datafor_token.validation import names, times, urls

_TEXT = {"type": "string"}
_SOME_TEXT = {"type": "string", "minLength": 1}
# No \p{...}: Python's `re`, which many tools for OpenAPI use, does not support it. So these patterns allow more than
# the rules: of the non-ASCII characters that are refused, only the most common ones are excluded here.
_CONTROLS = r"\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_NOT_IN_NAMES = r"\x00-,./:-@\[-^`{-\x9f"
_NO_CONTROLS = f"^[^{_CONTROLS}]*$"
_APPLICATION = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": f"^[^_{_NOT_IN_NAMES}-][^{_NOT_IN_NAMES}]*$",
}
_NOT_IN_USERS = rf":\u2028\u2029{_CONTROLS}"
_NOT_IN_ROLES = rf",\u2028\u2029{_CONTROLS}"
_ROLE = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": rf"^[^\s{_NOT_IN_ROLES}]([^{_NOT_IN_ROLES}]*[^\s{_NOT_IN_ROLES}])?$",
}
# A name of a new role, which is not a user type.
_NO_TYPE = f"(?!({'|'.join(names.USER_TYPES)})(&|$))"
_USER_ROLE = rf"{_NO_TYPE}[^\s&{_NOT_IN_ROLES}]([^&{_NOT_IN_ROLES}]{{0,62}}[^\s&{_NOT_IN_ROLES}])?"
_PROFILE_TEXT = {"type": "string", "maxLength": names.LONGEST_PROFILE_TEXT, "pattern": _NO_CONTROLS}
_CLAIM = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": _NO_CONTROLS}
_NOT_OF_USERS = [*rules.TIME_CLAIMS, *rules.REGISTERED_CLAIMS]
_NOT_OF_USERS += [f"/{claim}" for claim in _NOT_OF_USERS]
_COMPARED = {"type": "string", "minLength": 1, "maxLength": policy.LONGEST, "pattern": _NO_CONTROLS}
_CLAIM_VALUES = (_COMPARED, {"type": "number"}, {"type": "boolean"})
_KEY_URL = {"type": "string", "maxLength": urls.MAX_LENGTH, "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$"}
_MEDIA_TYPE = "[A-Za-z0-9!#$&^_.+-]{1,64}"
_SEGMENT = rf"[^/\\?#@\u2028\u2029{_CONTROLS}]"
_PASSWORD = {"type": "string", "maxLength": 1024, "pattern": r"^[^\x00-\x1f\x7f]*$"}


def _seconds(lowest: int, highest: int) -> Mapping[str, Any]:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _clearable(*schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a field of the trust policy, which any empty value clears."""
    empty: tuple[Mapping[str, Any], ...] = (
        {"type": "string", "maxLength": 0},
        {"type": "array", "items": {}, "maxItems": 0},
        {"type": "object", "maxProperties": 0},
    )
    return {"anyOf": [*schemas, *empty]}


def _texts(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a list in the trust policy, for which a single text may stand."""
    return _clearable({"type": "array", "minItems": 1, "maxItems": policy.MOST, "items": item}, item)


_POLICY_SCHEMAS: Mapping[Callable[..., object], Mapping[str, Any]] = {
    policy.jwks_uri: _clearable(_KEY_URL),
    policy.audience: _texts(_COMPARED),
    policy.issuer: _clearable(_COMPARED),
    policy.requirements: _clearable(
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": policy.MOST,
            "propertyNames": _CLAIM,
            "additionalProperties": {
                "anyOf": [
                    *_CLAIM_VALUES,
                    {"type": "array", "minItems": 1, "maxItems": policy.MOST, "items": {"anyOf": list(_CLAIM_VALUES)}},
                ]
            },
        }
    ),
    policy.token_types: _texts({"type": "string", "pattern": f"^{_MEDIA_TYPE}(/{_MEDIA_TYPE})?$"}),
    policy.max_lifetime: _clearable(_seconds(1, rules.LONGEST_EXPIRE)),
    policy.networks: _texts({"type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9.]+)?$"}),
    policy.users: _clearable({"type": "string", "enum": [policy.EVERYBODY, policy.OWN]}),
    policy.report: _texts({"type": "string", "enum": list(policy.REPORTABLE)}),
    policy.sync: _texts({"type": "string", "enum": list(policy.SYNCED)}),
    policy.roles_claim: _clearable(_CLAIM),
    policy.roles_map: _clearable(
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": policy.MOST_ROLES,
            "propertyNames": _COMPARED,
            "additionalProperties": _ROLE,
        }
    ),
    policy.origins: _texts({"type": "string", "pattern": "^https?://[a-z0-9.-]+(:[0-9]{1,5})?$"}),
    policy.session_limit: _clearable(_seconds(rules.SHORTEST_SESSION, rules.LONGEST_SESSION)),
    policy.rate: _clearable({"type": "string", "pattern": "^([1-9][0-9]{0,5}|1000000)/(second|minute|hour|day)$"}),
}
RULE_SCHEMAS: Mapping[Callable[..., object], Mapping[str, Any]] = {
    rules.text: _TEXT,
    str.strip: _TEXT,
    names.application_name: _APPLICATION,
    names.stored_token_name: {
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{1,64}$",
        "not": {"enum": sorted(names.RESERVED_TOKEN_NAMES)},
    },
    names.user_name: {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "pattern": rf"^[^\s{_NOT_IN_USERS}]([^{_NOT_IN_USERS}]*[^\s{_NOT_IN_USERS}])?$",
    },
    rules.secret: _SOME_TEXT,
    policy.new_jwks_uri: _KEY_URL,
    rules.token_lifetime: _seconds(1, rules.LONGEST_EXPIRE),
    rules.token_label: {"type": "string", "maxLength": rules.LONGEST_LABEL, "pattern": _NO_CONTROLS},
    rules.grace_period: _seconds(0, rules.LONGEST_GRACE),
    rules.ticket_lifetime: _seconds(1, rules.LONGEST_TICKET),
    rules.claim_name: {**_CLAIM, "not": {"enum": _NOT_OF_USERS}},
    rules.optional_claim_name: {**_CLAIM, "minLength": 0, "not": {"enum": _NOT_OF_USERS}},
    rules.algorithm: {"type": "string", "enum": list(ALGORITHMS)},
    rules.flag: {
        "oneOf": [
            {"type": "string", "enum": ["1", "0"]},
            {"type": "boolean"},
            {"type": "integer", "enum": [1, 0]},
        ]
    },
    rules.roles: {
        "type": "array",
        "maxItems": 64,
        "items": _ROLE,
        "contains": {"enum": list(names.USER_TYPES)},
        "minContains": 0,
        "maxContains": 1,
    },
    rules.application_names: {"type": "array", "items": _APPLICATION},
    rules.initial_password: _PASSWORD,
    rules.new_password: {**_PASSWORD, "minLength": 1},
    times.check_time: {"type": "string", "pattern": f"^({times.TIME_PATTERN})$"},
    rehearsal_schemas.days: {"type": "integer", "minimum": 1, "maximum": rehearsal_schemas.MOST_DAYS},
    rehearsal_schemas.leeway: {"type": "number", "minimum": 0, "maximum": 300},
    rules.page_size: {"type": "integer", "minimum": 1, "maximum": 1000},
    user_schemas.page_start: {"type": "integer", "minimum": 0},
    user_schemas.profile_text: _PROFILE_TEXT,
    user_schemas.user_type: {"type": "string", "enum": list(names.USER_TYPES)},
    user_schemas.user_roles: {
        "anyOf": [
            {"type": "string", "pattern": f"^({_USER_ROLE}(&{_USER_ROLE})*)?$"},
            {"type": "array", "maxItems": 256, "items": {**_ROLE, "pattern": f"^{_USER_ROLE}$"}},
        ]
    },
    user_schemas.application_or_none: {"anyOf": [_APPLICATION, {"type": "string", "maxLength": 0}]},
    names.new_profile_text: _PROFILE_TEXT,
    user_schemas.role_filter: _PROFILE_TEXT,
    user_schemas.order: {
        "type": "string",
        "pattern": "^(-?({0})|({0}) (asc|desc))$".format("|".join(user_schemas.COLUMNS)),
    },
    rules.token_status: {"type": "string", "enum": list(rules.TokenStatus)},
    identifiers.audit_identifier: {"type": "string", "pattern": "^[0-9A-Fa-f]{32}$"},
    revoke_schema.token: _SOME_TEXT,
    revoke_schema.not_empty: _SOME_TEXT,
    revoke_schema.time_of_cut_off: {
        "anyOf": [
            {"type": "integer", "minimum": revoke_schema.EARLIEST, "maximum": revoke_schema.LATEST},
            {"type": "string", "enum": ["now"]},
        ]
    },
    explain_schema.request_id: {"type": "string", "pattern": "^[0-9A-Fa-f]{32}$"},
    audit_schema.event_kinds: {"type": "string", "pattern": "^({0})(,({0}))*$".format("|".join(Kind))},
    audit_schema.token_identifiers: {"type": "string", "pattern": "^[0-9A-Fa-f]{12,32}(,[0-9A-Fa-f]{12,32}){0,7}$"},
    audit_schema.network: _SOME_TEXT,
    audit_schema.words: {"type": "string", "minLength": 1, "maxLength": audit_schema.LONGEST_SEARCH, "pattern": r"\S"},
    rules.next_path: {
        "type": "string",
        "maxLength": 2048,
        "pattern": f"^/({_SEGMENT}+/)*{_SEGMENT}*([?#][^{_CONTROLS}]*)?$",
    },
    schemas.claims: {"type": "object", "propertyNames": {"not": {"enum": list(rules.TIME_CLAIMS)}}},
    **{inspect.unwrap(rule): schema for rule, schema in _POLICY_SCHEMAS.items()},
}
