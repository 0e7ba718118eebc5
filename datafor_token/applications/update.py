"""Merge of an update, or of a rotation, into the stored application."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from datafor_token.applications import policy
from datafor_token.applications.record import FIELDS, MASK, SECRETS, Application, errors_in_new_values
from datafor_token.applications.signing import Previous
from datafor_token.crypto import vetting
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.damaged_secrets import repaired
from datafor_token.crypto.keys import is_same, new_secret, verification_key
from datafor_token.errors import Conflict, InvalidInput, RotationUndone, RuleError
from datafor_token.validation import times


def rotated(stored: Application, secret: str | None, jwks_uri: str | None, now: int, grace: int) -> Application:
    """Return the application with a new secret or, if ``jwks_uri`` is given, with the keys of a provider.

    Without either, a shared secret is generated. The stored secret is accepted for ``grace``; the keys of a stored
    provider are not. ``now`` and ``grace`` are in milliseconds. Raises ``InvalidInput``.
    """
    if jwks_uri is not None:
        if jwks_uri == stored.jwks_uri:
            raise InvalidInput.of("jwks_uri", "is the present one already")
        secret = ""
    elif secret is not None:
        _check_new_secret(stored, secret)
    elif is_shared(stored.algorithm):
        secret = new_secret(stored.algorithm)
    else:
        raise InvalidInput.of(
            "secret",
            "is missing: the service makes none for %(algorithm)s; give its public key, or jwks_uri",
            algorithm=stored.algorithm,
        )
    # Stored without a grace period too, so that an update with it is recognised; 0 is past on every clock.
    previous = None if stored.jwks_uri else Previous(stored.secret, now + grace if grace else 0, rotated=now)
    application = dataclasses.replace(
        stored, secret=secret, jwks_uri=jwks_uri, previous=previous, last_modified_date=now
    )
    _check_policy(application, stored)
    return application


def _check_new_secret(stored: Application, secret: str) -> None:
    """Raise ``InvalidInput`` if the application cannot be rotated to the secret."""
    try:
        if secret == MASK:
            raise RuleError("cannot be %(mask)s", mask=MASK)
        verification_key(stored.algorithm, secret)
        if is_same(stored.algorithm, secret, stored.secret):
            raise RuleError("is the present one already")
        vetting.check(stored.algorithm, secret)
    except RuleError as error:
        raise InvalidInput.of("secret", error.message) from None


def without_grace(stored: Application, now: int) -> Application:
    """Return the application whose previous secret is no longer accepted; ``now`` is in milliseconds since 1970."""
    previous = None if stored.previous is None else dataclasses.replace(stored.previous, until=0)
    return dataclasses.replace(stored, previous=previous, last_modified_date=now)


def merge(stored: Application | None, wanted: Mapping[str, Any], creator: str, now: int) -> Application:
    """Return the application to store.

    ``wanted`` is a request checked by ``ApplicationSchema``; ``creator`` is the user who creates it. ``now`` is in
    milliseconds since 1970. Raises ``Conflict``, ``RotationUndone`` and ``InvalidInput``.
    """
    values = dict(wanted)
    _choose_keys(values, stored)
    if values.get("audience") == () and not (stored and stored.is_older_than_audience):
        # Without an audience, nothing has to be cleared.
        values["audience"] = None
    if stored is None:
        if values["initpwd"] == MASK:
            raise InvalidInput.of("initpwd", "cannot be %(mask)s: there is no stored one to keep", mask=MASK)
        _check_new_values(values, None)
        application = Application(**values, created_date=now, last_modified_date=now, creator_id=creator)
        _check_policy(application, None)
        return application
    if stored.name != values["name"]:
        raise Conflict("name already exists as '%(name)s'", name=stored.name)
    if values["initpwd"] == MASK:
        values["initpwd"] = stored.initpwd
    _check_new_values(values, stored)
    values["fieldmap"] = dataclasses.replace(values["fieldmap"], extra=stored.fieldmap.extra)
    same = is_same(values["algorithm"], values["secret"], stored.secret)
    if not same and values["secret"]:
        _check_not_previous(stored, values["algorithm"], values["secret"])
    if not same or values["algorithm"] != stored.algorithm:
        # An update replaces a secret at once; only a rotation has a grace period.
        values["previous"] = _without_grace(stored.previous, values["algorithm"])
    if stored.enable and not values["enable"]:
        # The sessions that its tokens opened end now, even if it is enabled again before they are used.
        values["disabled_date"] = now
    if values["expire"] < stored.expire:
        # A cut-off lasts until the tokens that were issued before it are over.
        values["last_expiry"] = max(stored.last_expiry, now + stored.expire * 1000)
    application = dataclasses.replace(stored, **values, last_modified_date=now)
    _check_policy(application, stored)
    return application


def changes(stored: Application | None, application: Application) -> dict[str, tuple[Any, Any]]:
    """Return, by field, the JSON values before and after a change, None for one that is not set; secrets are masked."""
    old = {} if stored is None else _attributes(stored)
    new = _attributes(application)
    return {
        name: (_displayed(name, old.get(name)), _displayed(name, value))
        for name, value in new.items()
        if value != old.get(name)
    }


def _attributes(application: Application) -> dict[str, Any]:
    # A member of the field map that this version does not know can hold anything, and no change changes it.
    values = {name: getattr(application, name) for name in FIELDS}
    return {**values, "fieldmap": dataclasses.replace(application.fieldmap, extra={})}


def _displayed(name: str, value: Any) -> Any:
    if name in SECRETS:
        return MASK if value else ""
    return None if value is None else FIELDS[name].to_json(value)


def _choose_keys(values: dict[str, Any], stored: Application | None) -> None:
    """Set ``secret`` and ``jwks_uri``, of which one replaces the other; keep the stored ones if neither is given."""
    secret = values.get("secret", MASK)
    if secret != MASK:
        values["jwks_uri"] = None
    elif values.get("jwks_uri"):
        values["secret"] = ""
    elif stored is None:
        raise InvalidInput.of("secret", "is missing: there is no stored one to keep")
    elif stored.jwks_uri and "jwks_uri" not in values:
        values["secret"] = ""
    elif stored.jwks_uri:
        raise InvalidInput.of("secret", "is missing: without jwks_uri, the application has no keys")
    else:
        values["secret"] = _stored_secret(stored, values["algorithm"])


def _check_policy(application: Application, stored: Application | None) -> None:
    """Refuse fields that do not fit together, unless they are stored like that."""
    old = {} if stored is None else policy.errors_in(stored)
    errors = {field: sentences for field, sentences in policy.errors_in(application).items() if field not in old}
    if errors:
        raise InvalidInput(errors)


def _check_not_previous(stored: Application, algorithm: str, secret: str) -> None:
    """Refuse the secret before the last rotation: a forgotten script or file would undo the rotation unnoticed."""
    previous = stored.previous
    # Damaged spellings too: a file with a line break at its end would also undo the rotation.
    spellings = [secret, *(text for _, text in repaired(secret))] if is_shared(algorithm) else [secret]
    if previous is None or not any(is_same(algorithm, one, previous.secret) for one in spellings):
        return
    if previous.rotated is None:
        raise RotationUndone("this is the secret before the last rotation; leave `secret` out to keep the new one")
    raise RotationUndone(
        "this is the secret before the rotation of %(time)s; leave `secret` out to keep the new one",
        time=times.show(previous.rotated / 1000),
    )


def _without_grace(previous: Previous | None, algorithm: str) -> Previous | None:
    """Return the previous secret, no longer accepted, or None if it does not fit the algorithm."""
    if previous is None:
        return None
    try:
        verification_key(algorithm, previous.secret)
    except RuleError:
        return None
    return dataclasses.replace(previous, until=0)


def _check_new_values(values: Mapping[str, Any], stored: Application | None) -> None:
    errors = errors_in_new_values(values, stored)
    if errors:
        raise InvalidInput(errors)


def _stored_secret(stored: Application, algorithm: str) -> str:
    """Return the stored secret; raise ``InvalidInput`` if it does not fit the wanted algorithm."""
    if is_shared(algorithm) and not is_shared(stored.algorithm):
        raise InvalidInput.of(
            "secret", "is missing: the stored one is public, no secret for %(algorithm)s", algorithm=algorithm
        )
    try:
        verification_key(algorithm, stored.secret)
    except RuleError as error:
        raise InvalidInput.of("secret", "that is stored %(predicate)s", predicate=error.message) from None
    return stored.secret
