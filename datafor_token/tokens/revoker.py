"""Revocation without the token itself: by its identifier or ``jti``, or of all tokens up to a time.

Unknown names and identifiers are stored all the same, with a warning: they may be those of another node or issuer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.registry import Registry
from datafor_token.audit.log import Audit
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.keys import Key
from datafor_token.errors import Message, RecordDamaged
from datafor_token.tokens.cut_offs import CutOff, CutOffs
from datafor_token.tokens.revocations import Revocations
from datafor_token.users.users import Users
from datafor_token.validation import times
from datafor_token.validation.names import fold


class _Named(NamedTuple):
    """A name as its record spells it, and a warning if there is no record."""

    name: str
    warnings: Sequence[Message]


class Revoker:
    """Revokes tokens. As soon as a method returns, no process accepts them. Raises ``StoreUnavailable``."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        registry: Registry,
        users: Users,
        revocations: Revocations,
        cut_offs: CutOffs,
        audit: Audit,
        clock: Callable[[], float],
    ) -> None:
        """``clock`` returns seconds since 1970."""
        self._registry = registry
        self._users = users
        self._revocations = revocations
        self._cut_offs = cut_offs
        self._audit = audit
        self._clock = clock

    def by_identifier(self, identifier: str) -> Sequence[Message]:
        """Revoke the token or one-time link that the audit log shows as ``identifier``; return warnings."""
        event = self._audit.about_token(identifier)
        if event is None:
            self._revocations.add_identifier(identifier)
            return [Message("no line of the audit log of this node has this id: it is revoked all the same")]
        target, expires = event["target"], event.get("expires")
        application, user = target.get("application"), target.get("user")
        self._revocations.add_identifier(
            identifier,
            expires if isinstance(expires, int) else None,
            application if isinstance(application, str) else None,
            user if isinstance(user, str) else None,
        )
        return []

    def listed(self, token: Mapping[str, Any]) -> None:
        """Revoke a token that ``IssuedTokens.page`` returned."""
        self._revocations.add_identifier(token["id"], token["expires_at"] / 1000, token["application"], token["user"])

    def by_jti(self, application: str, jti: str) -> Sequence[Message]:
        """Revoke the tokens of an application with this ``jti`` claim; return warnings."""
        named = self._application(application)
        self._revocations.add_jti(named.name, jti)
        return [*named.warnings, *self._same_secret(named.name)]

    def up_to(self, before: int | None, user: str | None, application: str | None) -> tuple[CutOff, Sequence[Message]]:
        """Set a cut-off (see ``CutOffs.set``); return it as it is stored, and warnings."""
        of_user = self._user(user) if user else _Named("", ())
        of_application = self._application(application) if application else _Named("", ())
        found = self._cut_offs.set(of_user.name, of_application.name, before)
        warnings = [*of_user.warnings, *of_application.warnings, *self._same_secret(of_application.name)]
        if before is not None and found.before > before:
            warnings.append(
                Message("an earlier call set a later time, which remains: %(time)s", time=times.show(found.second))
            )
        return found, warnings

    def _user(self, name: str) -> _Named:
        try:
            user = self._users.get(name)
        except RecordDamaged:
            return _Named(name, ())
        if user is None:
            return _Named(name, [Message("no user is called %(name)s", name=name)])
        return _Named(user.name, ())

    def _application(self, name: str) -> _Named:
        listing = self._registry.index()
        known = [one.name for one in listing.entries] + list(listing.damaged)
        found = next((one for one in known if fold(one) == fold(name)), None)
        if found is None:
            return _Named(name, [Message("no application is called %(name)s", name=name)])
        return _Named(found, ())

    def _same_secret(self, application: str) -> Sequence[Message]:
        """Return a warning if other applications may accept the tokens that are revoked for this one alone."""
        entries = [one for one in self._registry.index().entries if is_shared(one.algorithm)]
        own = {key for one in entries if fold(one.name) == fold(application) for key in self._keys(one)}
        others = [one for one in entries if one.enable and fold(one.name) != fold(application)]
        same = ", ".join(one.name for one in others if not own.isdisjoint(self._keys(one)))
        if not same:
            return []
        return [
            Message("%(names)s, with the same secret, may still accept the tokens: revoke them there too", names=same)
        ]

    def _keys(self, entry: IndexEntry) -> set[Key]:
        """Return the keys that the application accepts."""
        keys = set(entry.key.all())
        return keys.union(entry.previous.all()) if entry.previous and entry.in_grace(self._clock()) else keys
