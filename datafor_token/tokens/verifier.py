"""Token verification: strict parsing, then checks of the signature and the claims against one application.

The parser refuses whatever could be read in two ways, before any signature is checked. The stored application
determines key and algorithm, never the token (RFC 8725 section 3.1). Each check leaves a step, which ``explain`` shows.
"""

import base64
import binascii
import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.errors import Message, RuleError
from datafor_token.validation import strict_json
from datafor_token.validation.names import user_name

LONGEST_TOKEN = 8192  # characters; twice the length of the longest token that is issued here
LATEST_TIME = 253_402_300_799  # seconds since 1970: the end of the year 9999
_PARTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Header members that change how a token must be read (RFC 7515 sections 4.1.10 and 4.1.11, RFC 7516, RFC 7797).
_REFUSED_HEADERS = ("crit", "b64", "enc", "zip", "cty")
_BEARER = re.compile(r"^(?:authorization\s*:\s*)?bearer\s+", re.IGNORECASE)
# A token inside other text, with no token character before or after it. Possessive quantifiers: even a long text is
# scanned once.
_INSIDE = re.compile(r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++(?!\.)")
_PARAMETER = re.compile(r"[?&#]([A-Za-z0-9_-]{1,64})=$")
_URL_SAFE = str.maketrans("+/", "-_", "=")
_OTHER_TEXT = Message("this one has other text around it")
_UNITS = (Message("milliseconds"), 1e3), (Message("microseconds"), 1e6), (Message("nanoseconds"), 1e9)


class Instant(NamedTuple):
    """Time of a verification: ``now`` in seconds since 1970, and the tolerance for wrong clocks in seconds."""

    now: float
    leeway: float


class Step(NamedTuple):
    """One check of a token: its name, whether the token passed it, and a sentence about it.

    The sentence is composed only when it is shown: that takes 1.3 us, and an ordinary request passes four checks.
    """

    step: str
    ok: bool
    compose: Callable[[], Message]

    @property
    def detail(self) -> Message:
        """The sentence."""
        return self.compose()


def passed(step: str, compose: Callable[[], Message]) -> Step:
    """Return a step that a token passed; ``compose`` returns the sentence about it."""
    return Step(step, ok=True, compose=compose)


def failed(step: str, compose: Callable[[], Message]) -> Step:
    """Return a step that a token did not pass; ``compose`` returns the sentence about it."""
    return Step(step, ok=False, compose=compose)


class Refused(Exception):
    """The token is not accepted. ``reason`` is a code that ``explain`` returns; ``step`` is the check that failed."""

    def __init__(self, step: str, reason: str, detail: Message) -> None:
        self.reason = reason
        self.step = failed(step, lambda: detail)
        super().__init__(reason)


@dataclasses.dataclass(frozen=True, repr=False)
class Token:
    """A parsed token. Header and claims are unproven until a signature fits."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """The algorithm in the header, to be compared with the one that an application expects."""
        return str(self.header["alg"])


@dataclasses.dataclass(frozen=True)
class VerifiedToken:
    """A token, or a ticket that stands for one, whose signature and claims one application accepts.

    ``expires`` is in seconds since 1970; ``secret`` signed the token. ``identifier`` is the token's keyed identifier,
    ``None`` for a ticket. ``digest`` is the token's ``identifiers.digest``: it must stay in memory, and is ``None``
    where the token itself is not known any more.
    """

    application: Application
    username: str
    expires: float
    claims: Mapping[str, Any]
    secret: str = dataclasses.field(repr=False)
    identifier: str | None
    digest: str | None = dataclasses.field(default=None, repr=False)

    @property
    def signed_with_previous(self) -> bool:
        """True if the secret before the last rotation signed the token."""
        return self.secret != self.application.secret

    def is_valid_at(self, instant: Instant) -> bool:
        """Return whether a token that was verified before is within its times, and its secret still accepted.

        Repeats those of the ``CLAIM_CHECKS`` whose result changes with the clock.
        """
        begins = float(max(self.claims.get("nbf", 0), self.claims.get("iat", 0)))
        in_time = begins - instant.leeway <= instant.now < self.expires + instant.leeway
        return in_time and self.secret in (self.application.secret, self.application.previous_secret(instant.now))

    def text(self, claim: str) -> str:
        """Return the value of a claim if it is text, else an empty text."""
        value = self.claims.get(claim)
        return value if isinstance(value, str) else ""


def read(text: str, *, explain: bool = False) -> Token:
    """Parse a token; raise ``Refused`` (``malformed``, ``header``) for any other text.

    Each token has one spelling: no padding, no stray bits in the last character of a part (RFC 4648 section 3.5).
    ``explain`` adds a hint about the cause to the error. That takes up to 8 ms of CPU: do not offer it to anonymous
    clients.
    """
    if len(text) > LONGEST_TOKEN:
        detail = Message(
            "the token has %(length)s characters; at most %(most)s are read", length=len(text), most=LONGEST_TOKEN
        )
        raise Refused("read", "malformed", detail)
    if not _PARTS.fullmatch(text):
        hint = _hint(text) if explain else None
        detail = Message("a token is three parts of A-Z, a-z, 0-9, '-' and '_' with dots between")
        if hint is not None:
            detail = Message("%(first)s; %(second)s", first=detail, second=hint)
        raise Refused("read", "malformed", detail)
    header_part, payload_part, signature_part = text.split(".")
    header = _object("header", header_part)
    claims = _object("payload", payload_part)
    signature = _decoded("signature", signature_part)
    _check_header(header)
    return Token(header, claims, f"{header_part}.{payload_part}".encode(), signature)


def signers(token: Token, entries: Iterable[IndexEntry], now: float) -> Iterator[IndexEntry]:
    """Yield the applications whose present or previous secret signed the token, in their order, lazily.

    ``entries`` must be of the token's algorithm; ``now`` is in seconds since 1970. A previous secret stays stored
    after its grace period, but is not tried.
    """
    message, signature = token.signing_input, token.signature
    for entry in entries:
        if entry.key.verify(message, signature) or (
            entry.previous is not None and entry.in_grace(now) and entry.previous.verify(message, signature)
        ):
            yield entry


def signing_secret(token: Token, application: Application, now: float) -> str | None:
    """Return the secret of the application that signed the token, the present one first; ``None`` if neither did.

    The application must be of the token's algorithm.
    """
    for number, key in enumerate(application.keys(now)):
        if key.verify(token.signing_input, token.signature):
            return application.secret if number == 0 else application.previous_secret(now)
    return None


def check_times(token: Token, application: Application, instant: Instant) -> Step:
    """Check that the token has begun and has not expired."""
    step = check_expiry(token, application, instant)
    now, leeway = instant
    for claim in ("nbf", "iat"):
        begins = token.claims.get(claim, 0)
        if now + leeway < begins:
            detail = Message(
                "%(claim)s is %(seconds)s s ahead; %(clock)s, with a leeway of %(leeway)s s",
                claim=claim,
                seconds=f"{begins - now:.0f}",
                clock=_clock(now),
                leeway=f"{leeway:g}",
            )
            raise Refused("time", "not_yet_valid", detail)
    return step


def check_expiry(token: Token, _: Application, instant: Instant) -> Step:
    """Check that all times are numbers of seconds, and that the token has not expired."""
    now, leeway = instant
    for claim in TIME_CLAIMS:
        value = token.claims.get(claim, 0)
        # By type: JSON true is a number in Python.
        if type(value) not in (int, float) or not 0 <= value <= LATEST_TIME:
            raise Refused("time", "invalid_time", _invalid_time(claim, value))
    if "exp" not in token.claims:
        detail = Message("the token has no exp: every token must say when it expires")
        raise Refused("time", "no_expiry", detail)
    expires = float(token.claims["exp"])
    if now >= expires + leeway:
        detail = Message(
            "expired %(seconds)s s ago; %(clock)s, with a leeway of %(leeway)s s",
            seconds=f"{now - expires:.0f}",
            clock=_clock(now),
            leeway=f"{leeway:g}",
        )
        raise Refused("time", "expired", detail)
    return passed(
        "time",
        lambda: Message("expires in %(seconds)s s; %(clock)s", seconds=f"{expires - now:.0f}", clock=_clock(now)),
    )


def check_username(token: Token, application: Application, _: Instant) -> Step:
    """Check that the claim that names the user holds a user name."""
    claim = application.fieldmap.username
    if claim not in token.claims:
        others = ", ".join(sorted(name[:64] for name in token.claims)[:10]) or Message("no claim at all")
        detail = Message("the claim is called %(claim)s, the token has %(others)s", claim=claim, others=others)
        raise Refused("username", "no_username", detail)
    try:
        name = _username(token, application)
    except RuleError as error:
        detail = Message("the user name in %(claim)s %(predicate)s", claim=claim, predicate=error.message)
        raise Refused("username", "invalid_username", detail) from None
    return passed("username", lambda: Message("%(claim)s names the user %(name)s", claim=claim, name=name))


ClaimCheck = Callable[[Token, Application, Instant], Step]
# The checks of the claims of a token whose signature fits, in this order. Each raises ``Refused``. Claims that no check
# reads (``aud``, ``iss`` and others) are ignored. The result is cached until any application changes: a check whose
# result depends on the time must be repeated in ``VerifiedToken.is_valid_at``.
CLAIM_CHECKS: Sequence[ClaimCheck] = (check_times, check_username)
# The same for revocation: a token that is not valid yet can be revoked.
REVOCATION_CHECKS: Sequence[ClaimCheck] = (check_expiry, check_username)


def check_claims(
    token: Token,
    application: Application,
    secret: str,
    instant: Instant,
    checks: Sequence[ClaimCheck] = CLAIM_CHECKS,
) -> tuple[VerifiedToken, list[Step]]:
    """Check the claims of a token that ``secret`` of ``application`` signed; raise ``Refused``.

    Return the verified token, without its identifiers, and the steps that it passed.
    """
    steps = [check(token, application, instant) for check in checks]
    username, expires = _username(token, application), float(token.claims["exp"])
    return VerifiedToken(application, username, expires, token.claims, secret, None), steps


def _username(token: Token, application: Application) -> str:
    value = token.claims[application.fieldmap.username]
    if not isinstance(value, str):
        raise RuleError("must be text")
    return user_name(value)


def _hint(text: str) -> Message | None:
    """Return a hint about a common cause of a malformed token, or ``None`` if none is recognised."""
    if text.endswith("."):
        return Message("this one has no signature")
    for hint, inside in _unwrapped(text):
        if inside != text and _PARTS.fullmatch(inside):
            return hint
    found = _INSIDE.search(text)
    if found is None:
        return Message("this one has five parts, as an encrypted token has") if text.count(".") == 4 else None
    before = text[: found.start()]
    parameter = _PARAMETER.search(before[-66:])
    if parameter is not None:
        return Message("this one is a URL: send only the value of its parameter %(name)s", name=parameter[1])
    if "://" in before:
        return Message("this one is a URL: send only the value of its parameter")
    in_json = before.lstrip().startswith("{")
    return Message("this one is inside a JSON object: send only its value") if in_json else _OTHER_TEXT


def _unwrapped(text: str) -> Iterator[tuple[Message, str]]:
    """Yield a hint for each common wrapping of a pasted token, with the text without that wrapping."""
    inside = _BEARER.sub("", text.strip().strip("\"'"), count=1).strip().strip("\"'").strip()
    yield Message("this one has white space, quotes or the word Bearer around it"), inside
    text = "".join(inside.split())
    yield Message("this one has line breaks or blanks inside"), text
    yield Message("this one has padding: a token is base64url without '='"), text.replace("=", "")
    standard = Message("this one is standard Base64: base64url has - and _ instead of + and /")
    yield standard, text.translate(_URL_SAFE)
    yield Message("this one is percent-encoded"), unquote(text).replace("=", "").translate(_URL_SAFE)


def _decoded(part: str, text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Refused("read", "malformed", Message("the %(part)s is not base64url", part=part)) from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        detail = Message("the %(part)s is not canonical base64url", part=part)
        raise Refused("read", "malformed", detail)
    return data


def _object(part: str, text: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(_decoded(part, text))
    except strict_json.JSONError as error:
        detail = Message("the %(part)s %(predicate)s", part=part, predicate=error.message)
        raise Refused("read", "malformed", detail) from None
    if not isinstance(value, dict):
        raise Refused("read", "malformed", Message("the %(part)s is not a JSON object", part=part))
    return value


def _check_header(header: Mapping[str, Any]) -> None:
    if not isinstance(header.get("alg"), str):
        raise Refused("header", "header", Message("the header has no alg"))
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise Refused("header", "header", Message("the header's typ is not JWT"))
    for name in _REFUSED_HEADERS:
        if name in header:
            detail = Message("the header has %(name)s, which this service does not accept", name=name)
            raise Refused("header", "header", detail)


def _invalid_time(claim: str, value: Any) -> Message:
    """Return the sentence about a time that is no number of seconds; it names the unit that seems to be meant."""
    for unit, size in _UNITS:
        # A time between 2001 and 2286.
        if type(value) in (int, float) and 1e9 <= value / size < 1e10:
            return Message(
                "%(claim)s is %(value)s: that looks like %(unit)s; it must be seconds",
                claim=claim,
                value=f"{value:.0f}",
                unit=unit,
            )
    return Message(
        "%(claim)s must be a number of seconds from 0 to %(latest)s, as a JSON number", claim=claim, latest=LATEST_TIME
    )


def _clock(now: float) -> Message:
    time = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Message("this server's clock says %(time)s", time=time)
