"""Suspicious shared secrets: the ways in which a secret is damaged before it is stored, and the repair of each.

A secret is stored exactly as sent. These rules only tell somebody who copied one wrongly: as warnings when it is
stored, as a hint when another spelling of it is used (``matching_repair``), and as near misses of a signature.
No sentence repeats any part of a secret.
"""

import base64
import binascii
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from datafor_token.crypto.keys import is_shared

_BOM = "\ufeff"
# What a UTF-8 byte order mark becomes where it is read as Latin-1 or Windows-1252.
_MISREAD_BOM = "\u00ef\u00bb\u00bf"
_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb", "\u201e\u201c")
_BASE64_WITH_BLANKS = re.compile(r"[A-Za-z0-9/ ]{16,}={0,2}")
_ENCODED = re.compile("%(?:2[0BF]|3[AD]|0[AD])", re.IGNORECASE)
# Bounded, so that a long text costs no more than its length.
_NAME_IN_FRONT = re.compile(
    r"(?:export )?[\w.-]{0,64}?(?:secret|key|token|passw)[\w.-]{0,64}?(?: ?= ?|: )(?=[^=\s])", re.IGNORECASE
)


class Suspicion(NamedTuple):
    """A sign of damage, and the warning about it."""

    suspects: Callable[[str], bool]
    warning: str


class Repair(NamedTuple):
    """A way to undo damage; ``phrase`` completes "it would match ..."."""

    phrase: str
    apply: Callable[[str], str]


def warnings_about(algorithm: str, secret: str) -> list[str]:
    """Return a sentence for each sign that a shared secret is not what its sender has."""
    if not is_shared(algorithm):
        return []
    return [suspicion.warning for suspicion in _SUSPICIONS if suspicion.suspects(secret)]


def repaired(secret: str) -> Iterator[tuple[str, str]]:
    """Yield each other text that a single repair makes of a secret, with the repair's phrase."""
    seen = {secret, ""}
    for repair in REPAIRS:
        text = repair.apply(secret)
        if text not in seen:
            seen.add(text)
            yield repair.phrase, text


def matching_repair(sent: str, stored: Sequence[bytes]) -> str | None:
    """Say which single repair makes a secret that was sent equal to one of those stored, or the other way round.

    Each comparison takes constant time.
    """
    for phrase, text in repaired(sent):
        if any(hmac.compare_digest(text.encode(), one) for one in stored):
            return f"it would match {phrase}"
    for one in stored:
        for phrase, text in repaired(one.decode()):
            if hmac.compare_digest(text.encode(), sent.encode()):
                return f"the stored secret would match {phrase}"
    return None


