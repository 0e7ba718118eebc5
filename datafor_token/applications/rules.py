"""Rules for the fields of applications and calls. A rule takes a JSON value and returns the value that the code uses.

The same rule applies to a request and to a record that was edited by hand. A value that breaks it raises ``RuleError``
with a predicate ("must be ...").
"""

import enum
import functools
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

from datafor_token.crypto.algorithms import ALGORITHMS, is_shared
from datafor_token.errors import RuleError
from datafor_token.validation import names

LONGEST_EXPIRE = 315_360_000  # seconds: ten years
LONGEST_PASSWORD = 1024  # characters
LONGEST_LABEL = 64  # characters
DEFAULT_GRACE, LONGEST_GRACE = 3600, 2_592_000  # seconds: an hour, thirty days
DEFAULT_TICKET, LONGEST_TICKET = 60, 86_400  # seconds: a minute, a day
SHORTEST_SESSION, LONGEST_SESSION = 60, 31_536_000  # seconds: a minute, a year
# Claims that the service itself sets or checks; no field can be mapped to them.
TIME_CLAIMS = ("exp", "nbf", "iat")
# Claims about the issuer, the audience and the identifier of a token (RFC 7519 section 4.1).
REGISTERED_CLAIMS = ("iss", "aud", "jti")


class TokenStatus(enum.StrEnum):
    """Status of an issued token. One that was revoked and has expired since is expired."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


def check_self_service(algorithm: str, *, self_service: bool) -> None:
    """Allow users to generate their own tokens only if the service holds the key that signs them."""
    if self_service and not is_shared(algorithm):
        raise RuleError("can only be 1 with HS256, HS384 or HS512")


def text(value: object) -> str:
    """Return the text unchanged; refuse any other type."""
    if not isinstance(value, str):
        raise RuleError("must be one text value")
    return value


def of_text(rule: Callable[[str], str]) -> Callable[[object], str]:
    """Return a rule that takes any value, for one that takes text only, which is its ``__wrapped__``."""

    @functools.wraps(rule)
    def check(value: object) -> str:
        return rule(text(value))

    return check


def token_lifetime(value: object) -> int:
    """Return the lifetime of a token in whole seconds."""
    return _seconds(value, 1, LONGEST_EXPIRE)


def token_label(label: str) -> str:
    """Return the text by which a user recognises a personal token; empty for none."""
    if len(label) > LONGEST_LABEL:
        raise RuleError("must be at most %(number)s characters long", number=LONGEST_LABEL)
    if names.has_control_characters(label, also=("Zl", "Zp")):
        raise RuleError("cannot contain control or format characters")
    return label


def grace_period(value: object) -> int:
    """Return the whole seconds for which a secret remains accepted after its rotation."""
    return _seconds(value, 0, LONGEST_GRACE)


def session_limit(value: object) -> int:
    """Return the whole seconds that a session may last, in all or without a request."""
    return _seconds(value, SHORTEST_SESSION, LONGEST_SESSION)


def ticket_lifetime(value: object) -> int:
    """Return the whole seconds within which a one-time link can be used."""
    return _seconds(value, 1, LONGEST_TICKET)


def _seconds(value: object, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise RuleError(
            "must be a whole number of seconds from %(lowest)s to %(highest)s", lowest=lowest, highest=highest
        )
    return value


def page_size(value: object) -> int:
    """Return the largest number of entries in one response."""
    if type(value) is not int or not 1 <= value <= 1000:
        raise RuleError("must be a whole number from 1 to 1000")
    return value


def token_status(text: str) -> str:
    """Return the status of an issued token unchanged; refuse any other text."""
    if text not in list(TokenStatus):
        raise RuleError("must be one of %(values)s", values=", ".join(TokenStatus))
    return text


def next_path(text: str) -> str:
    """Return the page to go to after signing in; refuse anything that a browser could take for another host."""
    if len(text) > 2048:
        raise RuleError("must be at most %(number)s characters long", number=2048)
    if any(names.has_control_characters(spelling, also=("Zl", "Zp")) for spelling in (text, unquote(text))):
        raise RuleError("cannot contain control characters")
    # Decoded as often as a browser and the servers behind it might do it together; NFKC turns what looks like a slash
    # into one.
    spellings = [re.split("[?#]", text, maxsplit=1)[0]]
    for _ in range(3):
        spellings.append(unquote(spellings[-1]))
    spellings += [unicodedata.normalize("NFKC", spelling) for spelling in spellings]
    for spelling in spellings:
        if not spelling.startswith("/") or "//" in spelling or "\\" in spelling:
            raise RuleError("must be a path of this host, such as /reports/1")
        if "@" in spelling or names.has_control_characters(spelling):
            raise RuleError("cannot contain '@' or control characters in its path")
    return text


def application_names(value: object) -> tuple[str, ...]:
    """Return a list of names of applications."""
    if not isinstance(value, list):
        raise RuleError("must be a list of names")
    return tuple(names.application_name(text(name)) for name in value)


def flag(value: object) -> bool:
    """Return whether a flag is set: ``"1"`` or ``"0"``, or JSON ``true``, ``false``, ``1`` or ``0``."""
    # The type is checked too: in Python 1.0 equals 1, and both equal True.
    if type(value) in (str, bool, int) and value in ("1", "0", 1, 0):
        return value in ("1", 1)
    raise RuleError('must be "1" or "0"')


def algorithm(value: object) -> str:
    """Return a supported signature algorithm, spelled exactly (RFC 7518 section 3.1, RFC 8037)."""
    if not isinstance(value, str) or value not in ALGORITHMS:
        raise RuleError("must be one of %(values)s", values=", ".join(ALGORITHMS))
    return value


def secret(value: object) -> str:
    """Return the secret as it was sent. ``keys.verification_key`` checks that it fits the algorithm."""
    if not text(value):
        raise RuleError("can not be empty")
    return text(value)


def claim_path(value: object) -> str:
    """Return the name of a claim, or a JSON Pointer to a value inside a claim (see ``validation.claims``)."""
    claim = text(value)
    if not claim:
        raise RuleError("can not be empty")
    if len(claim) > 128:
        raise RuleError("must be at most %(number)s characters long", number=128)
    if names.has_control_characters(claim):
        raise RuleError("cannot contain control or format characters")
    return claim


def claim_name(value: object) -> str:
    """Return the claim, by name or JSON Pointer, that a user's field is mapped to."""
    claim = claim_path(value)
    if claim.removeprefix("/") in TIME_CLAIMS:
        raise RuleError("cannot be %(claim)s: the service sets that claim itself", claim=claim)
    return claim


