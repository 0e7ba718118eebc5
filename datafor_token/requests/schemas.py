"""Schemas of the fields of each call. They return checked values, or raise ``InvalidInput``.

The rules are in ``applications.rules`` and ``validation``, which check stored records too.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, missing, validates_schema

from datafor_token.applications import policy, record, rules
from datafor_token.applications.field_map import FieldMap
from datafor_token.applications.record import FIELDS, MASK
from datafor_token.crypto.keys import verification_key
from datafor_token.errors import Message, RuleError, predicate_of
from datafor_token.requests.fields import (
    CallSchema,
    Flag,
    Integer,
    Names,
    PolicyInteger,
    PolicyNames,
    PolicyText,
    RuleField,
    Structure,
    Text,
)
from datafor_token.requests.forms import Body
from datafor_token.requests.identifiers import audit_identifier
from datafor_token.requests.rehearsal_schemas import DryRunSchema
from datafor_token.validation import names, times

EXAMPLE_TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJFUlAiOiJhZG1pbiIsImV4cCI6MTcyMzAxNTkxNn0"  # noqa: S105 - public
    ".uEmUwBfNAd5FtzjPPrldU9bierng7fd8rCVlZtVPY2k"
)
_BOTH = Message("cannot be given together with secret: one replaces the other")
# Members of responses beside an application's own fields, so that a listed application can be sent back whole.
_IGNORED_ON_UPDATE = (
    "createdDate", "lastModifiedDate", "creatorId", "previous", "success", "code", "msg", "warnings", "kid", "keys",
    "cut_offs",
)  # fmt: skip


class FieldMapSchema(Schema):
    """The members of ``fieldmap``."""

    username = Text(rules.claim_name, required=True)
    name = Text(rules.optional_claim_name, required=True)
    email = Text(rules.optional_claim_name, required=True)


_field_map = FieldMapSchema(unknown=RAISE)


def field_map(value: object) -> FieldMap:
    """Read the ``fieldmap`` of a request, with an error for each of its members."""
    if not isinstance(value, dict):
        raise RuleError("must be an object with username, name and email")
    present = {member: claim for member, claim in value.items() if claim is not None}
    return FieldMap(**_field_map.load(present))


class FieldMapField(Structure[FieldMap]):
    """``fieldmap``, whose members have errors of their own."""

    members = FieldMapSchema


def _application_field(name: str, description: str, *, required: bool | None = None) -> RuleField[Any]:
    """Return the field of an application with the rule and the default that ``Application`` declares.

    Its type in a form is that of the declared default. Without ``required``, the record's own requirement holds.
    """
    declared = FIELDS[name]
    required = declared.required if required is None else required
    default = missing if declared.required else declared.rule(declared.default)
    options: dict[str, Any] = {"description": description, "required": required, "load_default": default}
    match declared.default:
        case "0" | "1":
            return Flag(declared.rule, **options)
        case int():
            return Integer(declared.rule, **options)
        case list():
            return Names(declared.rule, **options)
        case dict():
            return FieldMapField(field_map, **options)
        case _:
            return RuleField(declared.rule, **options)


def _policy_field(name: str, kind: type[RuleField[Any]], description: str) -> RuleField[Any]:
    """Return a field of the trust policy: left out, the stored value stays; empty, it is cleared."""
    return kind(FIELDS[name].rule, description)


class ApplicationSchema(CallSchema):
    """The fields of an application, as calls, commands, files and the console set them.

    ``MASK`` as ``secret`` or ``initpwd`` keeps the stored value. A field of the trust policy that is left out keeps its
    stored value; an empty text, list or object clears it.
    """

    example: ClassVar = {
        "name": "ERP",
        "token_name": "token",
        "secret": "abcd",
        "expire": 86400,
        "fieldmap": {"username": "loginname", "name": "name", "email": "email"},
        "algorithm": "HS256",
        "enable": "1",
        "inituser": "1",
        "initroles": ["SYS_Reader"],
    }
    ignored = _IGNORED_ON_UPDATE

    name = _application_field("name", "Unique, ignoring case.")
    token_name = _application_field("token_name", "The URL parameter for the application's tokens.")
    secret = _application_field(
        "secret", f"The shared key or public key. Left out or {MASK}: the stored one is kept.", required=False
    )
    expire = _application_field("expire", "Lifetime of a token in seconds.")
    fieldmap = _application_field(
        "fieldmap", "The claims that hold the user's data, by name or JSON Pointer. name and email may be empty."
    )
    algorithm = _application_field("algorithm", "The algorithm that signs the tokens.")
    enable = _application_field("enable", "Whether tokens are issued and accepted.")
    inituser = _application_field("inituser", "Whether a token of an unknown user creates the user.")
    initroles = _application_field("initroles", "Roles of created users, including at most one user type.")
    initpwd = _application_field("initpwd", f"Password of created users. {MASK} keeps the stored one.")
    self_service = _application_field(
        "self_service", "Whether users may generate personal tokens. Only with HS256, HS384 or HS512."
    )
    jwks_uri = _policy_field(
        "jwks_uri", PolicyText, "The URL of the provider's JWK Set or discovery document, instead of `secret`."
    )
    audience = _policy_field(
        "audience",
        PolicyNames,
        "The audiences of which a token must name one; `*`: any. Without it, a token with `aud` is refused.",
    )
    issuer = _policy_field("issuer", PolicyText, "The `iss` that a token must have.")
    require = _policy_field(
        "require",
        Structure,
        "By claim name or JSON Pointer, the value that a claim must have, or a list of such values.",
    )
    token_types = _policy_field("token_types", PolicyNames, "The accepted `typ` of tokens. Not set: JWT.")
    max_lifetime = _policy_field(
        "max_lifetime", PolicyInteger, "The longest accepted time from `iat` to `exp` in seconds."
    )
    networks = _policy_field("networks", PolicyNames, "The networks from which tokens are accepted.")
    users = _policy_field(
        "users", PolicyText, "`any`: tokens of all users are accepted. `own`: only of the application's own users."
    )
    report = _policy_field(
        "report",
        PolicyNames,
        "The fields whose rules are only reported: " + ", ".join(f"`{one}`" for one in policy.REPORTABLE) + ".",
    )
    sync = _policy_field("sync", PolicyNames, "What of a user follows the token: `name`, `email`, `roles`.")
    roles_claim = _policy_field("roles_claim", PolicyText, "The claim with the user's roles, by name or JSON Pointer.")
    roles_map = _policy_field("roles_map", Structure, "The role or user type that each value of `roles_claim` gives.")
    origins = _policy_field("origins", PolicyNames, "The origins whose pages may embed the application's pages.")
    session_idle = _policy_field(
        "session_idle", PolicyInteger, "How long a gate session lasts without a request, in seconds."
    )
    session_max = _policy_field("session_max", PolicyInteger, "How long a gate session lasts at most, in seconds.")
    rate = _policy_field("rate", PolicyText, "How many tokens are issued at most, such as `600/minute`.")

    @validates_schema(skip_on_field_errors=False)
    def _check_fields_that_depend_on_the_algorithm(self, values: dict[str, Any], **_: Any) -> None:
        if values.get("secret", MASK) != MASK and values.get("jwks_uri"):
            raise ValidationError({"jwks_uri": [_BOTH]})
        if "algorithm" not in values:
            return
        checks: dict[str, Callable[[], object]] = {
            "self_service": lambda: rules.check_self_service(
                values["algorithm"], self_service=values.get("self_service", False)
            )
        }
        # A stored secret is checked later, when the record is read under the lock.
        if values.get("secret", MASK) != MASK:
            checks["secret"] = lambda: verification_key(values["algorithm"], values["secret"])
        errors = {}
        for name, check in checks.items():
            try:
                check()
            except RuleError as error:
                errors[name] = [error.message]
        if errors:
            raise ValidationError(errors)

    def more_errors(self, valid: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return violations of the rules for new values, so that one response has all errors."""
        # For a field map with an error, Marshmallow returns its valid members as a dict.
        known = {name: value for name, value in valid.items() if value != MASK and not isinstance(value, dict)}
        return {
            field: [predicate_of(message) for message in messages]
            for field, messages in record.errors_in_new_values(known).items()
        }


