"""The rules of the fields of applications and calls: each takes a value as JSON has it and returns it as it is kept.

One rule for a request and for a record that was edited by hand. What breaks a rule raises
``RuleError`` with a predicate ("must be ...").
"""

import re
import unicodedata
from urllib.parse import unquote

from datafor_token.crypto.keys import ALGORITHMS, is_shared
from datafor_token.errors import RuleError
from datafor_token.validation import names

LONGEST_EXPIRE = 315_360_000  # seconds: ten years
LONGEST_PASSWORD = 1024  # characters
DEFAULT_GRACE, LONGEST_GRACE = 3600, 2_592_000  # seconds: an hour, thirty days
DEFAULT_TICKET, LONGEST_TICKET = 60, 86_400  # seconds: a minute, a day
# Claims that the service itself sets or checks: no field can be mapped to one of them.
TIME_CLAIMS = ("exp", "nbf", "iat")
# Claims that say for whom a token is meant and which one it is (RFC 7519 section 4.1).
REGISTERED_CLAIMS = ("iss", "aud", "jti")


def check_self_service(algorithm: str, *, self_service: bool) -> None:
    """Users can make their own tokens only where the service itself holds the key that signs."""
    if self_service and not is_shared(algorithm):
        raise RuleError("can only be 1 with HS256, HS384 or HS512")


def text(value: object) -> str:
    """Text as it is; what is no text is refused."""
    if not isinstance(value, str):
        raise RuleError("must be one text value")
    return value


def token_lifetime(value: object) -> int:
    """A lifetime in whole seconds."""
    return _seconds(value, 1, LONGEST_EXPIRE)


def grace_period(value: object) -> int:
    """For how many whole seconds a secret goes on being accepted after its rotation."""
    return _seconds(value, 0, LONGEST_GRACE)


def ticket_lifetime(value: object) -> int:
    """How many whole seconds a one-time link waits to be used."""
    return _seconds(value, 1, LONGEST_TICKET)


def _seconds(value: object, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise RuleError(
            "must be a whole number of seconds from %(lowest)s to %(highest)s", lowest=lowest, highest=highest
        )
    return value


def page_size(value: object) -> int:
    """How many events one answer has at most."""
    if type(value) is not int or not 1 <= value <= 1000:
        raise RuleError("must be a whole number from 1 to 1000")
    return value


def next_path(text: str) -> str:
    """Where to go after signing in: a path of this host, however it is spelled, and never another host."""
    if len(text) > 2048:
        raise RuleError("must be at most 2048 characters long")
    if any(names.has_control_characters(spelling, also=("Zl", "Zp")) for spelling in (text, unquote(text))):
        raise RuleError("can not contain control characters")
    # As often as a browser and the servers behind it together might decode it; and what looks like a slash is one.
    spellings = [re.split("[?#]", text, maxsplit=1)[0]]
    for _ in range(3):
        spellings.append(unquote(spellings[-1]))
    spellings += [unicodedata.normalize("NFKC", spelling) for spelling in spellings]
    for spelling in spellings:
        if not spelling.startswith("/") or "//" in spelling or "\\" in spelling:
            raise RuleError("must be a path of this host, such as /reports/1")
        if "@" in spelling or names.has_control_characters(spelling):
            raise RuleError("can not contain '@' or control characters in its path")
    return text


def application_names(value: object) -> tuple[str, ...]:
    """A list of names of applications."""
    if not isinstance(value, list):
        raise RuleError("must be a list of names")
    return tuple(names.application_name(text(name)) for name in value)


def flag(value: object) -> bool:
    """``"1"`` or ``"0"``; JSON ``true``, ``false``, ``1`` and ``0`` are taken as those."""
    # By type as well: in Python 1.0 equals 1, and both equal True.
    if type(value) in (str, bool, int) and value in ("1", "0", 1, 0):
        return value in ("1", 1)
    raise RuleError('must be "1" or "0"')


def algorithm(value: object) -> str:
    """One of the supported signature algorithms, spelled exactly (RFC 7518 section 3.1, RFC 8037)."""
    if not isinstance(value, str) or value not in ALGORITHMS:
        raise RuleError("must be one of %(values)s", values=", ".join(ALGORITHMS))
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
        raise RuleError("can not be %(claim)s: the service sets that claim itself", claim=claim)
    return claim


def new_claim_name(claim: str) -> str:
    """Check a claim that a user's field is mapped to from now on."""
    if claim in REGISTERED_CLAIMS:
        raise RuleError("cannot be %(claim)s: that claim is about the token, not about the user", claim=claim)
    return claim


def roles(value: object) -> tuple[str, ...]:
    """Return the roles of a new user, at most one user type among them (none means ``SYS_Reader``).

    What each name may be is ``names.role_name``'s to say, for new ones.
    """
    if not isinstance(value, list) or len(value) > 64:
        raise RuleError("must be a list of at most 64 names")
    if not all(isinstance(role, str) for role in value):
        raise RuleError("must be a list of names, each of them text")
    if sum(role in names.USER_TYPES for role in value) > 1:
        raise RuleError("can contain at most one of the user types %(values)s", values=", ".join(names.USER_TYPES))
    return tuple(value)


def initial_password(value: object) -> str:
    """The password of users made by their first sign-in; empty means that they get none."""
    password = text(value)
    if len(password) > LONGEST_PASSWORD:
        raise RuleError("must be at most %(number)s characters long", number=LONGEST_PASSWORD)
    # RFC 7617 section 2: a password with a control character could never be used for Basic.
    if re.search(r"[\x00-\x1f\x7f]", password):
        raise RuleError("can not contain control characters")
    return password


def new_password(value: object) -> str:
    """The password that a user is to have from now on."""
    if not text(value):
        raise RuleError("can not be empty")
    return initial_password(value)


def check_password(password: str, user: str | None, least: int) -> None:
    """Refuse a password of fewer than ``least`` characters, and the name of its user in whatever case."""
    if len(password) < least:
        raise RuleError("must be at least %(number)s characters long", number=least)
    if user is not None and names.fold(password) == names.fold(user):
        raise RuleError("cannot be the user name")


def whole_number(value: object) -> int:
    """A whole number that is not negative; ``None`` counts as 0."""
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise RuleError("must be a whole number")
    return value


def record_format(value: object, known: int) -> int:
    """Return the version of a record; one that is newer than what this version of the service knows is refused."""
    found = whole_number(value)
    if found > known:
        raise RuleError(
            "is %(found)s: a newer version of this service wrote the record, this one knows %(known)s at most",
            found=found,
            known=known,
        )
    return found
