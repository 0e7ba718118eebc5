"""What a request needs, in one typed bundle, made once per application and reached by ``services()``."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from flask import Flask, current_app

from datafor_token.applications.registry import Registry
from datafor_token.audit.log import Audit
from datafor_token.crypto.at_rest import Keyring
from datafor_token.gate.gate import Gate
from datafor_token.metrics.counters import Metrics
from datafor_token.operations.readiness import Readiness
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.tokens.issuer import Issuer
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.signin import SignIn
from datafor_token.users.accounts import Accounts
from datafor_token.users.sessions import Sessions
from datafor_token.users.users import Users

_NAME, _LATER = "datafor_token", "datafor_token_later"


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


def services_of(app: object) -> Services | None:
    """Return the services of an application, None if it is another application under our gunicorn settings."""
    bundle: Services | None = getattr(app, "extensions", {}).get(_NAME)
    return bundle


def services() -> Services:
    """Return the services of the application that serves the current request, or whose command runs."""
    bundle: Services = _app().extensions[_NAME]
    return bundle


def _app() -> Flask:
    # The application itself, not Flask's proxy, for the reason given in ``current``.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return app