class UpdateSchema(DryRunSchema, ApplicationSchema):
    """``token/update``: the fields of an application, and those of a dry run."""


def claims(value: object) -> dict[str, Any]:
    """Return the claims of an object, without those that are ``null``."""
    if not isinstance(value, dict):
        raise RuleError("must be an object")
    return {name: claim for name, claim in value.items() if claim is not None}


class GenerateSchema(CallSchema):
    """``token/generate``: the application that signs, its key, the user, and further claims."""

    example: ClassVar = {"name": "ERP", "privateKey": "abcd", "username": "admin"}

    name = Text(names.application_name, "Left out: the only application.")
    privateKey = Text(rules.secret, "The shared secret, or a private key in PEM.")  # noqa: N815 - documented
    username = Text(names.user_name, "The user of the token. Left out: the caller.")
    payload = Structure[dict[str, Any]](claims, "Further claims. Members that are fields of the fieldmap are renamed.")


class NameSchema(CallSchema):
    """``token/content``: the name of an application."""

    example: ClassVar = {"name": "ERP"}

    name = Text(names.application_name, required=True)


class DeleteSchema(DryRunSchema, NameSchema):
    """``token/delete``: the name of an application."""


class OptionalNameSchema(CallSchema):
    """``token/personal/config``: the name of an application, or none."""

    name = Text(names.application_name, "Left out: the first by name that allows personal tokens.")


class PersonalSchema(OptionalNameSchema):
    """``token/personal``: the application, a label, and the lifetime of the token."""

    example: ClassVar = {"name": "ERP", "label": "nightly export", "expire": 3600}

    label = Text(rules.token_label, "A text by which you recognise the token.", load_default="")
    expire = Integer(
        rules.token_lifetime, "Lifetime in seconds, at most the application's. Left out: the application's."
    )


