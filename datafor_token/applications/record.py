"""An application: an external system whose tokens are trusted. Its record, and the rules of its fields."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications import policy, rules
from datafor_token.applications.field_map import FieldMap, field_map
from datafor_token.applications.signing import Previous, Signer, read_previous
from datafor_token.crypto import vetting
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.keys import Key, KeySet, KeySource, verification_key
from datafor_token.errors import Message, RecordDamaged, RuleError, about
from datafor_token.providers.key_sets import ProviderKeys
from datafor_token.validation import names
from datafor_token.validation.addresses import Network
from datafor_token.validation.rates import Rate

COLLECTION = "applications"
# Of a record, and of one with rules that version 0.2.0 does not know. That version takes the latter for damaged, so it
# accepts no token that the rules refuse.
PLAIN_FORMAT, FORMAT = 1, 2
MASK = "************"  # replaces a stored secret in responses; sent back, it keeps the stored one

# Returns the keys of a provider for a ``jwks_uri``, ``issuer`` and ``algorithm``.
ProviderKeySource = Callable[[str, str, str], KeySource]


def no_provider_keys(_uri: str, _issuer: str, _algorithm: str) -> KeySource:
    """Return no keys, for a reader of records that verifies no tokens."""
    return KeySet(())


class Field(NamedTuple):
    """Declaration of a field that a call can set; it has the same name in calls, in the record and in ``Application``.

    ``rule`` takes the JSON value and returns the attribute's value, or raises ``RuleError``; ``to_json`` is its
    inverse. ``default`` is the JSON value of a new application for which a form or a command was given none (``None``:
    there is no default). A record, and a call that creates an application, may leave out a field that is not
    ``required``. A field of the trust policy, which ``is_policy``, is ``None`` where it is not set, and left out of
    records and responses then; an update without it leaves it alone.
    """

    rule: Callable[[Any], Any]
    default: Any
    required: bool
    is_secret: bool
    to_json: Callable[[Any], Any]
    is_policy: bool = False


def _field(
    rule: Callable[[Any], Any],
    default: Any = None,
    *,
    required: bool = True,
    is_secret: bool = False,
    to_json: Callable[[Any], Any] = lambda value: value,
) -> Any:
    declaration = Field(rule, default, required, is_secret, to_json)
    attribute_default = dataclasses.MISSING if required else rule(default)
    return dataclasses.field(default=attribute_default, repr=not is_secret, metadata={"field": declaration})


def _policy(rule: Callable[[Any], Any], to_json: Callable[[Any], Any] = lambda value: value) -> Any:
    declaration = Field(rule, None, False, False, to_json, is_policy=True)  # noqa: FBT003
    return dataclasses.field(default=None, metadata={"field": declaration})


def _texts_to_json(values: Sequence[object]) -> list[str]:
    return [str(value) for value in values]


def _flag_to_json(value: bool) -> str:  # noqa: FBT001 - the one argument of a converter
    return "1" if value else "0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Application:
    """One application whose values follow the rules for stored values.

    To add a field that a call can set, add one line with ``_field`` here; it is then read, checked and written.

    ``expire`` is in seconds. ``created_date``, ``last_modified_date``, ``disabled_date`` (the last time that a call
    disabled it) and ``last_expiry`` (the end of all tokens that were issued with a longer ``expire``) are milliseconds
    since 1970. ``is_older_than_audience`` is true for a record from before the rule that a token with an ``aud`` needs
    an ``audience``. ``provider_keys`` is where ``jwks_uri`` is looked up, and no part of the record. ``extra`` holds
    the members of the record that this version does not know, which are written back unchanged. Secrets are left out of
    ``repr``.
    """

    name: str = _field(rules.of_text(names.application_name))
    token_name: str = _field(rules.of_text(names.stored_token_name), "token", required=False)
    secret: str = _field(rules.secret, is_secret=True)  # empty with ``jwks_uri``
    expire: int = _field(rules.token_lifetime, 86400)
    fieldmap: FieldMap = _field(  # noqa: RUF009 - a declaration, which is immutable
        field_map, {"username": "username", "name": "name", "email": "email"}, to_json=FieldMap.to_document
    )
    algorithm: str = _field(rules.algorithm, "HS256")
    enable: bool = _field(rules.flag, "1", to_json=_flag_to_json)
    inituser: bool = _field(rules.flag, "0", to_json=_flag_to_json)
    initroles: tuple[str, ...] = _field(rules.roles, ["SYS_Reader"], to_json=list)
    initpwd: str = _field(rules.initial_password, "", required=False, is_secret=True)
    self_service: bool = _field(rules.flag, "0", required=False, to_json=_flag_to_json)
    jwks_uri: str | None = _policy(policy.jwks_uri)
    # None: never set. Empty: cleared, which is stored, since it ends what ``is_older_than_audience`` allows.
    audience: tuple[str, ...] | None = _policy(policy.audience, _texts_to_json)
    issuer: str | None = _policy(policy.issuer)
    require: policy.Requirements | None = _policy(  # noqa: RUF009 - a declaration, which is immutable
        policy.requirements, policy.requirements_to_json
    )
    token_types: tuple[str, ...] | None = _policy(policy.token_types, _texts_to_json)
    max_lifetime: int | None = _policy(policy.max_lifetime)
    networks: tuple[Network, ...] | None = _policy(policy.networks, _texts_to_json)
    users: str | None = _policy(policy.users)
    report: tuple[str, ...] | None = _policy(policy.report, _texts_to_json)
    sync: tuple[str, ...] | None = _policy(policy.sync, _texts_to_json)
    roles_claim: str | None = _policy(policy.roles_claim)
    roles_map: Mapping[str, str] | None = _policy(policy.roles_map, dict)
    origins: tuple[str, ...] | None = _policy(policy.origins, list)
    session_idle: int | None = _policy(policy.session_limit)
    session_max: int | None = _policy(policy.session_limit)
    rate: Rate | None = _policy(policy.rate, str)  # noqa: RUF009 - a declaration, which is immutable
    created_date: int = 0
    last_modified_date: int = 0
    creator_id: str = ""
    disabled_date: int = 0
    last_expiry: int = 0
    previous: Previous | None = None
    is_older_than_audience: bool = False
    provider_keys: ProviderKeySource = dataclasses.field(default=no_provider_keys, repr=False, compare=False)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def format(self) -> int:
        """The version of its record."""
        return PLAIN_FORMAT if self.has_no_rules and self.networks is None else FORMAT

    def to_document(self) -> dict[str, Any]:
        """Return the record, with its members in a fixed order and the unknown ones last."""
        return {
            "format": self.format,
            **self._fields_and_dates(),
            **({"disabledDate": self.disabled_date} if self.disabled_date else {}),
            **({"lastExpiry": self.last_expiry} if self.last_expiry else {}),
            **({"previous": self.previous.to_document()} if self.previous else {}),
            **self.extra,
        }

    def _fields_and_dates(self) -> dict[str, Any]:
        values = [(name, field, getattr(self, name)) for name, field in FIELDS.items()]
        left_out = "secret" if self.jwks_uri else None
        return {
            **{name: field.to_json(value) for name, field, value in values if value is not None and name != left_out},
            "createdDate": self.created_date,
            "lastModifiedDate": self.last_modified_date,
            "creatorId": self.creator_id,
        }

    @functools.cached_property
    def key(self) -> KeySource:
        """The key that verifies its tokens and, if it is a shared secret, signs them; or a set of public keys."""
        if self.jwks_uri:
            return self.provider_keys(self.jwks_uri, self.issuer or "", self.algorithm)
        return verification_key(self.algorithm, self.secret)

    @functools.cached_property
    def previous_key(self) -> KeySource | None:
        """The key of the secret before the last rotation, whether or not that is still accepted."""
        return verification_key(self.algorithm, self.previous.secret) if self.previous else None

    def accepted_keys(self, now: float) -> Sequence[KeySource]:
        """Return the present key and, during a grace period, the previous one; ``now`` is in seconds since 1970."""
        return (self.key,) if self.previous_key is None or not self._in_grace(now) else (self.key, self.previous_key)

    def accepts(self, signer: Signer, now: float) -> bool:
        """Return whether the tokens of a key of this application are still accepted; ``now`` as for ``signer``."""
        if signer.is_previous:
            return self._in_grace(now)
        # The keys of a provider change without the record.
        return isinstance(self.key, Key) or signer.key in self.key.all()

    def signer(self, message: bytes, signature: bytes, kid: str | None, now: float) -> Signer | None:
        """Return the key that signed ``message``, the present one first, or None; ``now`` is in seconds since 1970."""
        for number, source in enumerate(self.accepted_keys(now)):
            key = source.signer(message, signature, kid)
            if key is not None:
                return self._signer(key, source, number)
        return None

    def accepted_signers(self, now: float) -> Iterator[Signer]:
        """Yield the keys whose tokens are accepted, the present ones first; ``now`` is in seconds since 1970."""
        for number, source in enumerate(self.accepted_keys(now)):
            for key in source.all():
                yield self._signer(key, source, number)

    def _signer(self, key: Key, source: KeySource, number: int) -> Signer:
        secret = self.previous.secret if self.previous and number else self.secret
        return Signer(key, secret if source is key else str(key.kid), is_previous=number > 0)

    def previous_secret(self, now: float) -> str | None:
        """Return the previous secret during its grace period, or None; ``now`` is in seconds since 1970."""
        return self.previous.secret if self.previous is not None and self._in_grace(now) else None

    def _in_grace(self, now: float) -> bool:
        return self.previous is not None and now * 1000 < self.previous.until

    def reports(self, field: str) -> bool:
        """Return whether the rule of a field of the policy is only reported, and not enforced."""
        return self.report is not None and field in self.report

    def disabled_since(self, time: float) -> bool:
        """Return whether the application was disabled, or deleted and created again, after ``time`` (s since 1970)."""
        return max(self.created_date, self.disabled_date) > time * 1000

    def to_response(self, now: float) -> dict[str, Any]:
        """Return the fields for a response: secrets masked, ``previous`` only during its grace period.

        ``secret`` is shown if it is public, with the ``kid`` of a single key, or the ``keys`` of a set. ``keys`` of a
        provider are their state. Sent back in an update, a response changes nothing.
        """
        response = {**self._response}
        if self.previous and self._in_grace(now):
            response["previous"] = {"until": self.previous.until, "lastUsed": self.previous.last_used}
        if isinstance(self.key, ProviderKeys):
            response["keys"] = self.key.status()._asdict()
        return response

    @functools.cached_property
    def _response(self) -> Mapping[str, Any]:
        """The part of a response that does not depend on the time; cached, as a list has a thousand of them."""
        masked: dict[str, Any] = {name: MASK if getattr(self, name) else "" for name in SECRETS}
        if self.jwks_uri:
            # Sent back, the mask keeps the keys of the provider.
            masked["secret"] = MASK
        elif not is_shared(self.algorithm):
            masked["secret"] = self.secret
            key = self.key
            masked |= {"keys": {"kids": list(key.kids)}} if isinstance(key, KeySet) else {"kid": key.all()[0].kid}
        fieldmap = dataclasses.replace(self.fieldmap, extra={}).to_document()
        return {**self._fields_and_dates(), **masked, "fieldmap": fieldmap}

    @functools.cached_property
    def rule_violations(self) -> Mapping[str, str]:
        """By field, a sentence about each stored value that breaks a rule for new values; it continues to work."""
        found: dict[str, str] = {
            field: Message("%(sentence)s; the stored value continues to work", sentence=sentences[0])
            for field, sentences in errors_in_new_values(vars(self)).items()
        }
        if self.accepts_any_audience and self.audience is None:
            found["audience"] = Message(
                "audience is not set: tokens for any audience are accepted, as before this rule; set audience to yours"
                " or to *, or, if its tokens have no aud, clear it with `application set %(name)s --audience ''`",
                name=self.name,
            )
        return found

    @property
    def accepts_any_audience(self) -> bool:
        """True if a token may be for anybody."""
        return self.is_older_than_audience if self.audience is None else policy.ANY in self.audience

    @functools.cached_property
    def policy_digest(self) -> str:
        """Digest of the rules that decide whether a token is accepted; a session ends when they change.

        Also when one is enforced that was only reported. The networks are checked at each use of a session anyway.
        """
        rules = {name: FIELDS[name].to_json(value) for name, value in self._rules.items()}
        reported = [field for field in self.report or () if field != "networks"]
        if reported:
            rules["report"] = reported
        audience = [policy.ANY] if self.accepts_any_audience else _texts_to_json(self.audience or ())
        return hashlib.sha256(json.dumps({**rules, "audience": audience}, sort_keys=True).encode()).hexdigest()

    @property
    def has_no_rules(self) -> bool:
        """True if no rule is set, as for every session that an earlier version opened."""
        return not self._rules and (self.audience is None or policy.ANY in self.audience)

    @property
    def _rules(self) -> Mapping[str, Any]:
        values = {name: getattr(self, name) for name in policy.RULES}
        return {name: value for name, value in values.items() if value not in (None, policy.EVERYBODY)}

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        audience_since: int = 0,
        provider_keys: ProviderKeySource = no_provider_keys,
    ) -> "Application":
        """Read a record, which may have been edited by hand; raise ``RecordDamaged``, which names the wrong member.

        ``audience_since`` is the time from which applications need an ``audience``, in milliseconds since 1970.
        """
        unread = {"format": PLAIN_FORMAT, **_DEFAULTS_OF_RECORDS, **document}
        has_secret = not document.get("jwks_uri")
        if not has_secret:
            unread.pop("secret", None)
        member = "format"
        try:
            version = rules.record_format(unread.pop(member), FORMAT)
            values: dict[str, Any] = {}
            for member, field in FIELDS.items():
                if member not in unread and field.is_policy:
                    values[member] = None
                elif member == "secret" and not has_secret:
                    values[member] = ""
                else:
                    values[member] = field.rule(unread.pop(member))
            for member, (attribute, rule) in _BOOKKEEPING.items():
                values[attribute] = rule(unread.pop(member, None))
            member = "previous"
            values[member] = read_previous(values["algorithm"], unread.pop(member, None))
            application = cls(
                **values,
                is_older_than_audience=values["created_date"] < audience_since,
                provider_keys=provider_keys,
                extra=unread,
            )
            member = "secret"
            _ = application.key  # cached, if the secret is a key
            member = "jwks_uri"
            if values[member] and (is_shared(values["algorithm"]) or not values["issuer"]):
                raise RuleError("needs an issuer, and an algorithm with public keys")
            member = "self_service"
            rules.check_self_service(values["algorithm"], self_service=values["self_service"])
        except KeyError:
            raise RecordDamaged(reason=f"application {document.get('name')!r}: {member} is missing") from None
        except RuleError as error:
            raise RecordDamaged(reason=f"application {document.get('name')!r}: {member} {error}") from None
        if version > application.to_document()["format"]:
            raise RecordDamaged(
                reason=f"application {application.name!r}: the rules that its format announces are missing"
            )
        return application


FIELDS: Mapping[str, Field] = {
    attribute.name: attribute.metadata["field"] for attribute in dataclasses.fields(Application) if attribute.metadata
}
SECRETS = tuple(name for name, field in FIELDS.items() if field.is_secret)
# A new application's fields, as a call has them, where a form or a command was given none.
DEFAULTS = {name: field.default for name, field in FIELDS.items() if field.default is not None}
POLICY = tuple(name for name, field in FIELDS.items() if field.is_policy)
_DEFAULTS_OF_RECORDS = {
    name: field.default for name, field in FIELDS.items() if not field.required and not field.is_policy
}


def _optional_text(value: object) -> str:
    return "" if value is None else rules.text(value)


# Members of the record that no call can set: the attribute of each, and its rule.
_BOOKKEEPING: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "createdDate": ("created_date", rules.whole_number),
    "lastModifiedDate": ("last_modified_date", rules.whole_number),
    "creatorId": ("creator_id", _optional_text),
    "disabledDate": ("disabled_date", rules.whole_number),
    "lastExpiry": ("last_expiry", rules.whole_number),
}


def errors_in_new_values(values: Mapping[str, Any], stored: Application | None = None) -> dict[str, list[str]]:
    """Return, by field, sentences about the values that break a rule for new values.

    ``values`` are attributes of an application, as far as they are known. A value that equals the one in ``stored`` is
    not new: a later rule must not prevent a change of another field.
    """
    old = {} if stored is None else vars(stored)
    errors: dict[str, list[str]] = {}

    def check(field: str, rule: Callable[[], object]) -> None:
        try:
            rule()
        except RuleError as error:
            errors[field] = [about(field, error.message)]

    if "token_name" in values and values["token_name"] != old.get("token_name"):
        check("token_name", lambda: names.token_name(values["token_name"]))
    for member in ("username", "name", "email") if "fieldmap" in values else ():
        claim = getattr(values["fieldmap"], member)
        if claim != getattr(old.get("fieldmap"), member, None):
            check(f"fieldmap.{member}", functools.partial(rules.new_claim_name, claim))
    roles = [role for role in values.get("initroles", ()) if role not in old.get("initroles", ())]
    check("initroles", lambda: [names.role_name(role) for role in roles])
    pair = values.get("algorithm"), values.get("secret")
    if None not in pair and pair[1] and pair != (old.get("algorithm"), old.get("secret")):
        check("secret", lambda: vetting.check(values["algorithm"], values["secret"]))
    return errors
