"""The rules for names, each in one place: applications, users, roles, and what counts as the same name.

Every rule takes the text as it was given and returns it as it is kept, or raises ``RuleError``
with a predicate ("must be ...").
"""

import re
import unicodedata
from collections.abc import Sequence

from datafor_token.errors import RuleError

USER_TYPES = ("Administrator", "SYS_Creator", "SYS_Reader")
DEFAULT_USER_TYPE = "SYS_Reader"

# Words that our own calls use in a URL: a token under one of these could not be told from them.
# fmt: off
RESERVED_TOKEN_NAMES = frozenset([
    "name", "username", "next", "ticket", "role", "type", "application",
    "limit", "since", "until", "event", "user", "page",
])
# fmt: on
# Characters; what is longer is too long for every rule, however much of it NFC puts together.
_LONGEST_DECOMPOSED = 2048
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOKEN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def fold(name: str) -> str:
    """What two spellings of the same name have in common: NFKC and casefold (Unicode 3.13, D145 ff.).

    NFKC once more at the end, since folding can leave a text that is no longer normalised.
    """
    if name.isascii():
        # The same, and most names.
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def application_name(text: str) -> str:
    """The name of an application: 1 to 64 letters, marks, digits, ``_`` and ``-``; answered in NFC."""
    if _PLAIN_NAME.fullmatch(text):
        # The same, and most names.
        return text
    name = _normalized(text)
    if not name:
        raise RuleError("can not be empty")
    if len(name) > 64:
        raise RuleError("must be at most 64 characters long")
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
    # Cut first: normalising thousands of combining marks takes time that grows with their square.
    return unicodedata.normalize("NFC", text[:_LONGEST_DECOMPOSED])


def stored_token_name(text: str) -> str:
    """Check what a stored record may have as the URL parameter that carries an application's tokens."""
    if not text:
        raise RuleError("can not be empty")
    if not _TOKEN_NAME.fullmatch(text):
        raise RuleError("must be 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")
    return text


def token_name(text: str) -> str:
    """Check the URL parameter that is to carry an application's tokens: none that our own calls use."""
    if stored_token_name(text) in RESERVED_TOKEN_NAMES:
        raise RuleError("can not be '%(text)s': calls of this service use that parameter themselves", text=text)
    return text


def user_name(text: str) -> str:
    """The name of a user, the same rule wherever one is given (contract section 6); answered in NFC."""
    name = _normalized(text)
    if not name:
        raise RuleError("can not be empty")
    if len(name) > 128:
        raise RuleError("must be at most 128 characters long")
    if has_control_characters(name, also=("Cn", "Zl", "Zp")):
        raise RuleError("can not contain control, format or unassigned characters or line separators")
    if ":" in name:
        raise RuleError("can not contain ':'")
    if name != name.strip():
        raise RuleError("can not begin or end with a space")
    return name


def role_name(text: str) -> str:
    """Check one new role: 1 to 64 characters, no comma (roles are joined by commas in headers), no blank at an end."""
    if not text:
        raise RuleError("can not contain an empty name")
    if len(text) > 64:
        raise RuleError("must be names of at most 64 characters")
    if "," in text:
        raise RuleError("can not contain a comma within a name")
    if has_control_characters(text, also=("Zl", "Zp")):
        raise RuleError("can not contain control or format characters")
    if text != text.strip():
        raise RuleError("cannot contain a name with a space at its beginning or end")
    kind = user_type_like(text)
    if kind is not None and kind != text:
        raise RuleError("cannot contain a name that looks like %(kind)s: write it exactly like that", kind=kind)
    return text


def user_role_name(text: str) -> str:
    """Check one new role of a user, whose type is a member of its own."""
    if text in USER_TYPES:
        raise RuleError("can not contain %(text)s, which is a user type", text=text)
    return role_name(text)


def user_type_like(text: str) -> str | None:
    """Return the user type that a role could be taken for, by its case, blanks or compatibility characters."""
    if text.isascii() and text.isprintable():
        # The same, and most roles.
        return _FOLDED_TYPES.get(text.lower().strip())
    visible = "".join(letter for letter in text if not has_control_characters(letter, also=("Cn", "Co")))
    return _FOLDED_TYPES.get(_INVISIBLE.sub("", fold(_INVISIBLE.sub("", visible))).strip())


# Letters, marks and signs without a shape of their own: fillers, variation selectors, the blank of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_FOLDED_TYPES = {kind.lower(): kind for kind in USER_TYPES}


def user_type_and_roles(initroles: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the user type among an application's initial roles (none means ``SYS_Reader``), and the other roles.

    A stored role that only looks like a user type is neither.
    """
    kinds = [role for role in initroles if role in USER_TYPES]
    roles = tuple(role for role in initroles if user_type_like(role) is None)
    return kinds[0] if kinds else DEFAULT_USER_TYPE, roles


def groups(user_type: str, roles: Sequence[str]) -> tuple[str, ...]:
    """Return a user's type and roles as the application behind the gate gets them, joined by commas.

    Stored roles can be older than their rules, or edited by hand: one that would be taken for a user type, or for two
    roles, is left out.
    """
    shown = (display_text(role) for role in roles if "," not in role and user_type_like(role) is None)
    return (user_type, *(role for role in shown if role))


def display_text(text: str) -> str:
    """A display name or address out of a token, fit for a header: no control characters, at most 256 others."""
    if text.isascii() and text.isprintable():
        return text[:256].strip()
    return "".join(character for character in text if not has_control_characters(character))[:256].strip()


def has_control_characters(text: str, also: tuple[str, ...] = ()) -> bool:
    """Whether ``text`` holds a control, format or surrogate character, or one of the categories ``also``."""
    if text.isascii():
        # The same: all others in ASCII are to be seen, or a space.
        return not text.isprintable()
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", *also) for character in text)
