"""Events of the audit log about a changed application: its fields with their values, never a secret or a key."""

import dataclasses
from typing import Any

from datafor_token.applications.record import DEFAULTS, FIELDS, SECRETS, Application
from datafor_token.audit.changes import recorded
from datafor_token.audit.events import Event, Kind
from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import RuleError
from datafor_token.validation import urls


def event_of_change(stored: Application | None, application: Application, kind: Kind | None = None) -> Event:
    """Return the event for a change of the stored application, or for a new one.

    That of a new one has the values that differ from the defaults. ``kind`` is left out if it is neither "added" nor
    "changed".
    """
    new = _values(application)
    if stored is None:
        set_here = [name for name, value in new.items() if value != DEFAULTS.get(name)]
        return Event(kind or Kind.APPLICATION_ADDED, application.name, after=recorded(set_here, new))
    # Also those whose shown values are equal, such as a secret.
    fields = [name for name in FIELDS if getattr(stored, name) != getattr(application, name)]
    after = recorded(fields, new)
    previous = application.previous
    if previous is not None and previous.until and previous != stored.previous:
        after = {**(after or {}), "previous": {"until": previous.until}}
    before = recorded(fields, _values(stored))
    if not fields and stored.previous and previous and previous.until < stored.previous.until:
        # Its grace period was ended.
        fields, before = ["previous"], {"previous": {"until": stored.previous.until}}
    return Event(kind or Kind.APPLICATION_CHANGED, application.name, fields=fields, before=before, after=after)


def _values(application: Application) -> dict[str, Any]:
    """Return the JSON values of the fields for the audit log, without those that are not set or are secret."""
    values = {name: getattr(application, name) for name in FIELDS if name not in ("name", *SECRETS)}
    # A field of a later version can hold anything.
    values["fieldmap"] = dataclasses.replace(application.fieldmap, extra={})
    shown = {name: FIELDS[name].to_json(value) for name, value in values.items() if value is not None}
    if application.jwks_uri:
        shown["jwks_uri"] = _without_query(application.jwks_uri)
    elif not is_shared(application.algorithm):
        # Of public keys, their names: each is that of a JWK or its thumbprint.
        shown["secret"] = {"kids": list(_kids(application))}
    return shown


def _kids(application: Application) -> list[str]:
    kids = getattr(application.key, "kids", None)
    return list(kids) if kids is not None else [str(key.kid) for key in application.key.all()]


def _without_query(url: str) -> str:
    """Return the URL of a provider's keys without its query, which may have a secret."""
    try:
        return str(urls.parse(url)) + ("?..." if "?" in url else "")
    except RuleError:
        return ""
