"""An application: a named external system whose tokens are trusted; its record and the rules of its fields."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from datafor_token import names
from datafor_token.errors import RecordDamaged, RuleError
from datafor_token.keys import ALGORITHMS, is_shared, verification_key

COLLECTION = "applications"
FORMAT = 1
MASK = "************"  # stands for a stored secret in answers; sent back, it keeps the stored one
LONGEST_EXPIRE = 315_360_000  # seconds: ten years
# Claims that the service itself sets or checks: no field can be mapped to one of them.
TIME_CLAIMS = ("exp", "nbf", "iat")


@dataclasses.dataclass(frozen=True)
class FieldMap:
    """Which claims of a token hold the user's name, display name and email address."""

    username: str
    name: str
    email: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Application:
    """One application, checked. The members are those of the seed's table and of contract section 3.

    ``expire`` is in seconds; ``created_date`` and ``last_modified_date`` are milliseconds since 1970;
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
            "fieldmap": dataclasses.asdict(self.fieldmap),
            "algorithm": self.algorithm,
            "enable": "1" if self.enable else "0",
            "inituser": "1" if self.inituser else "0",
            "initroles": list(self.initroles),
            "initpwd": self.initpwd,
            "self_service": "1" if self.self_service else "0",
            "createdDate": self.created_date,
            "lastModifiedDate": self.last_modified_date,
            "creatorId": self.creator_id,
            **self.extra,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Application":
        """Read a record, which may have been edited by hand; ``RecordDamaged`` names the member that is wrong."""
        known = {"format": FORMAT, "token_name": "token", "initpwd": "", "self_service": "0", **document}
        member = "format"
        try:
            values: dict[str, Any] = {member: _natural(known.pop(member))}
            for member, rule in RULES.items():
                values[member] = rule(known.pop(member))
            for member, attribute in _BOOKKEEPING.items():
                values[attribute] = (_text if attribute == "creator_id" else _natural)(known.pop(member, None))
            member = "secret"
            verification_key(values["algorithm"], values["secret"])
            member = "self_service"
            check_self_service(values["algorithm"], self_service=values["self_service"])
        except KeyError:
            raise RecordDamaged(reason=f"application {document.get('name')!r}: {member} is missing") from None
        except RuleError as error:
            raise RecordDamaged(reason=f"application {document.get('name')!r}: {member} {error}") from None
        return cls(**values, extra=known)


def check_self_service(algorithm: str, *, self_service: bool) -> None:
    """Users can make their own tokens only where the service itself holds the key that signs."""
    if self_service and not is_shared(algorithm):
        raise RuleError("can only be 1 with HS256, HS384 or HS512")


# The rules of the fields: each takes a value as JSON has it and returns it as ``Application`` keeps it.


def text(value: object) -> str:
    """Text as it is; what is no text is refused."""
    if not isinstance(value, str):
        raise RuleError("must be one text value")
    return value


def seconds(value: object) -> int:
    """A lifetime in whole seconds."""
    if type(value) is not int or not 1 <= value <= LONGEST_EXPIRE:
        raise RuleError(f"must be a whole number of seconds from 1 to {LONGEST_EXPIRE}")
    return value


def flag(value: object) -> bool:
    """``"1"`` or ``"0"``; JSON ``true``, ``false``, ``1`` and ``0`` are taken as those."""
    # By type as well: in Python 1.0 equals 1, and both equal True.
    if type(value) in (str, bool, int) and value in ("1", "0", 1, 0):
        return value in ("1", 1)
    raise RuleError('must be "1" or "0"')


def algorithm(value: object) -> str:
    """One of the supported signature algorithms, spelled exactly (RFC 7518 section 3.1, RFC 8037)."""
    if not isinstance(value, str) or value not in ALGORITHMS:
        raise RuleError(f"must be one of {', '.join(ALGORITHMS)}")
    return value


def secret(value: object) -> str:
    """The secret as it was sent; whether it fits the algorithm is ``keys.verification_key``'s to say."""
    if not text(value):
        raise RuleError("can not be empty")
    return text(value)


def claim_name(value: object) -> str:
    """The name of a claim that a user's field is mapped to."""
    claim = text(value)
    if not claim:
        raise RuleError("can not be empty")
    if len(claim) > 128:
        raise RuleError("must be at most 128 characters long")
    if names.has_control_characters(claim):
        raise RuleError("can not contain control or format characters")
    if claim in TIME_CLAIMS:
        raise RuleError(f"can not be {claim}: the service sets that claim itself")
    return claim


def field_map(value: object) -> FieldMap:
    """A whole field map, as a record has it; a request's goes through its own schema, field by field."""
    if not isinstance(value, Mapping) or value.keys() != {"username", "name", "email"}:
        raise RuleError("must be an object with username, name and email")
    fieldmap = FieldMap(**{field: claim_name(claim) for field, claim in value.items()})
    check_different_claims(fieldmap)
    return fieldmap


def check_different_claims(fieldmap: FieldMap) -> None:
    """Two fields in one claim would make one of them lose its value."""
    if len(set(dataclasses.astuple(fieldmap))) != 3:
        raise RuleError("must map username, name and email to three different claims")


def roles(value: object) -> tuple[str, ...]:
    """The roles of a new user, at most one user type among them (none means ``SYS_Reader``)."""
    if not isinstance(value, list) or not 1 <= len(value) <= 64:
        raise RuleError("must be a list of 1 to 64 names")
    found = tuple(names.role_name(text(role)) for role in value)
    if sum(role in names.USER_TYPES for role in found) > 1:
        raise RuleError(f"can contain at most one of the user types {', '.join(names.USER_TYPES)}")
    return found


def initial_password(value: object) -> str:
    """The password of users made by their first sign-in; empty means that they get none."""
    password = text(value)
    if len(password) > 1024:
        raise RuleError("must be at most 1024 characters long")
    # RFC 7617 section 2: a password with a control character could never be used for Basic.
    if re.search(r"[\x00-\x1f\x7f]", password):
        raise RuleError("can not contain control characters")
    return password


def _text_rule(rule: Any) -> Any:
    return lambda value: rule(text(value))


def _natural(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise RuleError("must be a whole number")
    return value


def _text(value: object) -> str:
    return "" if value is None else text(value)


RULES: dict[str, Any] = {
    "name": _text_rule(names.application_name),
    "token_name": _text_rule(names.token_name),
    "secret": secret,
    "expire": seconds,
    "fieldmap": field_map,
    "algorithm": algorithm,
    "enable": flag,
    "inituser": flag,
    "initroles": roles,
    "initpwd": initial_password,
    "self_service": flag,
}
_BOOKKEEPING = {"createdDate": "created_date", "lastModifiedDate": "last_modified_date", "creatorId": "creator_id"}
