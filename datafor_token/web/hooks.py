"""Hooks of a server: at its start, in a new worker, and at a reload."""

import contextlib
import functools
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping

from datafor_token import __version__
from datafor_token.errors import StartError, StoreNotReady, StoreUnavailable
from datafor_token.settings import table
from datafor_token.settings_sources import load_settings, wanted_log_format
from datafor_token.validation import logs
from datafor_token.web.services import services_of

log = logging.getLogger(__name__)
_DELAY = 1.0  # seconds


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Surround a part of a server's start: log the version before it, and the errors that stop it.

    They end the process, with the exit status of a command.
    """
    try:
        begin_log()
        yield
    except StartError as error:
        for fault in error.faults:
            log.error(logs.event("cannot start", fault=fault))  # noqa: TRY400 - a fault of the user, not of the code
        sys.exit(3 if isinstance(error, StoreNotReady) else 1)


@functools.cache
def begin_log() -> None:
    """Give all output of this process the format of the log, once, and log the version; raise ``StartError``."""
    logs.configure("INFO", wanted_log_format(os.environ))
    logs.capture_output()
    places = {}
    try:
        settings = load_settings(None, os.environ)
        logs.configure(settings.log_level, settings.log_format)
        # The kind of store only: the URL of a database can have a password.
        store = settings.store.partition(":")[0]
        places = {"config": str(settings.config_dir), "data": str(settings.data_dir), "store": store}
    finally:
        python = platform.python_version()
        logs.write(log, logging.INFO, logs.event("starting", version=__version__, python=python, **places))


def read_ahead(app: object) -> None:
    """Read all applications of a new worker in a thread, so that no token waits for it; then fetch keys, send events.

    The thread starts after a delay: the first request after a start often needs a password hash.
    """
    services = services_of(app)
    if services is None:
        return

    def read() -> None:
        # In an outage, the request that needs them tries again, and fails with a response.
        with contextlib.suppress(StoreUnavailable):
            services.registry.index()
        services.key_sets.start()
        services.sinks.start()
        services.retention.start()
        services.sign_in_retention.start()

    timer = threading.Timer(_DELAY, read)
    timer.name, timer.daemon = "read ahead", True
    timer.start()


def report_changed_settings(app: object, environ: Mapping[str, str]) -> None:
    """Log the names of settings that changed since the start: they take effect after a restart, not a reload."""
    services = services_of(app)
    if services is None:
        return
    try:
        wanted = load_settings(None, environ)
    except StartError as error:
        log.warning(logs.event("settings changed, and a restart would fail", fault="; ".join(error.faults)))
        return
    # Without the values: some are secrets.
    names = [one.name.upper() for one in table() if getattr(wanted, one.name) != getattr(services.settings, one.name)]
    if names:
        log.warning(logs.event("settings changed; they are used after a restart, not a reload", names=",".join(names)))


def begin_drain_at_stop(app: object) -> None:
    """Let SIGTERM stop this server ``DRAIN_SECONDS`` later, in which it drains; a second SIGTERM stops it at once.

    To be called in the master of gunicorn, when it handles signals. What ``datafor-token drain`` began before ends.
    """
    services = services_of(app)
    if services is None:
        return
    # On a read-only disk, the next command removes it.
    with contextlib.suppress(OSError):
        services.draining.end()
    seconds = services.settings.drain_seconds
    stop = signal.getsignal(signal.SIGTERM)
    if not seconds or not callable(stop):
        return

    def drain(_: int, __: object) -> None:
        # No logging in a handler: it could interrupt the logging of a line. The workers log it.
        signal.signal(signal.SIGTERM, stop)
        services.draining.begin_stop()
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.signal(signal.SIGALRM, lambda _, frame: stop(signal.SIGTERM, frame))
    signal.signal(signal.SIGTERM, drain)
