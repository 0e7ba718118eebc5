"""What a request needs, in one typed bundle, made once per application and reached by ``services()``."""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from flask import Flask, current_app

from datafor_token.applications.registry import Registry
from datafor_token.audit.log import Audit
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import StartError, StoreUnavailable
from datafor_token.gate.gate import Gate
from datafor_token.metrics.counters import Metrics
from datafor_token.operations.readiness import Readiness
from datafor_token.settings import Settings, load_settings, table
from datafor_token.store.base import Store
from datafor_token.tokens.issuer import Issuer
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.signin import SignIn
from datafor_token.users.accounts import Accounts
from datafor_token.users.sessions import Sessions
from datafor_token.users.users import Users
from datafor_token.validation import logs

log = logging.getLogger(__name__)

_NAME, _LATER = "datafor_token", "datafor_token_later"
_AHEAD = 1.0  # seconds


class Beginning(Enum):
    """Who opens the store, and so what may be created."""

    SERVER = "the server: its first start creates everything"
    COMMAND = "a command: creates nothing, needs a store"
    RESTORE = "the restore of a backup that was read: creates the folders of the store"


@dataclass(frozen=True)
class Services:
    """The bundle. ``clock`` answers seconds since 1970; tests give one that they can advance."""

    settings: Settings
    clock: Callable[[], float]
    metrics: Metrics
    store: Store
    registry: Registry
    issuer: Issuer
    keyring: Keyring
    audit: Audit
    readiness: Readiness
    users: Users
    accounts: Accounts
    revocations: Revocations
    sessions: Sessions
    signin: SignIn
    gate: Gate


def attach(app: Flask, bundle: Services) -> None:
    """Give an application its services."""
    app.extensions[_NAME] = bundle


class _Later:
    """Services of a command, opened when it asks for them; many need none."""

    def __init__(self, load: Callable[[], Settings], assemble: Callable[[Settings, Beginning], Services]) -> None:
        self.settings = functools.cache(load)
        self.assemble = assemble


def attach_later(app: Flask, load: Callable[[], Settings], assemble: Callable[[Settings, Beginning], Services]) -> None:
    """Give an application what loads its settings, and what makes services of them."""
    app.extensions[_LATER] = _Later(load, assemble)


def open_services(beginning: Beginning) -> Services:
    """Open the services of a command; those that are open stay."""
    extensions = _app().extensions
    if _NAME not in extensions:
        later: _Later = extensions[_LATER]
        extensions[_NAME] = later.assemble(later.settings(), beginning)
    bundle: Services = extensions[_NAME]
    return bundle


def current_settings() -> Settings:
    """The settings, also where no store is open."""
    extensions = _app().extensions
    if _NAME in extensions:
        bundle: Services = extensions[_NAME]
        return bundle.settings
    later: _Later = extensions[_LATER]
    return later.settings()


def read_ahead(app: object) -> None:
    """Read the applications in a thread, a moment from now: of very many, the first token would wait for that.

    Not at once: whoever has just started the service tries it, and has a password to be hashed.
    """
    bundle: Services | None = getattr(app, "extensions", {}).get(_NAME)
    if bundle is None:
        # Somebody runs another application under these settings of gunicorn.
        return

    def read() -> None:
        # In an outage, whoever needs them reads them, and is told.
        with contextlib.suppress(StoreUnavailable):
            bundle.registry.index()

    ahead = threading.Timer(_AHEAD, read)
    ahead.daemon = True
    ahead.start()


def report_changed_settings(app: object, environ: Mapping[str, str]) -> None:
    """Log which settings differ from the ones in use: workers that a reload starts have the settings of the start."""
    bundle: Services | None = getattr(app, "extensions", {}).get(_NAME)
    if bundle is None:
        return
    try:
        wanted = load_settings(None, environ)
    except StartError as error:
        log.warning(logs.event(event="settings changed, and a restart would fail", fault=str(error)))
        return
    names = [one.name for one in table() if getattr(wanted, one.name) != getattr(bundle.settings, one.name)]
    if names:
        # Without the values: some are secrets.
        names_shown = ",".join(name.upper() for name in names)
        log.warning(
            logs.event(event="settings changed; they are used after a restart, not a reload", names=names_shown)
        )


def services() -> Services:
    """Return the services of the application that serves the current request, or whose command runs."""
    bundle: Services = _app().extensions[_NAME]
    return bundle


def _app() -> Flask:
    # The application itself, not Flask's proxy, for the reason given in ``current``.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return app
