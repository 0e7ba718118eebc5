"""Shared secrets that were damaged on the way: the symptoms of damage, and the repair of each.

A secret is stored exactly as sent. These rules only produce warnings when a secret is stored, a hint when a differently
spelled secret is sent (``matching_repair``), and near misses of a signature. No message repeats any part of a secret.
"""

import base64
import binascii
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import Message

_BOM = "\ufeff"
# A UTF-8 byte order mark that was read as Latin-1 or Windows-1252.
_MISREAD_BOM = "\u00ef\u00bb\u00bf"
_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb", "\u201e\u201c")
_BASE64_WITH_BLANKS = re.compile(r"[A-Za-z0-9/ ]{16,}={0,2}")
_ENCODED = re.compile("%(?:2[0BF]|3[AD]|0[AD])", re.IGNORECASE)
# Bounded repetitions, so that the search takes linear time.
_NAME_IN_FRONT = re.compile(
    r"(?:export )?[\w.-]{0,64}?(?:secret|key|token|passw)[\w.-]{0,64}?(?: ?= ?|: )(?=[^=\s])", re.IGNORECASE
)


class Symptom(NamedTuple):
    """A symptom of damage, and the warning about it."""

    is_shown_by: Callable[[str], bool]
    warning: Message


class Repair(NamedTuple):
    """A way to undo damage. ``phrase`` completes "it would match ..."."""

    phrase: Message
    apply: Callable[[str], str]


def warnings_about(algorithm: str, secret: str) -> list[Message]:
    """Return a warning for each symptom of damage that a shared secret shows."""
    if not is_shared(algorithm):
        return []
    return [symptom.warning for symptom in _SYMPTOMS if symptom.is_shown_by(secret)]


def repaired(secret: str) -> Iterator[tuple[Message, str]]:
    """Yield the phrase and the result of each single repair that changes the secret."""
    seen = {secret, ""}
    for repair in REPAIRS:
        text = repair.apply(secret)
        if text not in seen:
            seen.add(text)
            yield repair.phrase, text


def matching_repair(sent: str, stored: Sequence[bytes]) -> Message | None:
    """Return a hint about the single repair that makes the sent secret equal to a stored one, or vice versa.

    Return None if there is no such repair. Each comparison takes constant time.
    """
    for phrase, text in repaired(sent):
        if any(hmac.compare_digest(text.encode(), one) for one in stored):
            return Message("it would match %(difference)s", difference=phrase)
    for one in stored:
        for phrase, text in repaired(one.decode()):
            if hmac.compare_digest(text.encode(), sent.encode()):
                return Message("the stored secret would match %(difference)s", difference=phrase)
    return None


def alternative_keys(secret: str) -> Iterator[tuple[Message, bytes]]:
    """Yield about thirty keys that a token issuer may use by mistake, each with a phrase that describes the difference.

    They are the secret repaired, decoded, and damaged on the issuer's side.
    """
    seen = {secret.encode(), b""}
    for phrase, data in _all_alternative_keys(secret):
        if data not in seen:
            seen.add(data)
            yield phrase, data


def _all_alternative_keys(secret: str) -> Iterator[tuple[Message, bytes]]:
    for phrase, text in repaired(secret):
        yield phrase, text.encode()
    for phrase, decode in _DECODERS:
        yield phrase, decode(secret)
    for phrase, text in _damaged(secret):
        yield phrase, text.encode()
    yield Message("encoded as Latin-1"), secret.encode("latin-1", "replace")
    yield Message("encoded as UTF-16"), secret.encode("utf-16-le", "replace")


def _damaged(secret: str) -> Iterator[tuple[Message, str]]:
    for end in ("\n", "\r\n"):
        yield Message("with a line break at its end"), secret + end
    yield Message("with a blank at its end"), secret + " "
    yield Message("with blanks instead of '+'"), secret.replace("+", " ")
    for quote in "\"'":
        yield Message("in quotes"), f"{quote}{secret}{quote}"
    yield Message("with a byte order mark in front"), _BOM + secret
    yield Message("encoded as Base64"), base64.b64encode(secret.encode()).decode()
    yield Message("encoded as base64url"), base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    yield Message("encoded as hexadecimal"), secret.encode().hex()
    yield Message("in lower case"), secret.lower()
    yield Message("in upper case"), secret.upper()


def _from_base64(secret: str) -> bytes:
    return _decoded_base64(secret, b"+/")


def _from_base64url(secret: str) -> bytes:
    return _decoded_base64(secret, b"-_")


