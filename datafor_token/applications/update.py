"""What is stored and what is wanted become one application."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from datafor_token.applications.record import MASK, RULES, Application, Previous, errors_in_new_values
from datafor_token.crypto import vetting
from datafor_token.crypto.damaged_secrets import repaired
from datafor_token.crypto.keys import is_same, is_shared, verification_key
from datafor_token.errors import Conflict, InvalidInput, RotationUndone, RuleError


def check_new_secret(stored: Application, secret: str) -> None:
    """Whether an application can be rotated to the secret; raises ``InvalidInput``."""
    try:
        if secret == MASK:
            raise RuleError("can not be %(mask)s", mask=MASK)
        verification_key(stored.algorithm, secret)
        if is_same(stored.algorithm, secret, stored.secret):
            raise RuleError("is the present one already")
        vetting.check(stored.algorithm, secret)
    except RuleError as error:
        raise InvalidInput.of("secret", error.message) from None


def merge(stored: Application | None, wanted: Mapping[str, Any], creator: str, now: int) -> Application:
    """The application to store; ``now`` is in milliseconds since 1970."""
    values = dict(wanted)
    if stored is None:
        if values.get("secret", MASK) == MASK:
            raise InvalidInput.of("secret", "is missing: there is no stored one to keep")
        if values["initpwd"] == MASK:
            raise InvalidInput.of("initpwd", "can not be %(mask)s: there is no stored one to keep", mask=MASK)
        _check_new_values(values, None)
        return Application(**values, created_date=now, last_modified_date=now, creator_id=creator)
    if stored.name != values["name"]:
        raise Conflict("name already exists as '%(name)s'", name=stored.name)
    if values.get("secret", MASK) == MASK:
        values["secret"] = _kept_secret(stored, values["algorithm"])
    if values["initpwd"] == MASK:
        values["initpwd"] = stored.initpwd
    _check_new_values(values, stored)
    values["fieldmap"] = dataclasses.replace(values["fieldmap"], extra=stored.fieldmap.extra)
    same = is_same(values["algorithm"], values["secret"], stored.secret)
    if not same:
        _check_not_previous(stored, values["algorithm"], values["secret"])
    if not same or values["algorithm"] != stored.algorithm:
        # Whoever changes a secret by hand means it at once; a gentle change is what rotate is for.
        values["previous"] = _ended(stored.previous, values["algorithm"])
    if stored.enable and not values["enable"]:
        # What its tokens opened ends with this, also where nobody asks before it is enabled again.
        values["disabled_date"] = now
    return dataclasses.replace(stored, **values, last_modified_date=now)


def _check_not_previous(stored: Application, algorithm: str, secret: str) -> None:
    """Refuse the secret before the last rotation: a forgotten script or file would undo the rotation unseen."""
    previous = stored.previous
    # Damaged on its way too: a file with a line break at its end undoes a rotation as well.
    spellings = [secret, *(text for _, text in repaired(secret))] if is_shared(algorithm) else [secret]
    if previous is None or not any(is_same(algorithm, one, previous.secret) for one in spellings):
        return
    which = "the last rotation" if previous.rotated is None else f"the rotation of {_time(previous.rotated)}"
    raise RotationUndone(
        "this is the secret before %(rotation)s; leave `secret` out to keep the new one", rotation=which
    )


def _ended(previous: Previous | None, algorithm: str) -> Previous | None:
    """The previous secret, accepted no longer; ``None`` where a record with the algorithm cannot have it."""
    if previous is None:
        return None
    try:
        verification_key(algorithm, previous.secret)
    except RuleError:
        return None
    return dataclasses.replace(previous, until=0)


def _time(milliseconds: int) -> str:
    try:
        return dt.datetime.fromtimestamp(milliseconds // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        # A record can be edited by hand.
        return f"{milliseconds} ms"


def _check_new_values(values: Mapping[str, Any], stored: Application | None) -> None:
    faults = errors_in_new_values(values, stored)
    if faults:
        raise InvalidInput(faults)


def changed_fields(before: Application, after: Application) -> list[str]:
    """The names of the fields that differ, as calls name them: never their values."""
    old, new = before.to_document(), after.to_document()
    return [name for name in RULES if old[name] != new[name]]


def _kept_secret(stored: Application, algorithm: str) -> str:
    """The stored secret, if it can be one for the algorithm that is wanted."""
    if is_shared(algorithm) and not is_shared(stored.algorithm):
        raise InvalidInput.of(
            "secret", "is missing: the stored one is public, no secret for %(algorithm)s", algorithm=algorithm
        )
    try:
        verification_key(algorithm, stored.secret)
    except RuleError as error:
        raise InvalidInput.of("secret", "that is stored %(detail)s", detail=error.message) from None
    return stored.secret
