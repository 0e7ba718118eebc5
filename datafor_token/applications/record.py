"""An application: a named external system whose tokens are trusted; its record and the rules of its fields."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from datafor_token.applications import rules
from datafor_token.crypto import vetting
from datafor_token.crypto.at_rest import Keyring
from datafor_token.crypto.keys import Key, verification_key
from datafor_token.errors import Message, RecordDamaged, RuleError, about
from datafor_token.store.base import Document
from datafor_token.validation import names

COLLECTION = "applications"
FORMAT = 1
MASK = "************"  # stands for a stored secret in answers; sent back, it keeps the stored one
# Fields of a new application that the console or a command was not given, as a call has them. The API has defaults for
# ``token_name``, ``initpwd`` and ``self_service`` only, and requires the others.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "token_name": "token",
        "expire": 86400,
        "fieldmap": MappingProxyType({"username": "username", "name": "name", "email": "email"}),
        "algorithm": "HS256",
        "enable": "1",
        "inituser": "0",
        "initroles": ("SYS_Reader",),
        "initpwd": "",
        "self_service": "0",
    }
)


@dataclasses.dataclass(frozen=True)
class FieldMap:
    """Which claims of a token hold the user's name, display name and email address.

    ``extra`` holds the members of its record that this version does not know.
    """

    username: str
    name: str
    email: str
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """As the record has it."""
        return {"username": self.username, "name": self.name, "email": self.email, **self.extra}


@dataclasses.dataclass(frozen=True)
class Previous:
    """The secret before the last rotation, which stays stored until the next one.

    It is accepted ``until`` then (0: not at all); ``last_used`` and ``rotated`` are the times of its last use and of
    the rotation, ``None`` where unknown. All are milliseconds since 1970. ``extra`` holds the members of its record
    that this version does not know.
    """

    secret: str = dataclasses.field(repr=False)
    until: int
    last_used: int | None = None
    rotated: int | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def to_document(self) -> dict[str, Any]:
        """As the record has it."""
        rotated = {} if self.rotated is None else {"rotatedDate": self.rotated}
        return {"secret": self.secret, "until": self.until, "lastUsed": self.last_used, **rotated, **self.extra}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Application:
    """One application, checked. The members are those of the seed's table and of contract section 3.

    ``expire`` is in seconds; ``created_date``, ``last_modified_date`` and ``disabled_date`` (when it was last
    disabled by a call) are milliseconds since 1970;
    ``format`` is the version of its record, and ``extra`` the members there that this version does not know:
    both are written back as they were. Secrets are kept out of ``repr``.
    """

    name: str
    token_name: str
    secret: str = dataclasses.field(repr=False)
    expire: int
    fieldmap: FieldMap
    algorithm: str
    enable: bool
    inituser: bool
    initroles: tuple[str, ...]
    initpwd: str = dataclasses.field(default="", repr=False)
    self_service: bool = False
    created_date: int = 0
    last_modified_date: int = 0
    creator_id: str = ""
    disabled_date: int = 0
    previous: Previous | None = None
    format: int = FORMAT
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def to_document(self) -> dict[str, Any]:
        """The record: the contract's member names, in a stable order, unknown members last."""
        return {
            "format": self.format,
            "name": self.name,
            "token_name": self.token_name,
            "secret": self.secret,
            "expire": self.expire,
            "fieldmap": self.fieldmap.to_document(),
            "algorithm": self.algorithm,
            "enable": "1" if self.enable else "0",
            "inituser": "1" if self.inituser else "0",
            "initroles": list(self.initroles),
            "initpwd": self.initpwd,
            "self_service": "1" if self.self_service else "0",
            "createdDate": self.created_date,
            "lastModifiedDate": self.last_modified_date,
            "creatorId": self.creator_id,
            **({"disabledDate": self.disabled_date} if self.disabled_date else {}),
            **({"previous": self.previous.to_document()} if self.previous else {}),
            **self.extra,
        }

    @functools.cached_property
    def key(self) -> Key:
        """What verifies its tokens, and with a shared secret signs them: read once, as the secret never changes."""
        return verification_key(self.algorithm, self.secret)

    @functools.cached_property
    def previous_key(self) -> Key | None:
        """What verifies tokens of the secret before the last rotation, whether that counts still or not."""
        return verification_key(self.algorithm, self.previous.secret) if self.previous else None

    def keys(self, now: float) -> Sequence[Key]:
        """The present key and, while a grace time runs, the one before; ``now`` is in seconds since 1970."""
        previous = self.previous_key if self.previous is not None and self.previous_secret(now) is not None else None
        return (self.key,) if previous is None else (self.key, previous)

    def previous_secret(self, now: float) -> str | None:
        """The secret before the last rotation while its grace time runs; ``now`` is in seconds since 1970."""
        return self.previous.secret if self.previous and now * 1000 < self.previous.until else None

    def disabled_since(self, moment: float) -> bool:
        """Whether the application was disabled, or deleted and made anew, since ``moment`` (seconds since 1970)."""
        return max(self.created_date, self.disabled_date) > moment * 1000

    def to_response(self, now: float) -> dict[str, Any]:
        """The fields as calls answer them: secrets masked, ``previous`` while its grace time runs."""
        if self.previous and self.previous_secret(now) is not None:
            return {**self._answer, "previous": {"until": self.previous.until, "lastUsed": self.previous.last_used}}
        return {**self._answer}

    @functools.cached_property
    def _answer(self) -> Mapping[str, Any]:
        """What answers have at any time; put together once, as a list has a thousand of them."""
        hidden = ("format", "previous", "disabledDate", *self.extra)
        known = {name: value for name, value in self.to_document().items() if name not in hidden}
        known |= {"secret": MASK, "initpwd": MASK if self.initpwd else ""}
        return {**known, "fieldmap": dataclasses.replace(self.fieldmap, extra={}).to_document()}

    @functools.cached_property
    def rule_violations(self) -> Mapping[str, str]:
        """By field, a sentence on each stored value that breaks a rule for new values; it continues to work."""
        return {
            field: Message("%(sentence)s; the stored value continues to work", sentence=sentences[0])
            for field, sentences in errors_in_new_values(vars(self)).items()
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Application":
        """Read a record, which may have been edited by hand; ``RecordDamaged`` names the member that is wrong."""
        known = {"format": FORMAT, **{member: DEFAULTS[member] for member in _OPTIONAL}, **document}
        member = "format"
        try:
            values: dict[str, Any] = {member: rules.record_format(known.pop(member), FORMAT)}
            for member, rule in RULES.items():
                values[member] = rule(known.pop(member))
            for member, attribute in _BOOKKEEPING.items():
                values[attribute] = (_text if attribute == "creator_id" else rules.whole_number)(
                    known.pop(member, None)
                )
            member = "previous"
            values[member] = _previous(values["algorithm"], known.pop(member, None))
            member = "secret"
            key = verification_key(values["algorithm"], values["secret"])
            member = "self_service"
            rules.check_self_service(values["algorithm"], self_service=values["self_service"])
        except KeyError:
            raise RecordDamaged(reason=f"application {document.get('name')!r}: {member} is missing") from None
        except RuleError as error:
            raise RecordDamaged(reason=f"application {document.get('name')!r}: {member} {error}") from None
        application = cls(**values, extra=known)
        # Where ``key`` would keep it, when it is asked for.
        vars(application)["key"] = key
        return application


def field_map(value: object) -> FieldMap:
    """A whole field map, as a record has it; a request's goes through its own schema, field by field."""
    if not isinstance(value, Mapping) or not value.keys() >= {"username", "name", "email"}:
        raise RuleError("must be an object with username, name and email")
    extra = dict(value)
    claims = tuple(rules.claim_name(extra.pop(field)) for field in ("username", "name", "email"))
    fieldmap = _plain_field_map(*claims)
    return dataclasses.replace(fieldmap, extra=extra) if extra else fieldmap


@functools.lru_cache(maxsize=256)
def _plain_field_map(username: str, name: str, email: str) -> FieldMap:
    # A pure function of its arguments, of which most applications have the same.
    fieldmap = FieldMap(username, name, email)
    check_different_claims(fieldmap)
    return fieldmap


def check_different_claims(fieldmap: FieldMap) -> None:
    """Two fields in one claim would make one of them lose its value."""
    if len({fieldmap.username, fieldmap.name, fieldmap.email}) != 3:
        raise RuleError("must map username, name and email to three different claims")


def errors_in_new_values(values: Mapping[str, Any], stored: Application | None = None) -> dict[str, list[str]]:
    """By field, the sentences on values that break a rule for new values.

    ``values`` are members of an application, as far as they are known. What is the same in ``stored`` is not new: a
    rule that came later must not keep anybody from changing another field.
    """
    old = {} if stored is None else vars(stored)
    found: dict[str, list[str]] = {}

    def check(field: str, rule: Callable[[], object]) -> None:
        try:
            rule()
        except RuleError as error:
            found[field] = [about(field, error.message)]

    if "token_name" in values and values["token_name"] != old.get("token_name"):
        check("token_name", lambda: names.token_name(values["token_name"]))
    for member in ("username", "name", "email") if "fieldmap" in values else ():
        claim = getattr(values["fieldmap"], member)
        if claim != getattr(old.get("fieldmap"), member, None):
            check(f"fieldmap.{member}", functools.partial(rules.new_claim_name, claim))
    roles = [role for role in values.get("initroles", ()) if role not in old.get("initroles", ())]
    check("initroles", lambda: [names.role_name(role) for role in roles])
    pair = values.get("algorithm"), values.get("secret")
    if None not in pair and pair != (old.get("algorithm"), old.get("secret")):
        check("secret", lambda: vetting.check(values["algorithm"], values["secret"]))
    return found


def _previous(algorithm: str, value: object) -> Previous | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or "until" not in value:
        raise RuleError("must be an object with secret and until")
    verification_key(algorithm, rules.secret(value.get("secret")))
    last_used, rotated = value.get("lastUsed"), value.get("rotatedDate")
    known = ("secret", "until", "lastUsed", "rotatedDate")
    return Previous(
        secret=value["secret"],
        until=rules.whole_number(value["until"]),
        last_used=None if last_used is None else rules.whole_number(last_used),
        rotated=None if rotated is None else rules.whole_number(rotated),
        extra={member: inner for member, inner in value.items() if member not in known},
    )


def _text_rule(rule: Any) -> Any:
    return lambda value: rule(rules.text(value))


def _text(value: object) -> str:
    return "" if value is None else rules.text(value)


RULES: dict[str, Any] = {
    "name": _text_rule(names.application_name),
    "token_name": _text_rule(names.stored_token_name),
    "secret": rules.secret,
    "expire": rules.token_lifetime,
    "fieldmap": field_map,
    "algorithm": rules.algorithm,
    "enable": rules.flag,
    "inituser": rules.flag,
    "initroles": rules.roles,
    "initpwd": rules.initial_password,
    "self_service": rules.flag,
}
_OPTIONAL = ("token_name", "initpwd", "self_service")
_BOOKKEEPING = {
    "createdDate": "created_date",
    "lastModifiedDate": "last_modified_date",
    "creatorId": "creator_id",
    "disabledDate": "disabled_date",
}


class Sealer:
    """Turns records into applications and back, under this installation's keys."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def unseal(self, document: Document) -> Application:
        """The application of a record, whose secrets may be encrypted or, written by hand, plain."""
        name, previous = str(document.get("name")), document.get("previous")
        opened = dict(document)
        for field in ("secret", "initpwd"):
            if field in document:
                opened[field] = self._keyring.decrypt(name, field, document[field])
        if isinstance(previous, dict):
            secret = self._keyring.decrypt(name, "previous", previous.get("secret"))
            opened["previous"] = {**previous, "secret": secret}
        return Application.from_document(opened)

    def seal(self, application: Application) -> Document:
        """The record of an application, its secrets encrypted."""
        document = application.to_document()
        for field in ("secret", "initpwd"):
            document[field] = self._keyring.encrypt(application.name, field, document[field])
        if application.previous is not None:
            document["previous"]["secret"] = self._keyring.encrypt(
                application.name, "previous", application.previous.secret
            )
        return document
