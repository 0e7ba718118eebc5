"""Services of the application, built once and used by all requests and commands through ``services()``."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, current_app

from datafor_token.applications.registry import Registry
from datafor_token.audit.log import Audit
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import StoreUnavailable
from datafor_token.gate.gate import Gate
from datafor_token.metrics.counters import Metrics
from datafor_token.operations.installation import Opened, Opener
from datafor_token.operations.readiness import Readiness
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.store.files.store import FileStore
from datafor_token.tokens.identifiers import Identifiers
from datafor_token.tokens.issuer import Issuer
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.signin import SignIn
from datafor_token.users.accounts import Accounts
from datafor_token.users.sessions import Sessions
from datafor_token.users.users import Users
from datafor_token.validation import logs

log = logging.getLogger(__name__)
# Keys in the ``extensions`` of a Flask application.
_SERVICES, _UNOPENED = "datafor_token", "datafor_token_unopened"


@dataclass(frozen=True)
class Services:
    """All services. ``clock`` returns seconds since 1970; tests use one that they can advance."""

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

    def sweep(self) -> None:
        """Delete expired records, and temporary files of killed writers."""
        try:
            if isinstance(self.store, FileStore):
                self.store.sweep()
            for owner in (self.revocations, self.sessions, self.gate):
                owner.sweep()
        except StoreUnavailable as error:
            # With a read-only disk, the service still verifies tokens.
            log.warning(logs.event(event="sweep failed", reason=error.reason))


def build_services(settings: Settings, clock: Callable[[], float], metrics: Metrics, opened: Opened) -> Services:
    """Build the services of an open installation."""
    store, keyring, audit, users = opened.store, opened.keyring, opened.audit, opened.users
    identifiers = Identifiers(keyring.token_identifier_keys)
    registry = Registry(store, keyring, audit, clock, settings)
    revocations = Revocations(store, audit, clock, settings.leeway, identifiers)
    signin = SignIn(registry, users, revocations, clock, settings, lambda hit: metrics.cache("tokens", hit=hit))
    lifetimes = (settings.session_hours * 3600, settings.session_idle_minutes * 60)
    gate_sessions = Sessions("gate", store, users, clock, lifetimes)
    return Services(
        settings=settings,
        clock=clock,
        metrics=metrics,
        store=opened.backend,
        registry=registry,
        issuer=Issuer(registry, audit, clock, identifiers),
        keyring=keyring,
        audit=audit,
        readiness=Readiness(store, audit, clock),
        users=users,
        accounts=Accounts(store, users, audit, clock, settings),
        revocations=revocations,
        sessions=Sessions("api", store, users, clock, lifetimes),
        signin=signin,
        gate=Gate(store, gate_sessions, signin, audit, clock, keyring.derive("gate sessions")),
    )


@dataclass(frozen=True)
class _Unopened:
    """Services of commands, opened by the first command that needs them; many need none."""

    settings: Callable[[], Settings]
    open: Callable[[Settings, Opener], Services]


def attach(app: Flask, services: Services) -> None:
    """Give an application its services."""
    app.extensions[_SERVICES] = services


def attach_unopened(app: Flask, load: Callable[[], Settings], open_: Callable[[Settings, Opener], Services]) -> None:
    """Give an application of commands the functions that load its settings and open its services."""
    app.extensions[_UNOPENED] = _Unopened(functools.cache(load), open_)


def open_services(opener: Opener) -> Services:
    """Return the services for a command; open them if they are not open yet."""
    extensions = _app().extensions
    if _SERVICES not in extensions:
        unopened: _Unopened = extensions[_UNOPENED]
        extensions[_SERVICES] = unopened.open(unopened.settings(), opener)
    return services()


def current_settings() -> Settings:
    """Return the settings; for a command, also before its services are open."""
    extensions = _app().extensions
    if _SERVICES in extensions:
        return services().settings
    unopened: _Unopened = extensions[_UNOPENED]
    return unopened.settings()


def services() -> Services:
    """Return the services of the application that serves the current request or runs the command."""
    found: Services = _app().extensions[_SERVICES]
    return found


def services_of(app: object) -> Services | None:
    """Return the services of an application, or None if gunicorn serves another one with our configuration."""
    found: Services | None = getattr(app, "extensions", {}).get(_SERVICES)
    return found


def _app() -> Flask:
    # The application itself, not Flask's proxy: see ``current``.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return app
