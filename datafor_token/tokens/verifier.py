"""Verify a token: read it strictly, then check it against one application (contract section 6).

Nothing reaches the signature check that can be read in two ways, and the token chooses neither key
nor algorithm (RFC 8725). Each step leaves a sentence, so that ``explain`` can show the way.
"""

import base64
import binascii
import dataclasses
import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.crypto.keys import verification_key
from datafor_token.errors import RuleError
from datafor_token.tokens import identifiers
from datafor_token.validation import strict_json
from datafor_token.validation.names import user_name

LONGEST_TOKEN = 8192  # characters; twice what is issued here
LATEST_TIME = 253_402_300_799  # seconds since 1970: the end of the year 9999
_PARTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Header members that would change how the token is to be read (RFC 7515 4.1.11, RFC 7797, RFC 7516, 4.1.10).
_REFUSED_HEADERS = ("crit", "b64", "enc", "zip", "cty")


class Instant(NamedTuple):
    """When a token is judged: ``now`` in seconds since 1970, and how many seconds of a wrong clock are forgiven."""

    now: float
    leeway: float


class Step(NamedTuple):
    """One step on the way: its name, whether the token passed it, and a sentence about it."""

    step: str
    ok: bool
    detail: str


class Refused(Exception):
    """The token is not accepted. ``reason`` is one of contract section 7; ``step`` is the last one of the way."""

    def __init__(self, step: str, reason: str, detail: str) -> None:
        self.reason = reason
        self.step = Step(step, ok=False, detail=detail)
        super().__init__(reason)


@dataclasses.dataclass(frozen=True, repr=False)
class Token:
    """A token that could be read: header and claims are unproven until a signature fits."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """What the header says, to be compared with what an application expects."""
        return str(self.header["alg"])


@dataclasses.dataclass(frozen=True)
class VerifiedToken:
    """What an application vouches for: who is named, until when (seconds since 1970), by which secret.

    ``identifier`` is the token's keyed identifier, ``None`` where a ticket stood for one. ``digest`` is the token's
    ``identifiers.digest``, to be kept in memory only; ``None`` where the token itself is not known any more.
    """

    application: Application
    username: str
    expires: float
    claims: Mapping[str, Any]
    secret: str = dataclasses.field(repr=False)
    identifier: str | None
    digest: str | None = dataclasses.field(default=None, repr=False)

    @property
    def by_previous(self) -> bool:
        """Whether the secret before the last rotation signed it."""
        return self.secret != self.application.secret

    def is_valid_at(self, moment: Instant) -> bool:
        """Whether a token that was accepted before is good for its times, and its secret still counts.

        The same as ``check_claims`` has it, of what changes with the clock.
        """
        begins = float(max(self.claims.get("nbf", 0), self.claims.get("iat", 0)))
        in_time = begins - moment.leeway <= moment.now < self.expires + moment.leeway
        return in_time and self.secret in (self.application.secret, self.application.previous_secret(moment.now))

    def text(self, claim: str) -> str:
        """A claim's value where it is text, else nothing."""
        value = self.claims.get(claim)
        return value if isinstance(value, str) else ""


def read(text: str, *, explain: bool = False) -> Token:
    """Take a token apart; raise ``Refused`` (``malformed``, ``header``) for what is not exactly one.

    A good token has one spelling: no padding, no stray bits in a part's last character (RFC 4648 3.5).
    ``explain``: recognise what else was sent; that takes up to 8 ms of CPU, which is not for everybody to ask for.
    """
    if len(text) > LONGEST_TOKEN:
        raise Refused("read", "malformed", f"the token has {len(text)} characters; at most {LONGEST_TOKEN} are read")
    if not _PARTS.fullmatch(text):
        detail = "a token is three parts of A-Z, a-z, 0-9, '-' and '_' with dots between"
        hint = _hint(text) if explain else ""
        raise Refused("read", "malformed", f"{detail}; {hint}" if hint else detail)
    header_part, payload_part, signature_part = text.split(".")
    header = _object("header", header_part)
    claims = _object("payload", payload_part)
    signature = _decoded("signature", signature_part)
    _check_header(header)
    return Token(header, claims, f"{header_part}.{payload_part}".encode(), signature)


def signers(token: Token, entries: Iterable[IndexEntry], now: float) -> Iterator[IndexEntry]:
    """Those whose present or previous secret signed the token, in their order, found as they are asked for.

    Only for entries whose algorithm is the token's. A previous secret whose grace period is over stays stored, and
    is not tried; ``now`` is in seconds since 1970.
    """
    message, signature = token.signing_input, token.signature
    for entry in entries:
        if entry.key.verify(message, signature) or (
            entry.previous is not None and entry.in_grace(now) and entry.previous.verify(message, signature)
        ):
            yield entry


def signing_secret(token: Token, application: Application, now: float) -> str | None:
    """Which of the application's secrets signed the token, the present one first; ``None``: neither did.

    Only for an application whose algorithm is the token's.
    """
    for number, key in enumerate(application.keys(now)):
        if key.verify(token.signing_input, token.signature):
            return application.secret if number == 0 else application.previous_secret(now)
    return None


def check_claims(
    token: Token, application: Application, secret: str, moment: Instant, *, must_have_begun: bool = True
) -> tuple[VerifiedToken, list[Step]]:
    """What a token with a good signature says, with the steps it passed; raises ``Refused``.

    What is neither a time nor the user name (``aud``, ``iss`` and the like) is not looked at. The identifier is left
    to the caller, who has the service's key.
    """
    expires, time_step = _check_times(token.claims, moment, must_have_begun=must_have_begun)
    username, name_step = _check_username(token.claims, application.fieldmap.username)
    digest = identifiers.digest(token.signing_input, verification_key(application.algorithm, secret))
    verified = VerifiedToken(application, username, expires, token.claims, secret, None, digest)
    return verified, [time_step, name_step]


