"""Detection of key material in a text that should be a shared secret.

A public key or certificate may be known to anyone, and a private key has another purpose: neither may become the shared
key of HS256, in any encoding. All checks take time linear in the length of the text. Random text does not match: each
pattern fixes at least 40 bits.
"""

import base64
import re
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric import ec

from datafor_token.errors import Message

_MOST_LAYERS = 3  # Base64 of Base64 of a PEM text, and the like
_LONGEST = 64 * 1024  # characters that are searched
_SHORTEST_KEY = 16  # bytes; no key in DER is shorter
# The armor of PEM (RFC 7468), SSH2 (RFC 4716) and PGP, even if dashes, blanks or line breaks were lost.
_ARMOR = re.compile(
    r"(?<![A-Za-z])(?:BEGIN|END)(?P<label>[A-Z0-9\s+_]{0,80}?"
    r"(?:PUBLIC[\s+_]{0,8}KEY|PRIVATE[\s+_]{0,8}KEY|CERTIFICATE|PKCS[\s+_]{0,8}7|CMS))"
)
_ANY_ARMOR = re.compile(r"-----[\s+_]{0,8}(?:BEGIN|END)[\s+_A-Z]", re.IGNORECASE)
_PEM_HEADER = re.compile(r"Proc-Type:\s{0,8}4|DEK-Info:\s{0,8}[A-Z0-9-]+,")
_OPENSSH = re.compile(
    r"(?:ssh-(?:rsa|dss|ed25519|ed448)|ecdsa-sha2-[a-z0-9-]{1,20}|sk-(?:ssh|ecdsa)-[a-z0-9@.-]{1,40})"
    r"(?:-cert-v0\d@openssh\.com|@openssh\.com)?[\s+]{0,8}AAAA"
)
_JWK = re.compile(
    r"""\\{0,4}["']kty\\{0,4}["']\s{0,16}:|\bkty\s{0,16}[:=]\s{0,16}\\{0,4}["']?(?:RSA|EC|OKP|oct|AKP)\b""",
)
# Some tools leave out kty: then a modulus or a curve.
_JWK_MEMBERS = re.compile(
    r"""["'](?:n|crv)\\{0,4}["']\s{0,16}:\s{0,16}\\{0,4}["'](?:[A-Za-z0-9_-]{40}|P-\d{3}|(?:Ed|X)\d{3,5}|secp256k1)"""
)
_JWK_PRIVATE = re.compile(r"""["'](?:d|k)\\{0,4}["']\s{0,16}:""")
_XML = re.compile(r"<(?:\w{1,12}:)?(?:RSA|DSA|EC)KeyValue\b")
# Every text that matches a pattern contains one of these, so that most secrets need one search instead of ten.
_HINT = re.compile("BEGIN|END|begin|AAAA|kty|crv|Proc-Type|DEK-Info|PuTTY|KeyValue|-----|Modulus|-Key:|[\"']n[\\\\\"']")
# Text around and between encoded bytes; line breaks and tabs also as escape sequences of two characters.
_BETWEEN = re.compile(r"\\[nrt]|[\s:,\"'`;\ufeff\u200b]")
_BETWEEN_HEX = re.compile(r"\\x|(?<![0-9A-Za-z])0[xX](?=[0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_WORDS = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_MOST_WORDS = 64
_BASE64, _HEX = re.compile(r"[A-Za-z0-9+/]+"), re.compile(r"[0-9A-Fa-f]+")
_URL_SAFE = str.maketrans("-_", "+/")
# The first bytes of SSH public keys on the wire (RFC 4253 section 6.6), and of OpenSSH's private keys.
_SSH_BLOB = re.compile(rb"\0\0\0[\x07-\x40](?:ssh-(?:rsa|dss|ed25519|ed448)|ecdsa-sha2-|sk-(?:ssh|ecdsa)-)")
_SSH_PRIVATE = b"openssh-key-v1\0"
# Object identifiers in DER (RFC 8017, 5480, 8410, 3279; then PKCS #7, and the ciphers of PKCS #5 and #12).
_KEY_OIDS = tuple(
    bytes.fromhex(oid)
    for oid in ("2a864886f70d010101", "2a864886f70d01010a", "2a864886f70d010107", "2a8648ce3d0201", "2b6570", "2b6571",
                "2b656e", "2b656f", "2a8648ce380401", "2a864886f70d010301", "2a8648ce3e0201", "608648016503040311",
                "608648016503040312", "608648016503040313")
)  # fmt: skip
_CIPHER_OIDS = (bytes.fromhex("2a864886f70d0105"), bytes.fromhex("2a864886f70d010c01"))
_PKCS7_OIDS = bytes.fromhex("2a864886f70d0107")


def find_key(text: str) -> Message | None:
    """Return a description of the key material in the text, such as "a certificate (PEM)", or None."""
    return _in_text(text[:_LONGEST], _MOST_LAYERS)


def _private_key(form: str) -> Message:
    return Message("a private key (%(form)s)", form=form)


def _public_key(form: str) -> Message:
    return Message("a public key (%(form)s)", form=form)


def _certificate(form: str) -> Message:
    return Message("a certificate (%(form)s)", form=form)


def _any_key(form: str) -> Message:
    return Message("a key (%(form)s)", form=form)


_PATTERNS = (
    (_ANY_ARMOR, _any_key, "PEM"),
    (_PEM_HEADER, _private_key, "PEM"),
    (_OPENSSH, _public_key, "OpenSSH"),
    (re.compile("PuTTY-User-Key-File-"), _private_key, "PuTTY"),
    # openssl rsa -modulus, openssl pkey -text
    (re.compile(r"\bModulus=[0-9A-Fa-f]{64}"), _public_key, "text"),
    (re.compile(r"\bPrivate-Key:\s{0,16}\("), _private_key, "text"),
    (re.compile(r"\bPublic-Key:\s{0,16}\("), _public_key, "text"),
    (_XML, _any_key, "XML"),
)


def _in_text(text: str, layers: int) -> Message | None:
    found = _in_text_format(text)
    if found is not None or layers == 0:
        return found
    if "%" in text and (plain := unquote(text)) != text:
        found = _in_text(plain, layers - 1)
    for data in () if found is not None else _decoded(text):
        found = found or _in_bytes(data, layers - 1)
    return found


def _in_text_format(text: str) -> Message | None:
    """Find keys in a text format: armor, OpenSSH, JWK, PuTTY, XML."""
    if not _HINT.search(text):
        return None
    armor = _ARMOR.search(text)
    if armor is not None:
        label = armor["label"]
        form = "OpenSSH" if "OPENSSH" in label else "SSH2" if "SSH2" in label else "PGP" if "PGP" in label else "PEM"
        if "PRIVATE" in label:
            return _private_key(form)
        return _public_key(form) if "PUBLIC" in label else _certificate(form)
    if _JWK.search(text) or _JWK_MEMBERS.search(text):
        if _JWK_PRIVATE.search(text):
            return Message("a private or shared key (%(form)s)", form="JWK")
        return _public_key("JWK")
    return next((describe(form) for pattern, describe, form in _PATTERNS if pattern.search(text)), None)


def _decoded(text: str) -> list[bytes]:
    """Return the bytes that the text may encode in hexadecimal, Base64 or base64url."""
    found = []
    is_plain = _PLAIN.fullmatch(text) is not None
    digits = text if is_plain and text[1:2] not in "xX" else _BETWEEN.sub("", _BETWEEN_HEX.sub("", text))
    # .NET writes bytes with dashes between them.
    digits = digits.replace("-", "")
    if _HEX.fullmatch(digits):
        found.append(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    # A blank is a separator, or a "+" that a form sent without %2B. Each word is tried too: the key may follow other
    # text.
    texts = [text if is_plain else _BETWEEN.sub("", text)]
    if " " in text:
        texts.append(_BETWEEN.sub("", text.strip().replace(" ", "+")))
    if not is_plain:
        texts += [word.group() for word in islice(_WORDS.finditer(text), _MOST_WORDS)]
    for one in dict.fromkeys(texts):
        # Up to the first padding: several blocks may follow each other.
        part = one.translate(_URL_SAFE).partition("=")[0]
        if len(part) >= _SHORTEST_KEY and _BASE64.fullmatch(part):
            part = part[: len(part) - (len(part) % 4 == 1)]
            found.append(base64.b64decode(part + "=" * (-len(part) % 4)))
    return found


def _in_bytes(data: bytes, layers: int) -> Message | None:
    if len(data) < _SHORTEST_KEY:
        return None
    if _SSH_BLOB.match(data):
        return _public_key("OpenSSH")
    if data.startswith(_SSH_PRIVATE):
        return _private_key("OpenSSH")
    found = _in_der(data)
    if found is not None:
        return found
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError:
        return None
    return _in_text(text, layers)


class _Value(NamedTuple):
    """A DER value: its tag, its content (possibly cut off), and the position of the next value."""

    tag: int
    content: bytes
    end: int


def _value(data: bytes, start: int = 0) -> _Value | None:
    """Read the value at ``start``, or None. A sequence of indefinite length extends to the end of the data."""
    if len(data) < start + 2:
        return None
    tag, length, begin = data[start], data[start + 1], start + 2
    if length == 0x80 and tag & 0x20:
        return _Value(tag, data[begin:], len(data))
    if length > 0x80:
        size = length & 0x7F
        if size > 3 or len(data) < begin + size:
            return None
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
        # DER allows only the shortest encoding of a length.
        if length < 0x80 or length < 1 << (8 * (size - 1)):
            return None
    return _Value(tag, data[begin : begin + length], begin + length)


def _members(data: bytes, most: int = 4) -> list[_Value]:
    """Return the first values in the content of a sequence."""
    found: list[_Value] = []
    start = 0
    while len(found) < most and (one := _value(data, start)) is not None:
        found.append(one)
        start = one.end
    return found


def _in_der(data: bytes) -> Message | None:
    """Find the key or certificate that the bytes begin with, also PKCS #7 and #12, and also if the end is cut off."""
    if data[:1] == b"\x04" and len(data) in _POINTS:
        return _public_key("EC point") if _is_point(data) else None
    outer = _value(data)
    if outer is None or outer.tag != _SEQUENCE:
        return None
    members = _members(outer.content)
    tags = [member.tag for member in members]
    if tags[:1] == [_OBJECT] and members[0].content.startswith(_PKCS7_OIDS):
        return _certificate("PKCS #7")
    if tags[:1] == [_INTEGER]:
        return _begins_with_integer(members)
    if tags[:1] != [_SEQUENCE]:
        return None
    return _begins_with_sequence(members)


_SEQUENCE, _INTEGER, _OCTETS, _OBJECT, _VERSION = 0x30, 0x02, 0x04, 0x06, 0xA0
_SMALLEST_MODULUS = 48  # bytes
_POINTS = {65: ec.SECP256R1(), 97: ec.SECP384R1(), 133: ec.SECP521R1()}  # by the length of a point


def _object_identifier(data: bytes) -> bytes:
    """Return the object identifier at the beginning of an AlgorithmIdentifier's content, or nothing."""
    one = _value(data)
    return one.content if one is not None and one.tag == _OBJECT else b""


def _begins_with_integer(members: list[_Value]) -> Message | None:
    """Find a key in a sequence that begins with a number: PKCS #1, #8 and #12, and EC private keys (RFC 5915)."""
    first, second = members[0].content, members[1] if len(members) > 1 else None
    if second is None:
        return None
    if first in (b"\0", b"\1") and second.tag == _SEQUENCE and _object_identifier(second.content) in _KEY_OIDS:
        return _private_key("DER")
    if (first == b"\1" and second.tag == _OCTETS and len(second.content) in (20, 28, 32, 48, 66)) or (
        first == b"\0" and second.tag == _INTEGER and _is_large(second)
    ):
        return _private_key("DER")
    if first == b"\3" and second.tag == _SEQUENCE and _object_identifier(second.content).startswith(_PKCS7_OIDS):
        return _private_key("PKCS #12")
    return _large_numbers(members)


def _large_numbers(numbers: list[_Value]) -> Message | None:
    """Find a key in a sequence that begins with a large number: an RSA key, or the parameters of DSA and DH."""
    if not _is_large(numbers[0]) or numbers[1].tag != _INTEGER:
        return None
    if 1 <= len(numbers[1].content) <= 8:
        return _public_key("DER")
    is_group = any(one.tag == _INTEGER and _is_large(one) for one in numbers[1:3])
    return Message("parameters of keys (%(form)s)", form="DER") if is_group else None


def _is_large(number: _Value) -> bool:
    return len(number.content) >= _SMALLEST_MODULUS and number.content[0] < 0x80


def _begins_with_sequence(members: list[_Value]) -> Message | None:
    """Find a key in a sequence that begins with another one: SubjectPublicKeyInfo, encrypted PKCS #8, a certificate."""
    algorithm = _object_identifier(members[0].content)
    if algorithm in _KEY_OIDS:
        return _public_key("DER")
    if algorithm.startswith(_CIPHER_OIDS):
        return Message("an encrypted private key (%(form)s)", form="DER")
    inner = _members(members[0].content)
    tags = [member.tag for member in inner]
    # A certificate has a version (not in version 1), serial number, signature algorithm and issuer.
    if tags[:1] == [_VERSION] and inner[0].content[:2] == b"\2\1":
        inner, tags = inner[1:], tags[1:]
    if tags[:2] == [_INTEGER, _SEQUENCE]:
        if _object_identifier(inner[1].content):
            return _certificate("DER")
        if inner[0].content == b"\0" and tags[2:3] == [_SEQUENCE]:
            return Message("a certificate request (%(form)s)", form="DER")
    return None


def _is_point(data: bytes) -> bool:
    """Return whether the bytes are an uncompressed point (SEC 1 section 2.3.3) of a curve of ES256, ES384 or ES512."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_POINTS[len(data)], data)
    except ValueError:
        return False
    return True
