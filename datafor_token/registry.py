"""The applications in the store: save one as a request wants it, find one by name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from datafor_token.applications import COLLECTION, MASK, Application
from datafor_token.errors import Conflict, InvalidInput, NotFound, RuleError
from datafor_token.keys import verification_key, weakness
from datafor_token.store.base import Document, Store


class Registry:
    """The applications that the service knows.

    ``clock`` answers seconds since 1970. Every method raises ``StoreUnavailable`` in an outage, and
    ``RecordDamaged`` where a record is no application.
    """

    def __init__(self, store: Store, clock: Callable[[], float], *, require_strong_secrets: bool) -> None:
        self._store = store
        self._clock = clock
        self._require_strong_secrets = require_strong_secrets

    def get(self, name: str) -> Application:
        """The application of that name, in whatever case; raises ``NotFound``."""
        document = self._store.get(COLLECTION, name)
        if document is None:
            raise NotFound
        return Application.from_document(document)

    def the_only_one(self) -> Application:
        """The application where there is just one; with several ``InvalidInput``, with none ``NotFound``."""
        names = self._store.names(COLLECTION)
        if len(names) > 1:
            raise InvalidInput.of("name", "can not be empty")
        return self.get(names[0] if names else "")

    def save(self, wanted: Mapping[str, Any], creator: str) -> list[str]:
        """Create the application, or replace the one of that name; answer the warnings about it.

        ``wanted`` is what ``schemas.UpdateSchema`` makes of a request. A secret that is left out or
        masked, and a masked initial password, keep what is stored. Raises ``Conflict`` where a name
        differs by case only, and ``InvalidInput`` for what only the stored record can tell.
        """
        warnings: list[str] = []

        def change(document: Document | None) -> Document:
            stored = None if document is None else Application.from_document(document)
            application = _merged(stored, wanted, creator, int(self._clock() * 1000))
            weak = weakness(application.algorithm, application.secret)
            if weak and self._require_strong_secrets:
                raise InvalidInput({"secret": [weak]})
            warnings.extend([weak] if weak else [])
            return application.to_document()

        self._store.update(COLLECTION, wanted["name"], change)
        return warnings


def _merged(stored: Application | None, wanted: Mapping[str, Any], creator: str, now: int) -> Application:
    """The application to store; ``now`` is in milliseconds since 1970."""
    values = dict(wanted)
    if stored is None:
        if values.get("secret", MASK) == MASK:
            raise InvalidInput.of("secret", "is missing: there is no stored one to keep")
        if values["initpwd"] == MASK:
            raise InvalidInput.of("initpwd", f"can not be {MASK}: there is no stored one to keep")
        return Application(**values, created_date=now, last_modified_date=now, creator_id=creator)
    if stored.name != values["name"]:
        raise Conflict(f"name already exists as '{stored.name}'")
    if values.get("secret", MASK) == MASK:
        values["secret"] = stored.secret
        try:
            verification_key(values["algorithm"], stored.secret)
        except RuleError as error:
            raise InvalidInput.of("secret", f"that is stored {error}") from None
    if values["initpwd"] == MASK:
        values["initpwd"] = stored.initpwd
    return dataclasses.replace(stored, **values, last_modified_date=now)
