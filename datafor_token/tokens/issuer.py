"""Issue a token: which claims it has, and its exact bytes (RFC 7515 compact serialisation, RFC 7519)."""

import binascii
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from datafor_token.applications.record import Application, FieldMap
from datafor_token.applications.registry import Registry
from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.crypto.damaged_secrets import matching_repair
from datafor_token.crypto.keys import Key, is_shared, signing_key
from datafor_token.errors import Forbidden, InvalidInput, RuleError
from datafor_token.tokens.identifiers import Identifiers, digest, short
from datafor_token.validation.names import user_name
from datafor_token.validation.strict_json import compact

LONGEST_TOKEN = 4096  # characters: what proxies still carry in a URL or a header


class Issued(NamedTuple):
    """A token, its ``identifiers.digest``, and whether it was asked for with the secret before the last rotation."""

    token: str
    digest: str
    with_previous: bool


def issue(application: Application, private_key: str | None, claims: Mapping[str, Any], now: float) -> Issued:
    """A token of ``application`` with ``claims`` and an ``exp``; ``now`` is in seconds since 1970.

    ``private_key`` may be ``None`` for a shared key only: the stored secret signs. Raises ``Forbidden``
    for a disabled application and for a key that is not the application's, before anything is signed.
    """
    if not application.enable:
        raise Forbidden("application %(name)s is not enabled", name=application.name)
    try:
        found = signing_key(application.algorithm, application.keys(now), private_key)
    except RuleError as error:
        raise InvalidInput.of("privateKey", error.message) from None
    if found is None:
        raise _foreign_key(application, private_key, now)
    key, number = found
    token = _signed(key, {**claims, "exp": int(now) + application.expire})
    if len(token) > LONGEST_TOKEN:
        raise InvalidInput.of(
            "payload",
            "makes a token of %(number)s characters; at most %(most)s are issued",
            number=len(token),
            most=LONGEST_TOKEN,
        )
    signing_input = token.rpartition(".")[0].encode()
    return Issued(token, digest(signing_input, key), with_previous=number > 0)


def _foreign_key(application: Application, private_key: str | None, now: float) -> Forbidden:
    """Name the repair after which a shared secret would match; only an Administrator ever sends one."""
    repair = None
    if is_shared(application.algorithm) and private_key is not None:
        repair = matching_repair(private_key, [key.material for key in application.keys(now)])
    if repair is None:
        return Forbidden("privateKey does not belong to application %(name)s", name=application.name)
    return Forbidden(
        "privateKey does not belong to application %(name)s: %(repair)s", name=application.name, repair=repair
    )


def username_for(username: str | None, payload: Mapping[str, Any], caller: str) -> str:
    """Who a token is for: ``username``, else the payload's, else the caller."""
    if "username" not in payload:
        return caller if username is None else username
    try:
        named = user_name(_claim(payload["username"], "payload.username"))
    except RuleError as error:
        if not payload["username"]:
            raise InvalidInput.of("username", "can not be empty") from None
        raise InvalidInput.of("payload.username", error.message) from None
    if username is not None and username != named:
        raise InvalidInput.of("username", "differs from payload.username")
    return named


def claims_for(fieldmap: FieldMap, username: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of a token: the mapped user name first, then the payload's in their order.

    A payload's key named in ``fieldmap`` is renamed to its claim; lists stay lists, everything else
    becomes text. Raises ``InvalidInput`` for a time claim and for two keys that meet in one claim.
    """
    renamed = {"name": fieldmap.name, "email": fieldmap.email}
    claims: dict[str, Any] = {fieldmap.username: username}
    for field, value in payload.items():
        if field == "username":
            continue
        path, claim = f"payload.{field[:64]}", renamed.get(field, field)
        if claim in TIME_CLAIMS:
            raise InvalidInput.of(path, "can not be given: the service sets that claim itself")
        if claim in claims:
            raise InvalidInput.of(path, "meets another value in the claim %(claim)s", claim=claim[:64])
        claims[claim] = value if isinstance(value, list) else _text(value)
    return claims


def _claim(value: Any, path: str) -> str:
    if isinstance(value, list):
        raise InvalidInput.of(path, "must be one text value")
    return _text(value)


def _text(value: Any) -> str:
    """A claim's value as text: what is no text already, in the words of JSON (``true``, ``1.5``)."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@functools.lru_cache(maxsize=4096)
def _header(algorithm: str, kid: str | None) -> bytes:
    # In this order: the seed's token has `typ` first, and only public keys have an identifier to show.
    return _base64url(compact({"typ": "JWT", "alg": algorithm} | ({"kid": kid} if kid else {})).encode()) + b"."


def _signed(key: Key, claims: Mapping[str, Any]) -> str:
    signing_input = _header(key.algorithm, key.kid) + _base64url(compact(claims).encode())
    return (signing_input + b"." + _base64url(key.sign(signing_input))).decode("ascii")


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Issuer:
    """Issues tokens of the registered applications. ``clock`` answers seconds since 1970."""

    def __init__(self, registry: Registry, audit: Audit, clock: Callable[[], float], identifiers: Identifiers) -> None:
        self._registry = registry
        self._identifiers = identifiers
        self._audit = audit
        self._clock = clock

    def issue(self, kind: Kind, application: Application, private_key: str | None, claims: Mapping[str, Any]) -> str:
        """A token with these claims (see ``issuer.claims_for``); raises what ``issuer.issue`` raises."""
        issued = issue(application, private_key, claims, self._clock())
        if issued.with_previous:
            self._registry.note_previous_use(application)
        username = claims[application.fieldmap.username]
        token = short(self._identifiers.present(issued.digest))
        self._audit.record(Event(kind=kind, application=application.name, user=username, token=token))
        return issued.token
