"""Trust policy of an application: the rules of its fields, and of fields that depend on each other.

A rule takes a JSON value and returns the value that the code uses. An empty value clears the field: its rule returns
``None``, as if it had never been set.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from datafor_token.applications import rules
from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import Message, RuleError, about
from datafor_token.validation import names, strict_json, urls
from datafor_token.validation.addresses import Network, parse_network
from datafor_token.validation.origins import check_origins, is_plain_http
from datafor_token.validation.rates import Rate

if TYPE_CHECKING:
    from datafor_token.applications.record import Application
    from datafor_token.settings import Settings

T = TypeVar("T")
ANY = "*"  # as audience: a token for anybody is accepted
OWN, EVERYBODY = "own", "any"  # whose tokens are accepted: the application's own users, or all
SYNCED = ("name", "email", "roles")
# Fields that decide, beside the audience, whether a token is accepted, and how long its session lasts. Without the
# networks, which are checked at each use of a session too, and without those that only change the user.
RULES = ("jwks_uri", "issuer", "require", "token_types", "max_lifetime", "users", "session_idle", "session_max")
# Fields whose rules can be only reported, in the order in which the rules are checked.
REPORTABLE = ("token_types", "audience", "issuer", "require", "max_lifetime", "networks", "users")
MOST, MOST_ROLES = 32, 256  # entries of a list or object
LONGEST = 512  # characters of a text that is compared with a claim
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}(?:/[A-Za-z0-9!#$&^_.+-]{1,64})?")

Requirements = Mapping[str, Sequence[Any]]


def clearable(rule: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Return a rule that returns ``None`` for an empty value, and the value of ``rule`` for any other."""

    @functools.wraps(rule)
    def check(value: Any) -> T | None:
        # By type too: 0 and False are no empty values.
        return None if type(value) in (str, list, dict) and not value else rule(value)

    return check


def audience(value: object) -> tuple[str, ...]:
    """Return the accepted audiences; none for an empty value, which differs from an audience that was never set."""
    return () if value in ("", [], {}) else _texts(value)


@clearable
def max_lifetime(value: object) -> int:
    """Return the longest accepted lifetime of a token in whole seconds."""
    return rules.token_lifetime(value)


@clearable
def roles_claim(value: object) -> str:
    """Return the claim with the user's roles, by name or JSON Pointer."""
    return rules.claim_path(value)


@clearable
def issuer(value: object) -> str:
    """Return the issuer that tokens must name."""
    return _text(value)


@clearable
def token_types(value: object) -> tuple[str, ...]:
    """Return the accepted types of tokens, as a header's ``typ`` has them (RFC 7515 section 4.1.9)."""
    found = _texts(value)
    if not all(map(is_type, found)):
        raise RuleError("must be a list of types such as JWT or at+jwt")
    return found


def is_type(text: str) -> bool:
    """Return whether a text can be a type of tokens."""
    return _TYPE.fullmatch(text) is not None


def plain_type(kind: str) -> str:
    """Return a type of tokens as it is compared: without case and without ``application/``."""
    # Of ASCII letters only: the Kelvin sign in lower case is "k".
    return kind.lower().removeprefix("application/") if kind.isascii() else kind


@clearable
def networks(value: object) -> tuple[Network, ...]:
    """Return networks in CIDR notation or addresses; an IPv4-mapped IPv6 network is its IPv4 network."""
    return tuple(parse_network(text) for text in _texts(value))


@clearable
def users(value: object) -> str:
    """Return whose tokens are accepted: ``any`` or ``own``."""
    if value not in (EVERYBODY, OWN):
        raise RuleError("must be one of %(values)s", values=f"{EVERYBODY}, {OWN}")
    return str(value)


@clearable
def session_limit(value: object) -> int:
    """Return a limit of a gate session in whole seconds."""
    return rules.session_limit(value)


@clearable
def origins(value: object) -> tuple[str, ...]:
    """Return the origins whose pages may embed the application's pages (RFC 6454 section 6.2)."""
    found = _texts(value)
    check_origins(found)
    return found


@clearable
def rate(value: object) -> Rate:
    """Return how many tokens may be issued in which time."""
    return Rate.parse(rules.text(value))


@clearable
def sync(value: object) -> tuple[str, ...]:
    """Return the members of a user that follow the token."""
    found = _texts(value)
    if not set(found) <= set(SYNCED):
        raise RuleError("must be a list with some of %(values)s", values=", ".join(SYNCED))
    return tuple(one for one in SYNCED if one in found)


@clearable
def report(value: object) -> tuple[str, ...]:
    """Return the fields whose rules are only reported: a token that breaks one is accepted."""
    found = _texts(value)
    if not set(found) <= set(REPORTABLE):
        raise RuleError("must be a list with some of %(values)s", values=", ".join(REPORTABLE))
    return tuple(one for one in REPORTABLE if one in found)


@clearable
def requirements(value: object) -> Requirements:
    """Return, by claim name or JSON Pointer, the values of which the claim must have one."""
    if not isinstance(value, Mapping) or len(value) > MOST:
        raise RuleError(
            "must be an object of at most %(number)s claims, such as %(example)s",
            number=MOST,
            example='{"azp": "portal"}',
        )
    return {rules.claim_path(claim): _claim_values(one) for claim, one in value.items()}