def optional_claim_name(value: object) -> str:
    """Return the claim that a user's field is mapped to; empty if it is mapped to none."""
    return "" if text(value) == "" else claim_name(value)


def new_claim_name(claim: str) -> str:
    """Return a claim that a user's field is newly mapped to."""
    if claim.removeprefix("/") in REGISTERED_CLAIMS:
        raise RuleError("cannot be %(claim)s: that claim is about the token, not about the user", claim=claim)
    return claim


def roles(value: object) -> tuple[str, ...]:
    """Return the roles of a new user, which include at most one user type (none means ``SYS_Reader``).

    ``names.role_name`` has the rule for each new name.
    """
    if not isinstance(value, list) or len(value) > 64:
        raise RuleError("must be a list of at most 64 names")
    if not all(isinstance(role, str) for role in value):
        raise RuleError("must be a list of names, each of them text")
    if sum(role in names.USER_TYPES for role in value) > 1:
        raise RuleError("can contain at most one of the user types %(types)s", types=", ".join(names.USER_TYPES))
    return tuple(value)


def initial_password(value: object) -> str:
    """Return the password of users who are created by their first sign-in; empty for none."""
    password = text(value)
    if len(password) > LONGEST_PASSWORD:
        raise RuleError("must be at most %(number)s characters long", number=LONGEST_PASSWORD)
    # RFC 7617 section 2: HTTP Basic authentication does not allow control characters in a password.
    if re.search(r"[\x00-\x1f\x7f]", password):
        raise RuleError("cannot contain control characters")
    return password


def new_password(value: object) -> str:
    """Return a new password for a user."""
    if not text(value):
        raise RuleError("can not be empty")
    return initial_password(value)


def check_password(password: str, user: str | None, min_length: int) -> None:
    """Refuse a password of fewer than ``min_length`` characters, and the name of its user regardless of case."""
    if len(password) < min_length:
        raise RuleError("must be at least %(number)s characters long", number=min_length)
    if user is not None and names.fold(password) == names.fold(user):
        raise RuleError("cannot be the user name")


def whole_number(value: object) -> int:
    """Return a whole number that is not negative; 0 for ``None``."""
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise RuleError("must be a whole number")
    return value


def record_format(value: object, known: int) -> int:
    """Return the format version of a record; refuse one that is newer than ``known``."""
    version = whole_number(value)
    if version > known:
        raise RuleError(
            "is %(format)s: a newer version of this service wrote the record; this one knows %(known)s at most",
            format=version,
            known=known,
        )
    return version