class PersonalRevokeSchema(CallSchema):
    """``token/personal/revoke``: the identifier of a personal token, and its user."""

    example: ClassVar = {"jti": "3nV9pQ0mT2aXcWfL7sYk1g"}

    jti = Text(description="The `jti` of the token.", required=True)
    username = Text(names.user_name, "The user of the token. Left out: the caller.")


class NamesSchema(DryRunSchema):
    """``token/deleteBatch``: the names of applications. A JSON list of names is read as ``{"name": [...]}``."""

    example: ClassVar = {"name": ["ERP", "CRM"]}

    name = Names(rules.application_names, required=True)

    def read(self, body: Body) -> dict[str, Any]:
        """Return the checked fields, also of a list of names."""
        return super().read(Body({"name": body.values}, is_form=False) if isinstance(body.values, list) else body)


class RotateSchema(DryRunSchema, NameSchema):
    """``token/rotate``: the new secret or provider of keys, and the grace period of the old secret."""

    example: ClassVar = {"name": "ERP", "grace": 3600}

    secret = Text(rules.secret, "The new secret. Left out with HS256, HS384 or HS512: a random one is generated.")
    grace = Integer(
        rules.grace_period, "Seconds for which the old secret remains valid.", load_default=rules.DEFAULT_GRACE
    )
    jwks_uri = RuleField(
        policy.new_jwks_uri, "The URL of the provider whose keys replace the secret, instead of `secret`."
    )

    @validates_schema
    def _check_one_of(self, values: dict[str, Any], **_: Any) -> None:
        if "secret" in values and "jwks_uri" in values:
            raise ValidationError({"jwks_uri": [_BOTH]})


class TokenSchema(CallSchema):
    """``token/introspect``: a token. The hint of RFC 7662 is ignored."""

    example: ClassVar = {"token": EXAMPLE_TOKEN}
    ignored = ("token_type_hint",)

    # Without the line break that a file or the clipboard may add.
    token = Text(str.strip, required=True)


class ReadySchema(CallSchema):
    """``/readyz``: what must work."""

    write = Flag(rules.flag, "1: 503 unless a change could be stored now.", load_default=False)


class LoginSchema(CallSchema):
    """``auth/login``: user name and password. A value that breaks their rules is a wrong password like any other."""

    example: ClassVar = {"username": "admin", "password": "the password"}

    username = Text(required=True)
    password = Text(required=True)


class UserSchema(CallSchema):
    """``user/detail`` and ``user/sessions``: a user name."""

    username = Text(names.user_name, "Left out: the caller.")


class EndSessionsSchema(CallSchema):
    """``user/sessions/end``: a user, or the identifier of a session."""

    example: ClassVar = {"username": "lena"}

    username = Text(names.user_name, "The user whose sessions all end.")
    id = Text(description="The `id` of the only session that ends, instead of `username`.")

    @validates_schema
    def _check_one_of(self, values: dict[str, Any], **_: Any) -> None:
        if not values:
            raise ValidationError(
                {"username": [Message("is missing: send it to end all sessions of a user, or id to end one session")]}
            )
        if len(values) > 1:
            raise ValidationError({"id": [Message("cannot be given together with username: send one of them")]})


class LinkSchema(CallSchema):
    """``token/link``: the user of a one-time link, the application, the target page, and the lifetime."""

    example: ClassVar = {"name": "ERP", "username": "lena", "next": "/reports/1", "ttl": 300}

    name = Text(names.application_name, "Left out: the only application.")
    username = Text(names.user_name, "The user who is signed in. Left out: the caller.")
    payload = Structure[dict[str, Any]](claims, "Name and email address for a first sign-in.")
    next = Text(rules.next_path, "The target page: a path on this host.", load_default="/")
    ttl = Integer(rules.ticket_lifetime, "Lifetime of the link in seconds.", load_default=rules.DEFAULT_TICKET)


class IssuedSchema(CallSchema):
    """``token/issued``: a filter of issued tokens, and a page of the result."""

    user = Text(names.user_name, "The user of the token.")
    application = Text(names.application_name, "The application of the token.")
    status = Text(rules.token_status, "Status of the token.")
    id = Text(audit_identifier, "The identifier of the token in the audit log.")
    since = Text(times.check_time, "Earliest time of issuing, in the formats of `token/audit`.")
    until = Text(times.check_time, "Time before which the tokens were issued, in the same formats.")
    limit = Integer(rules.page_size, "Maximum number of tokens.", load_default=100)
    page = Text(description="The value of `next` in the previous response.")


class PasswordSchema(CallSchema):
    """``user/password``: the current password and the new one."""

    example: ClassVar = {"old": "the current password", "new": "the new password"}

    old = Text(required=True)
    new = Text(rules.new_password, "At least MIN_PASSWORD_LENGTH characters, and not the user name.", required=True)


@functools.cache
def field_names() -> frozenset[str]:
    """Return the names of all fields of all calls, and of their members."""
    kinds: list[type[Schema]] = [FieldMapSchema, CallSchema]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(name for kind in kinds for name in kind().fields)
