"""Recognition of pasted text: a token, whatever is around it, or something else that people take for one.

Nothing is verified here. A text may have any length and content; each expression scans it once.
"""

import base64
import dataclasses
import enum
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from datafor_token.errors import Message
from datafor_token.tokens.identifiers import is_short, short
from datafor_token.tokens.verifier import is_compact, unwrapped
from datafor_token.validation import strict_json

_LONGEST = 100_000  # characters that are looked at; a token has at most 8192
_QUOTES = " \t\r\n\f\v\"'`\u00a0\u200b\ufeff"
# The characters before a token cannot be part of one. Possessive quantifiers: even a long text is scanned once.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++(?!\.)")
_ENCRYPTED = re.compile(
    r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]++){3}(?![.A-Za-z0-9_-])"
)
_PASETO = re.compile(r"(?<![A-Za-z0-9_.-])v[1-4]\.(?:local|public)\.[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)?")
_PARAMETER = re.compile(r"(?:^|[?&#;\s\"'])([A-Za-z0-9_.-]{1,64})=[\"']?$")
_MEMBER = re.compile(r"\"([A-Za-z0-9_.-]{1,64})\"\s*:\s*\"$")
_BEARER = re.compile(r"\bbearer\s+$", re.IGNORECASE)
_TICKET = re.compile(r"(?:^|[?&#\s\"'])ticket=([A-Za-z0-9_-]{1,200})")
_COOKIE = re.compile(r"(?:^|[;,:\s\"'])(JSESSIONID|datafor_gate)=\"?([A-Za-z0-9_-]{1,200})")
_PASSWORD = re.compile(r"\bbasic\s+[A-Za-z0-9+/=_-]{4,}", re.IGNORECASE)
_PASSWORD_OPTION = re.compile(r"\s(?:-u|--user)[\s=]")
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_LONG_NAME = re.compile(r"(?<![0-9A-Za-z])hmac-([0-9a-f]{64})(?![0-9A-Za-z])")
_IDENTIFIER = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])", re.IGNORECASE)
# 32 random bytes as base64url: a one-time ticket, or the cookie of a session; twice as many: of another session.
_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}(?:[A-Za-z0-9_-]{43})?")
_OPAQUE = re.compile(r"[A-Za-z0-9_.~+/=:-]{16,}")


class Kind(enum.StrEnum):
    """Kind of a pasted text. Only the first five are of this service."""

    TOKEN = "token"  # noqa: S105 - a kind
    TICKET = "ticket"
    RANDOM = "random"  # a ticket or the cookie of a session, which look alike
    SESSION = "session"
    IDENTIFIER = "identifier"  # of a token, or of a request
    FORMER_IDENTIFIER = "former_identifier"
    ENCRYPTED = "encrypted"
    PASETO = "paseto"
    SAML = "saml"
    KEY_SET = "key_set"
    DISCOVERY = "discovery"
    PUBLIC_KEY = "public_key"
    PRIVATE_KEY = "private_key"
    CERTIFICATE = "certificate"
    CLAIMS = "claims"
    PASSWORD = "password"  # noqa: S105 - a kind
    URL = "url"
    OPAQUE = "opaque"
    NOTHING = "nothing"


_DIGITS = {
    Kind.IDENTIFIER: _IDENTIFIER,
    Kind.FORMER_IDENTIFIER: re.compile(r"[0-9a-f]{12}", re.IGNORECASE),
    Kind.SESSION: re.compile(r"[0-9a-f]{64}", re.IGNORECASE),
}


@dataclasses.dataclass(frozen=True, repr=False)
class Pasted:
    """A recognised text: its kind, and the token, cookie or identifier that was found in it.

    ``where`` says where it was found, if anything is around it. ``repaired`` says how the text differs from a token,
    where no service would accept it as it is. ``others`` is the number of further tokens in the text.
    """

    kind: Kind
    text: str = ""
    where: Message | None = None
    repaired: Message | None = None
    others: int = 0