def alternative_keys(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield the keys that a token issuer may use instead of this secret, each with a phrase that says how they differ.

    About thirty: the secret repaired, decoded, and damaged on the issuer's side.
    """
    seen = {secret.encode(), b""}
    for phrase, data in _all_other_bytes(secret):
        if data not in seen:
            seen.add(data)
            yield phrase, data


def _all_other_bytes(secret: str) -> Iterator[tuple[str, bytes]]:
    for phrase, text in repaired(secret):
        yield phrase, text.encode()
    for phrase, decode in _DECODERS:
        yield phrase, decode(secret)
    for phrase, text in _damaged(secret):
        yield phrase, text.encode()
    for phrase, encoding in (("encoded as Latin-1", "latin-1"), ("encoded as UTF-16", "utf-16-le")):
        yield phrase, secret.encode(encoding, "replace")


def _damaged(secret: str) -> Iterator[tuple[str, str]]:
    yield from (("with a line break at its end", secret + end) for end in ("\n", "\r\n"))
    yield "with a blank at its end", secret + " "
    yield "with blanks instead of '+'", secret.replace("+", " ")
    yield from (("in quotes", f"{quote}{secret}{quote}") for quote in "\"'")
    yield "with a byte order mark in front", _BOM + secret
    yield "encoded as Base64", base64.b64encode(secret.encode()).decode()
    yield "encoded as base64url", base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    yield "encoded as hexadecimal", secret.encode().hex()
    yield "in lower case", secret.lower()
    yield "in upper case", secret.upper()


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
    ("decoded from Base64; the token issuer must use its text as it is", _from_base64),
    ("decoded from base64url; the token issuer must use its text as it is", _from_base64url),
    ("decoded from hexadecimal; the token issuer must use its text as it is", _from_hex),
)


def _is_invisible(letter: str) -> bool:
    """Return whether a reader does not see a character, or takes it for a blank."""
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
    # Words have no digits and no capitals inside; 32 random bytes in Base64 lack one of the three once in 2,500 times.
    is_random = all(re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return " " in text and is_random and _BASE64_WITH_BLANKS.fullmatch(text) is not None


_SUSPICIONS = (
    Suspicion(
        _is_base64_with_blanks,
        "secret has blanks where Base64 has '+', and is stored as sent: in a form, send '+' as %2B, for example with"
        " curl --data-urlencode",
    ),
    Suspicion(
        _has_blank_inside,
        "secret contains a blank, and is stored as sent: in a form, '+' becomes a blank unless it is sent as %2B, for"
        " example with curl --data-urlencode",
    ),
    Suspicion(
        lambda secret: secret.strip("\r\n") != secret.strip("\r\n").strip(" \t"),
        "secret begins or ends with a blank, and is stored as sent: send it again without the blank unless the token"
        " issuer's secret has it",
    ),
    Suspicion(
        lambda secret: secret.endswith(("\n", "\r")),
        "secret ends with a line break, and is stored as sent: send it again without, for example with tr -d '\\r\\n'",
    ),
    Suspicion(
        lambda secret: re.search("[\r\n]", secret.rstrip("\r\n")) is not None,
        "secret contains a line break, and is stored as sent: openssl and base64 wrap long output; remove line breaks"
        " with tr -d '\\r\\n'",
    ),
    Suspicion(
        lambda secret: _without_quotes(secret) != secret,
        "secret is in quotes, which are stored as a part of it: send it again without the quotes unless the token"
        " issuer's secret has them",
    ),
    Suspicion(
        lambda secret: _without_bom(secret) != secret,
        "secret begins with a byte order mark, and is stored as sent: save its file as UTF-8 without BOM",
    ),
    Suspicion(
        _has_invisible,
        "secret contains an invisible character, such as a no-break or zero-width space, and is stored as sent: type it"
        " or copy it from plain text",
    ),
    Suspicion(
        lambda secret: _ENCODED.search(secret) is not None,
        "secret contains %2B, %2F, %3D or the like, and is stored as sent: it may have been percent-encoded twice",
    ),
    Suspicion(
        lambda secret: _without_escaped_end(secret) != secret,
        "secret ends with a backslash and n, and is stored as sent: send it again without unless the token issuer's"
        " secret has them",
    ),
    Suspicion(
        lambda secret: _without_name(secret) != secret,
        "secret begins with a name, as in SECRET=..., and is stored as sent: send the value alone",
    ),
)
REPAIRS = (
    Repair("with '+' instead of the blanks; in a form, send '+' as %2B", lambda text: text.replace(" ", "+")),
    Repair("without the line break at its end", lambda text: text.rstrip("\r\n")),
    Repair("without the blanks around it", lambda text: text.strip(" \t")),
    Repair("without the white space around it", str.strip),
    Repair("without its blanks", lambda text: re.sub("[ \t]", "", text)),
    Repair("without its line breaks", lambda text: re.sub("[\r\n]", "", text)),
    Repair("with \\n instead of \\r\\n", lambda text: text.replace("\r\n", "\n")),
    Repair("without the quotes around it", _without_quotes),
    Repair("without the byte order mark in front", _without_bom),
    Repair("without its invisible characters", lambda text: "".join(one for one in text if not _is_invisible(one))),
    Repair(
        "with plain blanks", lambda text: "".join(" " if unicodedata.category(one) == "Zs" else one for one in text)
    ),
    Repair("after percent-decoding", unquote),
    Repair("without the backslash and n at its end", _without_escaped_end),
    Repair("without the name in front", _without_name),
)