def _hint(text: str) -> str:
    """Recognise what most often makes a good token a malformed one."""
    if text.endswith("."):
        return "this one has no signature"
    for hint, inside in _unwrapped(text):
        if inside != text and _PARTS.fullmatch(inside):
            return hint
    found = _INSIDE.search(text)
    if found is None:
        return "this one has five parts, as an encrypted token has" if text.count(".") == 4 else ""
    before = text[: found.start()]
    parameter = _PARAMETER.search(before[-66:])
    if parameter is not None or "://" in before:
        which = f" {parameter[1]}" if parameter is not None else ""
        return f"this one is a URL: send only the value of its parameter{which}"
    if before.lstrip().startswith("{"):
        return "this one is inside a JSON object: send only its value"
    return "this one has other text around it"


def _unwrapped(text: str) -> Iterator[tuple[str, str]]:
    """Yield the wrappings that a token may be pasted in, each with the text without it."""
    around = "this one has white space, quotes or the word Bearer around it"
    inside = _BEARER.sub("", text.strip().strip("\"'"), count=1).strip().strip("\"'").strip()
    yield around, inside
    yield "this one has line breaks or blanks inside", "".join(inside.split())
    text = "".join(inside.split())
    yield "this one has padding: a token is base64url without '='", text.replace("=", "")
    yield "this one is standard Base64: base64url has - and _ instead of + and /", text.translate(_URL_SAFE)
    yield "this one is percent-encoded", unquote(text).replace("=", "").translate(_URL_SAFE)


_BEARER = re.compile(r"^(?:authorization\s*:\s*)?bearer\s+", re.IGNORECASE)
# Only where no character of a token is beside it, and without going back: a long text is read through once.
_INSIDE = re.compile(r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++(?!\.)")
_PARAMETER = re.compile(r"[?&#]([A-Za-z0-9_-]{1,64})=$")
_URL_SAFE = str.maketrans("+/", "-_", "=")


def _decoded(part: str, text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Refused("read", "malformed", f"the {part} is not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        raise Refused("read", "malformed", f"the {part} is not spelled as base64url spells it")
    return data


def _object(part: str, text: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(_decoded(part, text))
    except strict_json.JSONError as error:
        raise Refused("read", "malformed", f"the {part} {error}") from None
    if not isinstance(value, dict):
        raise Refused("read", "malformed", f"the {part} is not a JSON object")
    return value


def _check_header(header: Mapping[str, Any]) -> None:
    if not isinstance(header.get("alg"), str):
        raise Refused("header", "header", "the header has no alg")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise Refused("header", "header", "the header's typ is not JWT")
    for name in _REFUSED_HEADERS:
        if name in header:
            raise Refused("header", "header", f"the header has {name}, which no token for this service may have")


def _check_times(claims: Mapping[str, Any], moment: Instant, *, must_have_begun: bool) -> tuple[float, Step]:
    now, leeway = moment.now, moment.leeway
    for claim in TIME_CLAIMS:
        value = claims.get(claim, 0)
        # By type: JSON true is a number in Python.
        if type(value) not in (int, float) or not 0 <= value <= LATEST_TIME:
            unit = _other_unit(value)
            if unit is not None:
                detail = f"{claim} is {value:.0f}: that looks like {unit}; it must be seconds"
                raise Refused("time", "invalid_time", detail)
            detail = f"{claim} must be a number of seconds from 0 to {LATEST_TIME}, as a JSON number"
            raise Refused("time", "invalid_time", detail)
    if "exp" not in claims:
        raise Refused("time", "no_expiry", "the token has no exp: every token must say when it expires")
    clock = f"this server's clock says {_moment(now)}"
    expires = float(claims["exp"])
    if now >= expires + leeway:
        detail = f"expired {now - expires:.0f} s ago; {clock}, and {leeway:g} s are forgiven"
        raise Refused("time", "expired", detail)
    for claim in ("nbf", "iat"):
        if must_have_begun and now + leeway < claims.get(claim, 0):
            detail = f"{claim} is {claims[claim] - now:.0f} s ahead; {clock}, and {leeway:g} s are forgiven"
            raise Refused("time", "not_yet_valid", detail)
    return expires, Step("time", ok=True, detail=f"expires in {expires - now:.0f} s; {clock}")


def _other_unit(value: Any) -> str | None:
    """Return the unit in which a number is a time between 2001 and 2286, if that is not seconds."""
    if type(value) not in (int, float):
        return None
    units = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
    return next((unit for unit, size in units.items() if 1e9 <= value / size < 1e10), None)


def _check_username(claims: Mapping[str, Any], claim: str) -> tuple[str, Step]:
    if claim not in claims:
        others = ", ".join(sorted(name[:64] for name in claims)[:10]) or "no claim at all"
        raise Refused("username", "no_username", f"the claim is called {claim}, the token has {others}")
    value = claims[claim]
    try:
        if not isinstance(value, str):
            raise RuleError("must be text")
        name = user_name(value)
    except RuleError as error:
        raise Refused("username", "invalid_username", f"the user name in {claim} {error}") from None
    return name, Step("username", ok=True, detail=f"{claim} names the user {name}")


def _moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
