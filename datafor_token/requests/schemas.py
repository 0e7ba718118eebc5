"""The Marshmallow schemas: one for each call's fields. A checked request comes out, or ``InvalidInput``.

The rules themselves stand in ``rules`` and ``names``, where records are held to them too.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, validates_schema

from datafor_token.applications import record, rules
from datafor_token.applications.record import DEFAULTS, MASK
from datafor_token.audit.events import Kind
from datafor_token.crypto.keys import verification_key
from datafor_token.errors import RuleError
from datafor_token.requests.fields import CallSchema, Flag, Names, Seconds, Structure, Text
from datafor_token.requests.forms import Body
from datafor_token.validation import names, times

EXAMPLE_TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJFUlAiOiJhZG1pbiIsImV4cCI6MTcyMzAxNTkxNn0"  # noqa: S105 - public
    ".uEmUwBfNAd5FtzjPPrldU9bierng7fd8rCVlZtVPY2k"
)
# What answers carry beside an application's own fields, so that a listed one can be sent back whole.
_IGNORED_ON_UPDATE = (
    "createdDate", "lastModifiedDate", "creatorId", "previous", "success", "code", "msg", "warnings",
)  # fmt: skip


class FieldMapSchema(Schema):
    """The members of ``fieldmap``."""

    username = Text(rules.claim_name, required=True)
    name = Text(rules.claim_name, required=True)
    email = Text(rules.claim_name, required=True)


_field_map = FieldMapSchema(unknown=RAISE)


class FieldMapField(Structure[record.FieldMap]):
    """``fieldmap``, each of its members with an error of its own."""

    members = FieldMapSchema

    def __init__(self, **options: Any) -> None:
        super().__init__(self._load, **options)

    @staticmethod
    def _load(value: object) -> record.FieldMap:
        if not isinstance(value, dict):
            raise RuleError("must be an object with username, name and email")
        present = {member: claim for member, claim in value.items() if claim is not None}
        fieldmap = record.FieldMap(**_field_map.load(present))
        record.check_different_claims(fieldmap)
        return fieldmap


class UpdateSchema(CallSchema):
    """``token/update``: an application. ``secret`` and ``initpwd`` may be ``MASK``: what is stored is kept."""

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

    name = Text(names.application_name, required=True, says="unique, in whatever case")
    token_name = Text(
        names.stored_token_name, load_default=DEFAULTS["token_name"], says="the URL parameter that carries its tokens"
    )
    secret = Text(rules.secret, says=f"shared key or public key; left out or {MASK}: the stored one stays")
    expire = Seconds(rules.token_lifetime, required=True, says="lifetime of a token in seconds")
    fieldmap = FieldMapField(required=True, says="the claims that hold what; all different")
    algorithm = Text(rules.algorithm, required=True)
    enable = Flag(required=True, says="whether its tokens are accepted and issued")
    inituser = Flag(required=True, says="whether a token of an unknown user makes that user")
    initroles = Names(rules.roles, required=True, says="the roles of such a user, at most one user type among them")
    initpwd = Text(
        rules.initial_password, load_default=DEFAULTS["initpwd"], says=f"the password of such a user; {MASK} keeps it"
    )
    self_service = Flag(
        load_default=rules.flag(DEFAULTS["self_service"]),
        says="whether users may make tokens of their own; with HS* only",
    )

    @validates_schema(skip_on_field_errors=False)
    def _check_what_depends_on_the_algorithm(self, values: dict[str, Any], **_: Any) -> None:
        if "algorithm" not in values:
            return
        checks: dict[str, Callable[[], object]] = {
            "self_service": lambda: rules.check_self_service(
                values["algorithm"], self_service=values.get("self_service", False)
            )
        }
        # Whether a kept secret fits is seen when the record is read, under the lock.
        if values.get("secret", MASK) != MASK:
            checks["secret"] = lambda: verification_key(values["algorithm"], values["secret"])
        faults = {}
        for name, check in checks.items():
            try:
                check()
            except RuleError as error:
                faults[name] = [error.message]
        if faults:
            raise ValidationError(faults)

    def further_faults(self, valid: Mapping[str, Any]) -> Mapping[str, Any]:
        """Name the rules for new values that the other fields break, so that nobody has to ask twice."""
        # Of a field map with a fault, Marshmallow keeps the valid members.
        known = {name: value for name, value in valid.items() if value != MASK and not isinstance(value, dict)}
        return {
            field: [sentence.removeprefix(f"{field} ") for sentence in sentences]
            for field, sentences in record.errors_in_new_values(known).items()
        }


def further_claims(value: object) -> dict[str, Any]:
    """Further claims; what is ``null`` counts as left out."""
    if not isinstance(value, dict):
        raise RuleError("must be an object")
    return {name: claim for name, claim in value.items() if claim is not None}


class GenerateSchema(CallSchema):
    """``token/generate``: which application signs, with which key, for whom, with which further claims."""

    example: ClassVar = {"name": "ERP", "privateKey": "abcd", "username": "admin"}
    name = Text(names.application_name, says="left out: the only one there is")
    privateKey = Text(rules.secret, says="the shared secret, or a private key in PEM")  # noqa: N815 - the seed's name
    username = Text(names.user_name, says="who the token is for; left out: the caller")
    payload = Structure[dict[str, Any]](further_claims, says="further claims; keys of the fieldmap are renamed")


class NameSchema(CallSchema):
    """An application that must be named: ``content``, ``delete``."""

    example: ClassVar = {"name": "ERP"}
    name = Text(names.application_name, required=True)


class OptionalNameSchema(CallSchema):
    """An application that may be named: ``personal`` and its ``config``."""

    example: ClassVar = {"name": "ERP"}
    name = Text(names.application_name)


class NamesSchema(CallSchema):
    """Applications to delete at once. A JSON array of names is taken for ``{"name": [...]}``."""

    example: ClassVar = {"name": ["ERP", "CRM"]}
    name = Names(rules.application_names, required=True)

    def read(self, body: Body) -> dict[str, Any]:
        """As for every call, and for a bare array."""
        return super().read(Body({"name": body.values}, is_form=False) if isinstance(body.values, list) else body)


class RotateSchema(NameSchema):
    """``token/rotate``: a new secret, and for how long the present one goes on being accepted."""

    example: ClassVar = {"name": "ERP", "grace": 3600}
    secret = Text(rules.secret, says="the new one; left out with HS*: a random one is made")
    grace = Seconds(
        rules.grace_period, load_default=rules.DEFAULT_GRACE, says="seconds for which the old one is accepted"
    )


class TokenSchema(CallSchema):
    """``token/revoke`` and ``token/introspect``. RFC 7009 and 7662 allow a hint, which helps nothing here."""

    example: ClassVar = {"token": EXAMPLE_TOKEN}
    ignored = ("token_type_hint",)

    # What a file or a clipboard adds: who revokes a token with a line break behind it means the token.
    token = Text(str.strip, required=True)


class ExplainSchema(CallSchema):
    """``token/explain``: a token, and the application that should have accepted it."""

    example: ClassVar = {"token": EXAMPLE_TOKEN, "name": "ERP"}
    token = Text(required=True)
    name = Text(names.application_name)


class LoginSchema(CallSchema):
    """``auth/login``. No rules: what breaks them is a wrong password like any other."""

    example: ClassVar = {"username": "admin", "password": "the password"}
    username = Text(required=True)
    password = Text(required=True)


class UserSchema(CallSchema):
    """``user/detail``: which user; left out, the caller."""

    username = Text(names.user_name)


class LinkSchema(CallSchema):
    """``token/link``: whom a one-time link signs in, by which application, where it leads, how long it waits."""

    example: ClassVar = {"name": "ERP", "username": "lena", "next": "/reports/1", "ttl": 300}
    name = Text(names.application_name, says="left out: the only one there is")
    username = Text(names.user_name, says="whom it signs in; left out: the caller")
    payload = Structure[dict[str, Any]](further_claims, says="name and email for a first sign-in")
    next = Text(rules.next_path, load_default="/", says="where it leads: a path of this host")
    ttl = Seconds(rules.ticket_lifetime, load_default=rules.DEFAULT_TICKET, says="seconds until it is too old")


class NextSchema(CallSchema):
    """``auth/enter``: where to go after signing in with a token, or a ticket, which knows it itself."""

    next = Text(rules.next_path, load_default="/")
    ticket = Text()


class LeaveSchema(CallSchema):
    """``auth/leave``: where to go after signing out."""

    next = Text(rules.next_path, says="where to go then: a path of this host; left out: SIGN_OUT_URL")


def event_kind(text: str) -> str:
    """One of the kinds of events."""
    if text not in list(Kind):
        raise RuleError("must be one of %(values)s", values=", ".join(Kind))
    return text


class AuditSchema(CallSchema):
    """``token/audit``: which events; times as ``times.parse_time`` reads them, ``page`` from an answer's ``next``."""

    since = Text(times.check_time, says="from then on: a time (RFC 3339), a day, or how long ago: 90m, 24h, 7d")
    until = Text(times.check_time, says="before then, in the same words")
    event = Text(event_kind, says="one kind of event")
    user = Text(names.user_name, says="who did it, or to whom it was done")
    application = Text(names.application_name, says="what it was about")
    limit = Seconds(rules.page_size, load_default=100, says="how many at most")
    page = Text(says="what an answer before gave as next")


class PasswordSchema(CallSchema):
    """``user/password``: the present password and the new one."""

    example: ClassVar = {"old": "the current password", "new": "the new password"}
    old = Text(required=True)
    new = Text(rules.new_password, required=True, says="of MIN_PASSWORD_LENGTH characters at least; not the user name")
