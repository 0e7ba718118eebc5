"""Token issuer: the claims of a token, and its exact bytes (RFC 7515 compact serialisation, RFC 7519)."""

import binascii
import functools
import json
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from datafor_token.applications import policy
from datafor_token.applications.field_map import FieldMap
from datafor_token.applications.record import Application
from datafor_token.applications.registry import Registry
from datafor_token.applications.rules import REGISTERED_CLAIMS, TIME_CLAIMS
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.damaged_secrets import matching_repair
from datafor_token.crypto.keys import Key, signing_key
from datafor_token.errors import Forbidden, InvalidInput, RuleError
from datafor_token.tokens import claim_checks
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.identifiers import Identifiers, digest, short
from datafor_token.tokens.issue_limit import IssueLimit
from datafor_token.tokens.verifier import Instant, Refused, Token
from datafor_token.users.users import Users
from datafor_token.validation import logs
from datafor_token.validation.names import user_name
from datafor_token.validation.strict_json import compact

log = logging.getLogger(__name__)

LONGEST_TOKEN = 4096  # characters; proxies may refuse a longer one in a URL or a header
_FIELDS_OF_CLAIMS = {"aud": "audience", "iss": "issuer"}
_ORDER = ("iss", "aud", "jti", "iat", "exp")  # of the claims that the service sets
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Issued(NamedTuple):
    """A token, its ``identifiers.digest``, and whether the caller sent the secret before the last rotation.

    ``issued`` and ``jti`` are the token's ``iat`` and ``jti``, if it has them, and ``expires`` its ``exp``.
    """

    token: str
    digest: str
    sent_previous: bool
    issued: int | None
    expires: int
    jti: str | None


