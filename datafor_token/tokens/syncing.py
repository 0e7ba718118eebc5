"""Users that follow their tokens: name, email address, roles and type as the claims of a token have them.

The field ``sync`` of an application names the members that follow. All functions are pure: ``TokenUsers`` stores.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.applications.record import Application
from datafor_token.errors import Message
from datafor_token.tokens.verifier import Step, passed
from datafor_token.users.users import ADMINISTRATOR, User
from datafor_token.validation.claims import MISSING, find, show
from datafor_token.validation.names import USER_TYPES, display_text, user_type_and_roles

Claims = Mapping[str, Any]
_MEMBERS = {"full_name": "name", "email": "email"}  # members of a user, by what sync and fieldmap call them


def follow(application: Application, user: User, claims: Claims, *, may_administer: bool) -> User | None:
    """Return the user as the token of these claims has it, or ``None`` if the token changes nothing.

    A claim for name or email address that is missing, empty or not text leaves the stored one. Of roles and types,
    only those that ``roles_map`` gives change: a role is removed if no value of the roles claim stands for it, a type
    stays. An Administrator stays one. ``may_administer``: a token of the application may make an Administrator.
    """
    if not application.sync or not user.enabled or _why_not(application, user, claims) is not None:
        return None
    changes: dict[str, Any] = {}
    for member, field in _MEMBERS.items():
        text = _text(claims, getattr(application.fieldmap, field)) if field in application.sync else ""
        changes |= {member: text} if text else {}
    if _has_roles(application):
        kind, changes["roles"] = _type_and_roles(application, user.roles, claims, may_administer=may_administer)
        changes["type"] = user.type if kind is None or user.type == ADMINISTRATOR else kind
    followed = dataclasses.replace(user, **changes)
    # Not written for the time alone: most tokens change nothing.
    return None if followed == user else dataclasses.replace(followed, synced=issued_at(claims))


def initial_type_and_roles(
    application: Application, claims: Claims, *, may_administer: bool
) -> tuple[str, tuple[str, ...]]:
    """Return type and roles of a user whom the token of these claims creates: ``initroles``, changed by the map."""
    initial, roles = user_type_and_roles(application.initroles)
    if not _has_roles(application):
        return initial, roles
    kind, roles = _type_and_roles(application, roles, claims, may_administer=may_administer)
    return kind or initial, roles


def issued_at(claims: Claims) -> float | None:
    """Return the time at which a token was issued, in seconds since 1970, or ``None`` if it does not say."""
    value = claims.get("iat")
    return value if type(value) in (int, float) else None


def steps(application: Application, user: User | None, claims: Claims, against: Message | None) -> list[Step]:
    """Return the steps that state what the token would change, for ``explain``.

    ``user`` is the stored one, if any. ``against`` says why a token of the application may make no Administrator.
    """
    if application.sync is None:
        return []
    sentences = [] if user is None else [_outcome(application, user, claims, may_administer=against is None)]
    if _has_roles(application):
        claim = application.roles_claim or ""
        value = find(claims, claim)
        if value is MISSING:
            sentences.append(Message("the token has no %(claim)s, so it gives no roles", claim=claim))
        elif not isinstance(value, str | list):
            sentences.append(
                Message(
                    "%(claim)s is %(value)s, neither a list of texts nor a text, so it gives no roles",
                    claim=claim,
                    value=show(value),
                )
            )
        if against is not None and ADMINISTRATOR in _mapped(application, claims):
            sentences.append(Message("Administrator in %(claim)s has no effect: %(cause)s", claim=claim, cause=against))
    return [_step(sentence) for sentence in sentences]


def _step(sentence: Message) -> Step:
    return passed("sync", lambda: sentence)


def _why_not(application: Application, user: User, claims: Claims) -> Message | None:
    """Return why the token may not change the user, or ``None``."""
    if not user.belongs_to(application.name):
        return Message(
            "nothing is synced: the user %(user)s does not belong to %(name)s", user=user.name, name=application.name
        )
    issued = issued_at(claims)
    if issued is None:
        return Message("nothing is synced: the token has no iat")
    if user.synced is not None and issued <= user.synced:
        return Message(
            "nothing is synced: iat is %(issued)s, not later than %(synced)s, that of the last sync",
            issued=f"{issued:.15g}",
            synced=f"{user.synced:.15g}",
        )
    return None


def _outcome(application: Application, user: User, claims: Claims, *, may_administer: bool) -> Message:
    reason = _why_not(application, user, claims)
    if reason is not None:
        return reason
    followed = follow(application, user, claims, may_administer=may_administer)
    if followed is None:
        return Message("nothing is synced: the user %(name)s is as the token says", name=user.name)
    before, after = user.to_response(), followed.to_response()
    changes = Message("the sign-in changes the user %(name)s", name=user.name)
    for member in (name for name in before if before[name] != after[name]):
        changes = Message(
            "%(first)s; %(member)s from %(before)s to %(after)s",
            first=changes,
            member=member,
            before=show(before[member]),
            after=show(after[member]),
        )
    return changes


def _has_roles(application: Application) -> bool:
    return "roles" in (application.sync or ())


def _text(claims: Claims, claim: str) -> str:
    value = find(claims, claim)
    return display_text(value) if isinstance(value, str) else ""


def _type_and_roles(
    application: Application, roles: Sequence[str], claims: Claims, *, may_administer: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Return the highest type that the token gives, if any, and ``roles`` with those that it gives and takes."""
    given, governed = _mapped(application, claims), set((application.roles_map or {}).values())
    kinds = [kind for kind in USER_TYPES if kind in given and (may_administer or kind != ADMINISTRATOR)]
    kept = [role for role in roles if role in given or role not in governed]
    new = [role for role in given if role not in USER_TYPES and role not in kept]
    return (kinds[0] if kinds else None), (*kept, *new)


def _mapped(application: Application, claims: Claims) -> list[str]:
    """Return the roles and types that the values of the roles claim stand for, each once."""
    value = find(claims, application.roles_claim or "")
    values: list[Any] = value if isinstance(value, list) else []
    if isinstance(value, str):
        # Also whole: the distinguished name of a group has commas.
        values = [value, *(part.strip() for part in value.split(","))]
    given = application.roles_map or {}
    return list(dict.fromkeys(given[one] for one in values if isinstance(one, str) and one in given))