def recognise(text: str, token_names: Collection[str] = ()) -> Pasted:
    """Recognise a pasted text; ``token_names`` are the URL parameters of the applications."""
    text = text[:_LONGEST].strip(_QUOTES)
    if not text:
        return Pasted(Kind.NOTHING)
    for one in (_key, _json, _whole, _inside, _of_other_systems, _in_parameter(token_names), _other):
        found = one(text)
        if found is not None:
            return found
    return Pasted(Kind.NOTHING)


def _key(text: str) -> Pasted | None:
    found = _PEM.search(text)
    if found is None:
        return None
    label = found[1]
    if "PRIVATE" in label:
        return Pasted(Kind.PRIVATE_KEY)
    return Pasted(Kind.CERTIFICATE if "CERTIFICATE" in label else Kind.PUBLIC_KEY)


def _json(text: str) -> Pasted | None:
    """Recognise a JSON document."""
    if not text.startswith("{"):
        return None
    try:
        document = strict_json.loads(text)
    except strict_json.JSONError:
        return None
    # What contains a token or an identifier is searched as text.
    is_envelope = any(one.search(text) for one in (_TOKEN, _IDENTIFIER, _TICKET))
    return _key_document(document) or _token_document(document) or (None if is_envelope else _claims(document))


def _key_document(document: Mapping[str, Any]) -> Pasted | None:
    keys = document.get("keys")
    if isinstance(keys, list) or "kty" in document:
        listed = keys if isinstance(keys, list) else [document]
        is_secret = any(isinstance(key, Mapping) and key.keys() & {"d", "k"} for key in listed)
        return Pasted(Kind.PRIVATE_KEY if is_secret else Kind.KEY_SET)
    return Pasted(Kind.DISCOVERY) if "jwks_uri" in document else None


def _token_document(document: Mapping[str, Any]) -> Pasted | None:
    """Recognise a line of the audit log, and a token as JSON (RFC 7515 and RFC 7516, section 7.2)."""
    target = document.get("target")
    shown = target.get("token") if isinstance(target, Mapping) else None
    if isinstance(shown, str) and is_short(shown) and not str(document.get("event")).endswith("_refused"):
        # Of a refusal, the request tells more.
        return Pasted(Kind.IDENTIFIER, shown)
    if "ciphertext" in document:
        return Pasted(Kind.ENCRYPTED)
    joined = _joined(document)
    if joined is None:
        return None
    return Pasted(
        Kind.TOKEN, joined, repaired=Message("this one is a JSON object: a token has its parts with dots between")
    )


def _claims(document: Mapping[str, Any]) -> Pasted | None:
    return Pasted(Kind.CLAIMS) if document.keys() & {"exp", "iat", "sub", "iss", "aud", "alg"} else None


def _joined(document: Mapping[str, Any]) -> str | None:
    """Return the token whose parts a JSON object has (RFC 7515 section 7.2.2)."""
    parts = [document.get(name) for name in ("protected", "payload", "signature")]
    texts = [part for part in parts if isinstance(part, str) and part]
    return ".".join(texts) if len(texts) == len(parts) else None


def _whole(text: str) -> Pasted | None:
    """Recognise a text that is a token, an identifier or a random text as a whole, perhaps with a usual wrapping."""
    if is_compact(text) and not _PASETO.fullmatch(text):
        return Pasted(Kind.TOKEN, text)
    for number, (difference, inside) in enumerate(unwrapped(text)):
        if is_compact(inside) and inside.startswith("eyJ"):
            # The first wrapping is that of a header: nothing is wrong with it.
            if number == 0:
                return Pasted(Kind.TOKEN, inside, where=Message("the header Authorization"))
            return Pasted(Kind.TOKEN, inside, repaired=difference)
    for kind, form in _DIGITS.items():
        if form.fullmatch(text):
            return Pasted(kind, text.lower())
    return Pasted(Kind.RANDOM, text) if _RANDOM.fullmatch(text) else None