def issue(
    application: Application,
    private_key: str | None,
    claims: Mapping[str, Any],
    now: float,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> Issued:
    """Return a token of ``application`` with ``claims`` and an ``exp``; ``now`` is in seconds since 1970.

    ``further`` are a ``jti``, an ``iat`` or another ``exp`` that the token has too. Without ``private_key``, the stored
    secret signs; that requires a shared key. Raises ``Forbidden`` for a disabled application and for a key that does
    not belong to it, before anything is signed.
    """
    if not application.enable:
        raise Forbidden("application %(name)s is not enabled", name=application.name)
    if application.jwks_uri and private_key is None:
        raise InvalidInput.of(
            "privateKey", "is missing: the identity provider of %(name)s issues its tokens", name=application.name
        )
    present, *previous = [source.all() for source in application.accepted_keys(now)]
    expected = [*present, *(key for keys in previous for key in keys)]
    try:
        found = signing_key(application.algorithm, expected, private_key)
    except RuleError as error:
        raise InvalidInput.of("privateKey", error.message) from None
    if found is None:
        raise _foreign_key(application, private_key, now)
    key, number = found
    about = {**_policy_claims(application, now), "exp": int(now) + application.expire, **further}
    whole = {name: about[name] for name in _ORDER if name in about}
    # A claim of the user comes first, and is not replaced: an old field map may use the name of one of these.
    whole = {**claims, **{name: value for name, value in whole.items() if name not in claims}}
    _check_policy(application, whole, now)
    token = signed(key, whole)
    if len(token) > LONGEST_TOKEN:
        raise InvalidInput.of(
            "payload",
            "makes a token of %(number)s characters; at most %(most)s are issued",
            number=len(token),
            most=LONGEST_TOKEN,
        )
    signing_input = token.rpartition(".")[0].encode()
    jti = None if "jti" in claims else further.get("jti")
    return Issued(token, digest(signing_input, key), number >= len(present), whole.get("iat"), whole["exp"], jti)


def _policy_claims(application: Application, now: float) -> dict[str, Any]:
    """Return the claims that the application's own policy asks for."""
    claims: dict[str, Any] = {}
    if application.issuer is not None:
        claims["iss"] = application.issuer
    if application.audience and application.audience[0] != policy.ANY:
        claims["aud"] = application.audience[0]
    if application.max_lifetime is not None or application.sync:
        claims["iat"] = int(now)
    return claims


def _check_policy(application: Application, claims: Mapping[str, Any], now: float) -> None:
    """Refuse claims that the application would refuse in a token, instead of issuing one that nobody can use.

    What a rule would refuse that is only reported is logged.
    """
    token = Token({}, claims, b"", b"")
    for check, field in claim_checks.FIELDS_OF_CHECKS.items():
        try:
            check(token, application, Instant(now, 0))
        except Refused as refused:
            if not application.reports(field):
                raise InvalidInput.of(field, "would refuse the token: %(detail)s", detail=refused.step.detail) from None
            _log_reported(application, field)


def _log_reported(application: Application, field: str) -> None:
    log.warning(
        logs.event("issued a token that a reported rule would refuse", application=application.name, rule=field)
    )


def _foreign_key(application: Application, private_key: str | None, now: float) -> Forbidden:
    """Return the error, with the repair that would make a shared secret match, if there is one.

    The repair is a hint about the stored secret. Only Administrators can send a ``private_key``, so only they see it.
    """
    repair = None
    if is_shared(application.algorithm) and private_key is not None:
        repair = matching_repair(private_key, [signer.key.material for signer in application.accepted_signers(now)])
    if repair is None:
        return Forbidden("privateKey does not belong to application %(name)s", name=application.name)
    return Forbidden(
        "privateKey does not belong to application %(name)s: %(repair)s", name=application.name, repair=repair
    )


def username_for(username: str | None, payload: Mapping[str, Any], caller: str) -> str:
    """Return the user of a new token: ``username``, else the one in the payload, else the caller."""
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
    """Return the claims of a token: the mapped user name first, then those of the payload in their order.

    A key of the payload that ``fieldmap`` maps is renamed to its claim. Lists remain lists, all other values become
    text. Raises ``InvalidInput`` for a claim about the token, and for two keys that map to the same claim and have
    different values.
    """
    renamed = {field: claim for field, claim in (("name", fieldmap.name), ("email", fieldmap.email)) if claim}
    claims: dict[str, Any] = {fieldmap.username: username}
    for field, value in payload.items():
        if field == "username":
            continue
        path, claim = f"payload.{field[:64]}", renamed.get(field, field)
        if field in _FIELDS_OF_CLAIMS:
            raise InvalidInput.of(
                path,
                "cannot be given: the service sets that claim itself, from the application's %(field)s",
                field=_FIELDS_OF_CLAIMS[field],
            )
        if claim in TIME_CLAIMS or field in REGISTERED_CLAIMS:
            raise InvalidInput.of(path, "cannot be given: the service sets that claim itself")
        content = value if isinstance(value, list) else _text(value)
        if claims.setdefault(claim, content) != content:
            raise InvalidInput.of(
                path, "maps to the claim %(claim)s, which has another value already", claim=claim[:64]
            )
    return claims


def _claim(value: Any, path: str) -> str:
    if isinstance(value, list):
        raise InvalidInput.of(path, "must be one text value")
    return _text(value)


def _text(value: Any) -> str:
    """Return the value of a claim as text; other values as JSON (``true``, ``1.5``)."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@functools.lru_cache(maxsize=4096)
def _header(algorithm: str, kid: str | None) -> bytes:
    # The documented sample token has `typ` first. Only public keys have an identifier that may be shown.
    return _base64url(compact({"typ": "JWT", "alg": algorithm} | ({"kid": kid} if kid else {})).encode()) + b"."


def signed(key: Key, claims: Mapping[str, Any]) -> str:
    """Return the token with exactly these claims, signed by a shared or private key."""
    signing_input = _header(key.algorithm, key.kid) + _base64url(compact(claims).encode())
    return (signing_input + b"." + _base64url(key.sign(signing_input))).decode("ascii")


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")


class Issuer:
    """Issues tokens of the registered applications and records them. ``clock`` returns seconds since 1970."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        registry: Registry,
        users: Users,
        audit: Audit,
        clock: Callable[[], float],
        identifiers: Identifiers,
        cut_offs: CutOffs,
        limit: IssueLimit,
    ) -> None:
        self._limit = limit
        self._cut_offs = cut_offs
        self._registry = registry
        self._users = users
        self._identifiers = identifiers
        self._audit = audit
        self._clock = clock

    def application_and_claims(self, fields: Mapping[str, Any], caller: str) -> tuple[Application, dict[str, Any]]:
        """Return the named application, or the only one, and the claims about the user of the token.

        ``fields`` are those of a request for a token; ``caller`` is the user name if they have none.
        """
        application = self._registry.get(fields["name"]) if "name" in fields else self._registry.only_application()
        payload = fields.get("payload", {})
        username = username_for(fields.get("username"), payload, caller)
        return application, claims_for(application.fieldmap, username, payload)

    def issue(self, kind: Kind, application: Application, private_key: str | None, claims: Mapping[str, Any]) -> str:
        """Return a token with these claims (see ``claims_for``) and record it as ``kind``.

        Raises the errors of ``sign``, and ``TooManyTokens``.
        """
        issued = self.sign(application, private_key, claims)
        # Last: what fails for another reason is not counted.
        self._limit.count(application)
        self._audit.record(self.event(kind, application, claims, issued))
        return issued.token

    def sign(
        self,
        application: Application,
        private_key: str | None,
        claims: Mapping[str, Any],
        further: Mapping[str, Any] = MappingProxyType({}),
    ) -> Issued:
        """Return a token with these claims (see ``claims_for``), which is neither counted nor recorded.

        ``further`` is as for ``issue``.
        Raises the errors of ``issue``, and ``JustRevoked`` in the second of a cut-off.
        """
        username = claims[application.fieldmap.username]
        user = self._users.get(username) if application.users == policy.OWN else None
        if user is not None and not user.belongs_to(application.name):
            if not application.reports("users"):
                raise InvalidInput.of(
                    "users", "would refuse the token: its user does not belong to %(name)s", name=application.name
                )
            _log_reported(application, "users")
        now = self._clock()
        iat = self._cut_offs.new_iat(username, application.name, now, lambda: self._users.get(username) is not None)
        issued = issue(application, private_key, claims, now, further if iat is None else {**further, "iat": iat})
        if issued.sent_previous:
            self._registry.note_previous_use(application)
        return issued

    def event(self, kind: Kind, application: Application, claims: Mapping[str, Any], issued: Issued) -> Event:
        """Return the event of an issued token."""
        return Event(
            kind=kind,
            application=application.name,
            user=claims[application.fieldmap.username],
            token=short(self._identifiers.present(issued.digest)),
            expires=issued.expires,
            iat=issued.issued,
            jti=issued.jti,
        )
