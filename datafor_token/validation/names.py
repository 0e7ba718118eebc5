"""Rules for the names of applications, users and roles, and their comparison.

Every rule takes a text as it was given and returns it as it is stored, or raises ``RuleError``.
"""

import re
import unicodedata
from collections.abc import Sequence

from datafor_token.errors import RuleError

# The highest first.
USER_TYPES = ("Administrator", "SYS_Creator", "SYS_Reader")
DEFAULT_USER_TYPE = "SYS_Reader"
LONGEST_PROFILE_TEXT = 256  # characters

# URL parameters of our own calls. A token in one of these could not be distinguished from their values.
# fmt: off
RESERVED_TOKEN_NAMES = frozenset([
    "name", "username", "next", "ticket", "role", "type", "application",
    "limit", "since", "until", "event", "user", "page", "dry_run",
])
# fmt: on
# Characters. Every longer text breaks every rule, even after composition by NFC.
_LONGEST_DECOMPOSED = 2048
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOKEN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def fold(name: str) -> str:
    """Return the text by which names are compared: NFKC and casefold (Unicode 3.13, D145 ff.).

    Casefolding can undo the normalisation, so NFKC is applied again.
    """
    if name.isascii():
        # Fast path for most names.
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def application_name(text: str) -> str:
    """Check the name of an application (1 to 64 letters, marks, digits, ``_`` and ``-``), and return it in NFC."""
    if _PLAIN_NAME.fullmatch(text):
        # Fast path for most names.
        return text
    name = _normalized(text)
    if not name:
        raise RuleError("can not be empty")
    if len(name) > 64:
        raise RuleError("must be at most %(number)s characters long", number=64)
    categories = [unicodedata.category(character) for character in name]
    legal = all(
        character in "_-" or category[0] in "LM" or category == "Nd"
        for character, category in zip(name, categories, strict=True)
    )
    if not legal:
        raise RuleError("may only contain letters, digits, '_' and '-'")
    if not (categories[0][0] == "L" or categories[0] == "Nd"):
        raise RuleError("must begin with a letter or a digit")
    return name


def _normalized(text: str) -> str:
    if text.isascii():
        return text
    # Cut first: normalising n combining marks takes time proportional to n squared.
    return unicodedata.normalize("NFC", text[:_LONGEST_DECOMPOSED])


def stored_token_name(text: str) -> str:
    """Check the URL parameter of an application's tokens in a stored record."""
    if not text:
        raise RuleError("can not be empty")
    if not _TOKEN_NAME.fullmatch(text):
        raise RuleError("must be 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")
    return text


def token_name(text: str) -> str:
    """Check a new URL parameter of an application's tokens, which must not be one of our own calls."""
    if stored_token_name(text) in RESERVED_TOKEN_NAMES:
        raise RuleError("cannot be '%(text)s': calls of this service use that parameter themselves", text=text)
    return text


def user_name(text: str) -> str:
    """Check the name of a user (1 to 128 characters without control characters and ``:``), and return it in NFC."""
    name = _normalized(text)
    if not name:
        raise RuleError("can not be empty")
    if len(name) > 128:
        raise RuleError("must be at most %(number)s characters long", number=128)
    if has_control_characters(name, also=("Cn", "Zl", "Zp")):
        raise RuleError("cannot contain control, format or unassigned characters or line separators")
    if ":" in name:
        raise RuleError("cannot contain ':'")
    if name != name.strip():
        raise RuleError("cannot begin or end with a space")
    return name


def role_name(text: str) -> str:
    """Check a new role: 1 to 64 characters, no comma (headers separate roles by commas), no space at either end."""
    if not text:
        raise RuleError("cannot contain an empty name")
    if len(text) > 64:
        raise RuleError("must be names of at most 64 characters")
    if "," in text:
        raise RuleError("cannot contain a comma within a name")
    if has_control_characters(text, also=("Zl", "Zp")):
        raise RuleError("cannot contain control or format characters")
    if text != text.strip():
        raise RuleError("cannot contain a name with a space at its beginning or end")
    kind = user_type_like(text)
    if kind is not None and kind != text:
        raise RuleError("cannot contain a name that looks like %(type)s: write it exactly like that", type=kind)
    return text


def user_role_name(text: str) -> str:
    """Check a new role of a user, which must not be a user type."""
    if text in USER_TYPES:
        raise RuleError("cannot contain %(role)s, which is a user type", role=text)
    return role_name(text)


def new_user_role_name(text: str) -> str:
    """Check a new role of a user: without ``&``, by which calls join roles."""
    if "&" in text:
        raise RuleError("cannot contain '&' within a name")
    return user_role_name(text)


def new_profile_text(text: str) -> str:
    """Check a new name, address, telephone number, department or title of a user.

    They are sent in headers by the gate, and printed on terminals.
    """
    if len(text) > LONGEST_PROFILE_TEXT:
        raise RuleError("must be at most %(number)s characters long", number=LONGEST_PROFILE_TEXT)
    if has_control_characters(text):
        raise RuleError("has control characters")
    return text


def user_type_like(text: str) -> str | None:
    """Return the user type that a role looks like, ignoring case, spaces and compatibility characters, or None."""
    if text.isascii() and text.isprintable():
        # Fast path for most roles.
        return _FOLDED_TYPES.get(text.lower().strip())
    visible = "".join(letter for letter in text if not has_control_characters(letter, also=("Cn", "Co")))
    return _FOLDED_TYPES.get(_INVISIBLE.sub("", fold(_INVISIBLE.sub("", visible))).strip())


# Characters without a visible shape: fillers, variation selectors, the Braille blank.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_FOLDED_TYPES = {kind.lower(): kind for kind in USER_TYPES}


def user_type_and_roles(initroles: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the user type among an application's initial roles, by default ``SYS_Reader``, and the other roles.

    A stored role that only looks like a user type is left out.
    """
    kinds = [role for role in initroles if role in USER_TYPES]
    roles = tuple(role for role in initroles if user_type_like(role) is None)
    return kinds[0] if kinds else DEFAULT_USER_TYPE, roles


def groups(user_type: str, roles: Sequence[str]) -> tuple[str, ...]:
    """Return a user's type and roles for the header of the gate, which joins them by commas.

    Stored roles may break today's rules: one that would be read as a user type or as two roles is left out.
    """
    displayed = (display_text(role) for role in roles if "," not in role and user_type_like(role) is None)
    return (user_type, *(role for role in displayed if role))


def display_text(text: str) -> str:
    """Return a display name or address from a token for a header: at most 256 characters, no control characters."""
    if text.isascii() and text.isprintable():
        return text[:256].strip()
    return "".join(character for character in text if not has_control_characters(character))[:256].strip()


def has_control_characters(text: str, also: tuple[str, ...] = ()) -> bool:
    """Return whether ``text`` has a control, format or surrogate character, or one of the categories ``also``."""
    if text.isascii():
        # All other ASCII characters are visible, or a space.
        return not text.isprintable()
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", *also) for character in text)
