"""Hooks for gunicorn's configuration that use the application: in a new worker, and at a reload."""

import contextlib
import logging
import threading
from collections.abc import Mapping

from datafor_token.errors import StartError, StoreUnavailable
from datafor_token.settings import load_settings, table
from datafor_token.validation import logs
from datafor_token.web.services import services_of

log = logging.getLogger(__name__)
_DELAY = 1.0  # seconds


def read_ahead(app: object) -> None:
    """Read all applications of a new worker in a thread, so that the first token does not wait for it.

    The thread starts after a delay: the first request after a start often needs a password hash.
    """
    services = services_of(app)
    if services is None:
        return

    def read() -> None:
        # In an outage, the request that needs them tries again, and fails with a response.
        with contextlib.suppress(StoreUnavailable):
            services.registry.index()

    timer = threading.Timer(_DELAY, read)
    timer.daemon = True
    timer.start()


def report_changed_settings(app: object, environ: Mapping[str, str]) -> None:
    """Log the names of settings that changed since the start: they take effect after a restart, not a reload."""
    services = services_of(app)
    if services is None:
        return
    try:
        wanted = load_settings(None, environ)
    except StartError as error:
        log.warning(logs.event(event="settings changed, and a restart would fail", fault=str(error)))
        return
    # Without the values: some are secrets.
    names = [one.name.upper() for one in table() if getattr(wanted, one.name) != getattr(services.settings, one.name)]
    if names:
        log.warning(
            logs.event(event="settings changed; they are used after a restart, not a reload", names=",".join(names))
        )
