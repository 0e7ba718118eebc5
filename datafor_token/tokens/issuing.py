"""Issuing, with what belongs to it: whoever asks for a token, by a call or a command, it is recorded."""

from collections.abc import Callable, Mapping
from typing import Any

from datafor_token.applications.record import Application
from datafor_token.applications.registry import Registry
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.tokens import issuer
from datafor_token.tokens.identifiers import Identifiers, short


class Issuing:
    """Issues tokens of the registered applications. ``clock`` answers seconds since 1970."""

    def __init__(self, registry: Registry, audit: Audit, clock: Callable[[], float], identifiers: Identifiers) -> None:
        self._registry = registry
        self._identifiers = identifiers
        self._audit = audit
        self._clock = clock

    def issue(self, kind: Kind, application: Application, private_key: str | None, claims: Mapping[str, Any]) -> str:
        """A token with these claims (see ``issuer.claims_for``); raises what ``issuer.issue`` raises."""
        issued = issuer.issue(application, private_key, claims, self._clock())
        if issued.with_previous:
            self._registry.note_previous_use(application)
        username = claims[application.fieldmap.username]
        token = short(self._identifiers.present(issued.digest))
        self._audit.note(Event(kind=kind, application=application.name, user=username, token=token))
        return issued.token