def requirements_to_json(value: Requirements) -> dict[str, Any]:
    """Return the JSON object of requirements; a single value stands for a list of one."""
    return {claim: one[0] if len(one) == 1 else list(one) for claim, one in value.items()}


@clearable
def roles_map(value: object) -> Mapping[str, str]:
    """Return the role or user type that each value of the roles claim stands for."""
    if not isinstance(value, Mapping) or len(value) > MOST_ROLES:
        raise RuleError(
            "must be an object of at most %(number)s members, such as %(example)s",
            number=MOST_ROLES,
            example='{"staff": "Sales"}',
        )
    return {_text(claimed): names.role_name(rules.text(role)) for claimed, role in value.items()}


def new_jwks_uri(value: object) -> str:
    """Return the URL of a JWK Set or of a discovery document. The settings restrict it further."""
    uri = rules.text(value)
    urls.parse(uri)
    return uri


@clearable
def jwks_uri(value: object) -> str:
    """Return the URL of the keys."""
    return new_jwks_uri(value)


def warnings_about(application: "Application", settings: "Settings") -> list[Message]:
    """Return sentences about a policy that is accepted, but weaker than it looks, or without effect in part."""
    found = []
    if application.jwks_uri and application.jwks_uri.lower().startswith("http:"):
        found.append(
            Message("jwks_uri is plain http: a host that can change its traffic can sign in as anybody; use https")
        )
    if application.jwks_uri and not application.audience and not application.accepts_any_audience:
        found.append(
            Message("audience is not set: tokens with an aud are refused, and those of most providers have one")
        )
    if "Administrator" in (application.roles_map or {}).values() and not settings.tokens_may_administer:
        found.append(Message("Administrator in roles_map has no effect: TOKENS_MAY_ADMINISTER is false"))
    if application.origins and settings.gate_samesite != "None":
        found.append(
            Message(
                "GATE_SAMESITE is %(value)s: browsers send no gate cookie to a frame of another site; set it to None,"
                " over https, unless the pages of origins and this application have one parent domain",
                value=settings.gate_samesite,
            )
        )
    elif application.origins and settings.public_url.lower().startswith("http:"):
        found.append(
            Message("PUBLIC_URL is plain http: with GATE_SAMESITE None, browsers store the gate cookie over https only")
        )
    if application.report:
        found.append(
            Message(
                "report has %(fields)s: tokens that these rules refuse are accepted, and only reported; take a field"
                " out of report to enforce it",
                fields=", ".join(application.report),
            )
        )
    if any(map(is_plain_http, application.origins or ())):
        found.append(
            Message(
                "an origin is plain http: a host that can change its traffic can embed the pages, and to browsers it is"
                " another site than https; use https"
            )
        )
    return found


def errors_in(application: "Application") -> dict[str, list[str]]:
    """Return, by field, sentences about fields that do not fit together."""
    wanted = application.sync or ()
    checks = (
        (
            bool(application.jwks_uri) and is_shared(application.algorithm),
            "jwks_uri",
            Message("needs an algorithm with public keys, such as RS256 or ES256"),
        ),
        (
            bool(application.jwks_uri) and not application.issuer,
            "issuer",
            Message("is missing: with jwks_uri, it says whose tokens are accepted"),
        ),
        (
            application.max_lifetime is not None
            and application.expire > application.max_lifetime
            and not application.reports("max_lifetime"),
            "expire",
            Message("must be at most max_lifetime, which is %(number)s", number=application.max_lifetime),
        ),
        ("roles" in wanted and not application.roles_claim, "roles_claim", Message("is missing: sync has roles")),
        ("roles" in wanted and not application.roles_map, "roles_map", Message("is missing: sync has roles")),
        *(
            (
                field in wanted and not getattr(application.fieldmap, field),
                f"fieldmap.{field}",
                Message("cannot be empty: sync has %(field)s", field=field),
            )
            for field in ("name", "email")
        ),
    )
    return {field: [about(field, predicate)] for is_wrong, field, predicate in checks if is_wrong}


def _texts(value: object) -> tuple[str, ...]:
    """Return a list of texts; a single text stands for a list of one."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not 1 <= len(found) <= MOST:
        raise RuleError("must be a list of 1 to %(number)s texts", number=MOST)
    return tuple(dict.fromkeys(_text(one) for one in found))


def _text(value: object) -> str:
    text = rules.text(value)
    if not text:
        raise RuleError("can not be empty")
    if len(text) > LONGEST:
        raise RuleError("must be at most %(number)s characters long", number=LONGEST)
    if names.has_control_characters(text):
        raise RuleError("cannot contain control or format characters")
    return text


def _claim_values(value: object) -> Sequence[Any]:
    found = value if isinstance(value, list) else [value]
    if not 1 <= len(found) <= MOST:
        raise RuleError("must have 1 to %(number)s values for each claim", number=MOST)
    for one in found:
        if isinstance(one, str):
            _text(one)
        elif type(one) not in (bool, int, float):
            raise RuleError("must have texts, numbers, true or false as values")
    # TOML has numbers with which the record could not be read again, such as nan.
    strict_json.loads(strict_json.compact(found))
    return tuple(found)
