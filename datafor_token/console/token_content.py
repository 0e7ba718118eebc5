"""Content of a token for a page: its header and claims with their meanings, whether or not anybody signed it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.applications.record import Application
from datafor_token.console.language import gettext
from datafor_token.printable import printable
from datafor_token.requests.revoke_schema import LATEST
from datafor_token.tokens import verifier
from datafor_token.validation import strict_json

_LONGEST = 2000  # characters of a value; a token has at most 8192
_MOST = 200  # members
_TIMES = ("exp", "nbf", "iat", "auth_time", "updated_at")


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of a token's header or payload, with its meaning; ``time`` is its time in ms since 1970, if any."""

    name: str
    value: str
    meaning: str
    time: int | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a token: its members, or the ``error`` for which it cannot be read."""

    members: Sequence[Member]
    error: str = ""
    omitted: int = 0


def content_of(text: str, application: Application | None) -> tuple[Part, Part] | None:
    """Return header and claims of a text of three parts, or None for any other text.

    ``application`` is the one whose field map gives claims their meaning.
    """
    if not verifier.is_compact(text):
        return None
    header, claims, _ = text.split(".")
    return header_of(header), _part("payload", claims, lambda name, value: _claim(name, value, application))


def header_of(text: str) -> Part:
    """Return the header of a token, also of an encrypted one."""
    return _part(
        "header", text, lambda name, value: Member(_short(name), _text(value), _meanings_of_header().get(name, ""))
    )


def _part(name: str, text: str, member: Any) -> Part:
    try:
        members: Mapping[str, Any] = verifier.json_part(name, text)
    except verifier.Refused as refused:
        return Part((), refused.step.detail)
    return Part([member(*one) for one in list(members.items())[:_MOST]], omitted=max(0, len(members) - _MOST))


def _text(value: Any) -> str:
    # Characters that nobody can see are often the very error.
    return _short(printable(value) if isinstance(value, str) else strict_json.readable(value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _claim(name: str, value: Any, application: Application | None) -> Member:
    time = None
    if name in _TIMES and type(value) in (int, float) and 0 <= value * 1000 <= LATEST:
        time = int(value * 1000)
    return Member(_short(printable(name)), _text(value), _meaning(name, value, application), time)


def _meaning(name: str, value: Any, application: Application | None) -> str:
    if application is not None:
        fieldmap = application.fieldmap
        if name == fieldmap.username:
            return gettext("The name of the user who is signed in.")
        if name == fieldmap.name:
            return gettext("The display name of the user.")
        if name == fieldmap.email:
            return gettext("The email address of the user.")
        if application.roles_claim == name:
            return gettext("The roles of the user.")
    if name in _TIMES and type(value) not in (int, float):
        return gettext("A time; it must be a JSON number of seconds since 1970.")
    return _meanings_of_claims().get(name, "")


def _meanings_of_header() -> dict[str, str]:
    return {
        "typ": gettext("The type: a JSON Web Token."),
        "alg": gettext("The signature algorithm; it must be the application's."),
        "kid": gettext("The identifier of the public key (its thumbprint, RFC 7638)."),
        "enc": gettext("The encryption algorithm: the content can be read only with the recipient's key."),
        "jku": gettext("A URL of keys. It is ignored: the application decides which keys are valid."),
        "jwk": gettext("A public key. It is ignored: the application decides which keys are valid."),
        "x5c": gettext("Certificates. They are ignored: the application decides which keys are valid."),
        "cty": gettext("The type of the content."),
        "zip": gettext("Compression of the content."),
        "crit": gettext("Extensions that must be understood."),
    }


def _meanings_of_claims() -> dict[str, str]:
    return {
        "iss": gettext("The issuer: who created the token."),
        "sub": gettext("The subject: whom the token is about."),
        "aud": gettext("The audience: for whom the token is meant."),
        "exp": gettext("The expiry time:"),
        "nbf": gettext("Not valid before:"),
        "iat": gettext("The time of issue:"),
        "jti": gettext("The identifier that the issuer gave to the token."),
        "auth_time": gettext("The time of the sign-in:"),
        "updated_at": gettext("The last change of the profile:"),
        "azp": gettext("The client that the token was issued to."),
        "client_id": gettext("The client that the token was issued to."),
        "scope": gettext("What the token permits at other services; it has no effect here."),
        "nonce": gettext("A random text of the sign-in at the identity provider."),
        "sid": gettext("The session at the identity provider."),
        "preferred_username": gettext("A user name, as identity providers send it."),
        "name": gettext("A display name, as identity providers send it."),
        "email": gettext("An email address, as identity providers send it."),
        "realm_access": gettext("Roles, as Keycloak sends them."),
        "resource_access": gettext("Roles in applications, as Keycloak sends them."),
        "groups": gettext("Groups, as identity providers send them."),
        "roles": gettext("Roles, as identity providers send them."),
    }