def _inside(text: str) -> Pasted | None:
    """Recognise what is inside a URL, a header, a command or any other text, percent-encoded or not."""
    for one in _decoded(text):
        found = {match[0]: match for match in _TOKEN.finditer(one)}
        if found:
            match = next(iter(found.values()))
            return Pasted(Kind.TOKEN, match[0], _where(one[: match.start()]), others=len(found) - 1)
    for one in _decoded(text):
        ticket = _TICKET.search(one)
        if ticket is not None:
            return Pasted(Kind.TICKET, ticket[1], Message("the parameter %(name)s of a URL", name="ticket"))
        cookie = _COOKIE.search(one)
        if cookie is not None:
            return Pasted(Kind.SESSION, cookie[2], Message("the cookie %(name)s", name=cookie[1]))
        name = _LONG_NAME.search(one)
        if name is not None:
            return Pasted(Kind.IDENTIFIER, short(name[1]))
    return None


def _where(before: str) -> Message:
    """Return where a token was found, from the text before it."""
    before = before[-200:] if "://" not in before else before[:8] + before[-200:]
    parameter, member = _PARAMETER.search(before), _MEMBER.search(before)
    if _BEARER.search(before):
        return Message("the header Authorization")
    if member is not None:
        return Message("the member %(name)s of a JSON object", name=member[1])
    if parameter is None:
        return Message("the middle of another text")
    if "cookie" in before.lower() or ";" in before:
        return Message("the cookie %(name)s", name=parameter[1])
    return Message("the parameter %(name)s of a URL", name=parameter[1])


def _of_other_systems(text: str) -> Pasted | None:
    for one in _decoded(text):
        encrypted = _ENCRYPTED.search(one)
        if encrypted is not None:
            return Pasted(Kind.ENCRYPTED, encrypted[0])
        if _PASETO.search(one):
            return Pasted(Kind.PASETO)
        if _is_saml(one):
            return Pasted(Kind.SAML)
        if _PASSWORD.search(one) or (one.startswith("curl ") and _PASSWORD_OPTION.search(one)):
            return Pasted(Kind.PASSWORD)
    identifier = _IDENTIFIER.search(text)
    return None if identifier is None else Pasted(Kind.IDENTIFIER, identifier[0].lower())


def _is_saml(text: str) -> bool:
    beginning = text.partition("SAMLResponse=")[2] or text
    if not beginning.startswith("<"):
        letters = re.match(r"(?:[A-Za-z0-9+/_-]{4}){2,100}", beginning)
        beginning = "" if letters is None else base64.urlsafe_b64decode(letters[0]).decode("utf-8", "replace")
    beginning = beginning.lstrip("\ufeff \r\n")[:4000].lower()
    return beginning.startswith("<") and ("saml" in beginning or "<assertion" in beginning)


def _in_parameter(token_names: Collection[str]) -> Any:
    """Return the function that finds the value of a parameter that should be a token."""

    def found(text: str) -> Pasted | None:
        for match in re.finditer(r"[?&#]([^?=&#\s]{1,64})=([^&#\s]++)", text):
            if match[1] in token_names:
                where = Message("the parameter %(name)s of a URL", name=match[1])
                return Pasted(Kind.TOKEN, unquote(match[2]), where)
        return None

    return found


def _other(text: str) -> Pasted | None:
    if text.lower().startswith(("http://", "https://")):
        return Pasted(Kind.URL)
    bare = next(inside for _, inside in unwrapped(text))
    if bare.startswith("eyJ") or (bare.count(".") == 2 and not re.search(r"\s", bare)):
        # A part of a token: the attempt to read it names the error.
        return Pasted(Kind.TOKEN, bare)
    return Pasted(Kind.OPAQUE) if _OPAQUE.fullmatch(bare) else None


def _decoded(text: str) -> Iterator[str]:
    """Yield a text as it is, and percent-decoded, as a URL inside another URL is."""
    yield text
    for _ in range(2):
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded
        yield text