def _decoded_base64(secret: str, others: bytes) -> bytes:
    text = "".join(secret.split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=others, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _from_hex(secret: str) -> bytes:
    try:
        return bytes.fromhex(secret)
    except ValueError:
        return b""


_DECODERS = (
    (Message("decoded from Base64; the token issuer must use its text as it is"), _from_base64),
    (Message("decoded from base64url; the token issuer must use its text as it is"), _from_base64url),
    (Message("decoded from hexadecimal; the token issuer must use its text as it is"), _from_hex),
)


def _is_invisible(letter: str) -> bool:
    """Return whether a character is not visible, or looks like a blank."""
    return letter not in " \t\r\n" and unicodedata.category(letter) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _has_invisible(secret: str) -> bool:
    text = _without_bom(secret)
    return not text.isprintable() and any(map(_is_invisible, text))


def _without_bom(secret: str) -> str:
    return secret.removeprefix(_BOM).removeprefix(_MISREAD_BOM)


def _without_quotes(secret: str) -> str:
    text = secret.strip()
    quoted = len(text) > 2 and text[0] + text[-1] in _QUOTES
    return text[1:-1] if quoted else secret


def _without_escaped_end(secret: str) -> str:
    return secret.removesuffix("\\n").removesuffix("\\r") if secret.endswith("\\n") else secret


def _without_name(secret: str) -> str:
    name = _NAME_IN_FRONT.match(secret)
    return secret[name.end() :] if name else secret


def _has_blank_inside(secret: str) -> bool:
    return not _is_base64_with_blanks(secret) and any(letter in secret.strip() for letter in " \t")


def _is_base64_with_blanks(secret: str) -> bool:
    text = secret.strip("\r\n")
    # Words have no digits and no capitals inside. Of 32 random bytes in Base64, one in 2,500 lacks one of the three.
    is_random = all(re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return " " in text and is_random and _BASE64_WITH_BLANKS.fullmatch(text) is not None


_SYMPTOMS = (
    Symptom(
        _is_base64_with_blanks,
        Message(
            "secret has blanks where Base64 has '+', and is stored as sent: in a form, send '+' as %2B, for example"
            " with curl --data-urlencode"
        ),
    ),
    Symptom(
        _has_blank_inside,
        Message(
            "secret contains a blank, and is stored as sent: in a form, '+' becomes a blank unless it is sent as %2B,"
            " for example with curl --data-urlencode"
        ),
    ),
    Symptom(
        lambda secret: secret.strip("\r\n") != secret.strip("\r\n").strip(" \t"),
        Message(
            "secret begins or ends with a blank, and is stored as sent: send it again without the blank unless the"
            " token issuer's secret has it"
        ),
    ),
    Symptom(
        lambda secret: secret.endswith(("\n", "\r")),
        Message(
            "secret ends with a line break, and is stored as sent: send it again without, for example with tr -d"
            " '\\r\\n'"
        ),
    ),
    Symptom(
        lambda secret: re.search("[\r\n]", secret.rstrip("\r\n")) is not None,
        Message(
            "secret contains a line break, and is stored as sent: openssl and base64 wrap long output; remove line"
            " breaks with tr -d '\\r\\n'"
        ),
    ),
    Symptom(
        lambda secret: _without_quotes(secret) != secret,
        Message(
            "secret is in quotes, which are stored as a part of it: send it again without the quotes unless the token"
            " issuer's secret has them"
        ),
    ),
    Symptom(
        lambda secret: _without_bom(secret) != secret,
        Message("secret begins with a byte order mark, and is stored as sent: save its file as UTF-8 without BOM"),
    ),
    Symptom(
        _has_invisible,
        Message(
            "secret contains an invisible character, such as a no-break or zero-width space, and is stored as sent:"
            " type it or copy it from plain text"
        ),
    ),
    Symptom(
        lambda secret: _ENCODED.search(secret) is not None,
        Message(
            "secret contains %2B, %2F, %3D or the like, and is stored as sent: it may have been percent-encoded twice"
        ),
    ),
    Symptom(
        lambda secret: _without_escaped_end(secret) != secret,
        Message(
            "secret ends with a backslash and n, and is stored as sent: send it again without unless the token issuer's"
            " secret has them"
        ),
    ),
    Symptom(
        lambda secret: _without_name(secret) != secret,
        Message("secret begins with a name, as in SECRET=..., and is stored as sent: send the value alone"),
    ),
)
REPAIRS = (
    Repair(Message("with '+' instead of the blanks; in a form, send '+' as %2B"), lambda text: text.replace(" ", "+")),
    Repair(Message("without the line break at its end"), lambda text: text.rstrip("\r\n")),
    Repair(Message("without the blanks around it"), lambda text: text.strip(" \t")),
    Repair(Message("without the white space around it"), str.strip),
    Repair(Message("without its blanks"), lambda text: re.sub("[ \t]", "", text)),
    Repair(Message("without its line breaks"), lambda text: re.sub("[\r\n]", "", text)),
    Repair(Message("with \\n instead of \\r\\n"), lambda text: text.replace("\r\n", "\n")),
    Repair(Message("without the quotes around it"), _without_quotes),
    Repair(Message("without the byte order mark in front"), _without_bom),
    Repair(
        Message("without its invisible characters"), lambda text: "".join(one for one in text if not _is_invisible(one))
    ),
    Repair(
        Message("with plain blanks"),
        lambda text: "".join(" " if unicodedata.category(one) == "Zs" else one for one in text),
    ),
    Repair(Message("after percent-decoding"), unquote),
    Repair(Message("without the backslash and n at its end"), _without_escaped_end),
    Repair(Message("without the name in front"), _without_name),
)
