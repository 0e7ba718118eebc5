"""Tokens as text: strict parsing, and the applications that signed one.

The parser refuses whatever could be read in two ways, before any signature is checked. The stored application
determines key and algorithm, never the token (RFC 8725 section 3.1). Each check leaves a step, which ``explain`` shows;
the checks of the claims are in ``claim_checks``.
"""

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.applications.signing import Signer
from datafor_token.errors import Message
from datafor_token.validation import claims, strict_json

LONGEST_TOKEN = 8192  # characters; twice the length of the longest token that is issued here
_PARTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Header members that change how a token must be read (RFC 7515 sections 4.1.10 and 4.1.11, RFC 7516, RFC 7797).
REFUSED_HEADERS = ("crit", "b64", "enc", "zip", "cty")
_BEARER = re.compile(r"^(?:authorization\s*:\s*)?bearer\s+", re.IGNORECASE)
# A token inside other text, with no token character before or after it. Possessive quantifiers: even a long text is
# scanned once.
_INSIDE = re.compile(r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++(?!\.)")
_PARAMETER = re.compile(r"[?&#]([A-Za-z0-9_-]{1,64})=$")
_URL_SAFE = str.maketrans("+/", "-_", "=")
_OTHER_TEXT = Message("this one has other text around it")
# Audiences in the audit log. Anybody who can sign may put anything into the claim, and a line of the log is short.
_MOST_AUDIENCES, _LONGEST_AUDIENCE = 8, 128


class Instant(NamedTuple):
    """Time of a verification: ``now`` in seconds since 1970, and the tolerance for wrong clocks in seconds."""

    now: float
    leeway: float


class Step(NamedTuple):
    """One check of a token: its name, whether the token passed it, and a sentence about it.

    The sentence is composed only when it is shown: that takes 1.3 us, and an ordinary request passes four checks.
    ``reported`` is the field of the application whose rule would refuse the token for ``reason``, if that rule were not
    only reported (see ``Application.reports``).
    """

    step: str
    ok: bool
    compose: Callable[[], Message]
    reported: str | None = None
    reason: str | None = None

    @property
    def detail(self) -> Message:
        """The sentence."""
        return self.compose()

    def to_response(self) -> dict[str, Any]:
        """Return the members of the response to ``explain``."""
        reported = {} if self.reported is None else {"reported": self.reported}
        return {"step": self.step, "ok": self.ok, "detail": self.detail, **reported}


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


def if_reported(application: Application, field: str, refused: Refused) -> Step:
    """Return the step of a token that a rule which is only reported would refuse; else raise the refusal."""
    if not application.reports(field):
        raise refused
    return only_reported(field, refused.step.step, refused.reason, refused.step.detail)


def only_reported(field: str, step: str, reason: str, detail: Message) -> Step:
    """Return the step of a token that the rule of ``field``, which is only reported, would refuse for ``reason``."""

    def compose() -> Message:
        return Message("not refused, as %(field)s is only reported: %(detail)s", field=field, detail=detail)

    return Step(step, ok=True, compose=compose, reported=field, reason=reason)


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

    @property
    def kid(self) -> str | None:
        """The identifier of the key that signed it, as the header has it (RFC 7515 section 4.1.4)."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


@dataclasses.dataclass(frozen=True)
class VerifiedToken:
    """A token, or a ticket that stands for one, whose signature and claims one application accepts.

    ``expires`` and ``issued``, which is ``None`` if it is not known, are in seconds since 1970; ``signer`` signed the
    token. ``identifier`` is the token's keyed identifier, ``None`` for a ticket. ``revocation_names`` are the names of
    the records of which each would revoke it (see ``identifiers``). ``digest`` is the token's ``identifiers.digest``:
    it must stay in memory, and is ``None`` where the token itself is not known any more.
    ``typ`` is the type in its header. ``reported`` are the steps of the rules about claims that would refuse the token,
    but are only reported.
    """

    application: Application
    username: str
    expires: float
    claims: Mapping[str, Any]
    signer: Signer
    identifier: str | None
    issued: float | None = None
    revocation_names: tuple[str, ...] = ()
    digest: str | None = dataclasses.field(default=None, repr=False)
    typ: str = "JWT"
    reported: tuple[Step, ...] = dataclasses.field(default=(), repr=False)

    def is_valid_at(self, instant: Instant) -> bool:
        """Return whether a token that was verified before is within its times, and its key still accepted.

        Repeats those of the ``claim_checks.CLAIM_CHECKS`` whose result changes with the clock.
        """
        begins = float(max(self.claims.get("nbf", 0), self.claims.get("iat", 0)))
        in_time = begins - instant.leeway <= instant.now < self.expires + instant.leeway
        return in_time and self.application.accepts(self.signer, instant.now)

    def text(self, claim: str) -> str:
        """Return the value of a claim, by name or JSON Pointer, if it is text, else an empty text."""
        value = claims.find(self.claims, claim)
        return value if isinstance(value, str) else ""

    @property
    def unnamed_audiences(self) -> Sequence[str] | None:
        """The audiences, as text, if the application has no ``audience`` to compare them with; for the audit log.

        ``None`` without the claim ``aud``, or if the application has an ``audience``. There are at most 8, of at most
        128 characters each. Only an application from before the rule accepts such a token, or one that only reports it.
        """
        if "aud" not in self.claims or self.application.audience is not None:
            return None
        claim = self.claims["aud"]
        values = claim if isinstance(claim, list) else [claim]
        texts = [value if isinstance(value, str) else strict_json.compact(value) for value in values[:_MOST_AUDIENCES]]
        return [text[:_LONGEST_AUDIENCE] for text in texts if not claims.may_be_token(text)]


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
    if not is_compact(text):
        hint = _hint(text) if explain else None
        detail = Message("a token is three parts of A-Z, a-z, 0-9, '-' and '_' with dots between")
        if hint is not None:
            detail = Message("%(first)s; %(second)s", first=detail, second=hint)
        raise Refused("read", "malformed", detail)
    header_part, payload_part, signature_part = text.split(".")
    header = json_part("header", header_part)
    payload = json_part("payload", payload_part)
    signature = _decoded("signature", signature_part)
    _check_header(header)
    return Token(header, payload, f"{header_part}.{payload_part}".encode(), signature)


def fitting(token: Token, entries: Iterable[IndexEntry]) -> Sequence[IndexEntry]:
    """Return the applications whose tokens have the algorithm of this one, in their order."""
    return [entry for entry in entries if entry.algorithm == token.algorithm]


def signers(token: Token, entries: Iterable[IndexEntry], now: float) -> Iterator[IndexEntry]:
    """Yield the applications whose present or previous key signed the token, in their order, lazily.

    ``entries`` must be of the token's algorithm; ``now`` is in seconds since 1970. A previous secret stays stored
    after its grace period, but is not tried.
    """
    message, signature, kid = token.signing_input, token.signature, token.kid
    for entry in entries:
        if entry.key.signer(message, signature, kid) or (
            entry.previous is not None and entry.in_grace(now) and entry.previous.signer(message, signature, kid)
        ):
            yield entry


def _hint(text: str) -> Message | None:
    """Return a hint about a common cause of a malformed token, or ``None`` if none is recognised."""
    if text.endswith("."):
        return Message("this one has no signature")
    for hint, inside in unwrapped(text):
        if inside != text and is_compact(inside):
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


def is_compact(text: str) -> bool:
    """Return whether a text consists of three parts, as every token does."""
    return _PARTS.fullmatch(text) is not None


def unwrapped(text: str) -> Iterator[tuple[Message, str]]:
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


def json_part(part: str, text: str) -> dict[str, Any]:
    """Return the JSON object in a part of a token, such as ``header``; raise ``Refused`` (``malformed``)."""
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
    if not isinstance(header.get("typ", "JWT"), str):
        raise Refused("header", "header", Message("the header's typ is not text"))
    for name in REFUSED_HEADERS:
        if name in header:
            detail = Message("the header has %(name)s, which this service does not accept", name=name)
            raise Refused("header", "header", detail)
