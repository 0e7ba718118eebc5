"""Flask applications that later tests use again, each time with services of their own.

Creating one takes 40 ms, nearly all of it in Werkzeug's rules; opening its services takes 5 ms.
"""

import dataclasses
from collections import defaultdict
from pathlib import Path

from flask import Flask

from datafor_token import factory
from datafor_token.settings import Settings
from datafor_token.web.services import services_of

_Key = tuple[Settings, bool]
_create = factory.without_services


class _Lent:
    """An application, and what it had before a test used it."""

    def __init__(self, key: _Key) -> None:
        self.key, self.app = key, _create(key[0], scoped=key[1])
        self._extensions, self._config = dict(self.app.extensions), dict(self.app.config)

    def restore(self) -> None:
        services = services_of(self.app)
        if services is not None:
            # Otherwise its thread runs during all later tests, each of which would wait for it if a database is used.
            services.key_sets.stop()
        for members, before in ((self.app.extensions, self._extensions), (self.app.config, self._config)):
            members.clear()
            members.update(before)


_free: dict[_Key, list[_Lent]] = defaultdict(list)
_lent: list[_Lent] = []


def without_services(settings: Settings, *, scoped: bool) -> Flask:
    """Return what the function of ``factory`` returns, until the end of the test."""
    # Whatever it reads of the settings. Folders and store, which differ in each test, are the business of services.
    key = (dataclasses.replace(settings, config_dir=Path(), data_dir=Path(), store="file"), scoped)
    free = _free[key]
    lent = free.pop() if free else _Lent(key)
    _lent.append(lent)
    return lent.app


def end_test() -> None:
    """Let the next test use the applications."""
    while _lent:
        ended = _lent.pop()
        ended.restore()
        _free[ended.key].append(ended)
