"""datafor_token: keeps applications whose signed tokens are trusted, and issues such tokens."""

import functools
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import argon2
from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter, Rule

from datafor_token import cli, console
from datafor_token.applications import record
from datafor_token.applications.registry import Registry
from datafor_token.audit.log import Audit
from datafor_token.audit.writer import AuditLog
from datafor_token.crypto import at_rest
from datafor_token.errors import StoreNotReady, StoreUnavailable
from datafor_token.gate import gate
from datafor_token.metrics.counters import Metrics
from datafor_token.operations import migration, store_identity
from datafor_token.operations.readiness import Readiness
from datafor_token.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from datafor_token.store.base import RequestScoped
from datafor_token.store.files.store import FileStore
from datafor_token.store.metered import Metered
from datafor_token.store.opening import is_new, open_store, store_location
from datafor_token.tokens import revocations
from datafor_token.tokens.identifiers import Identifiers
from datafor_token.tokens.issuer import Issuer
from datafor_token.tokens.signin import SignIn
from datafor_token.users import sessions, users
from datafor_token.users.accounts import Accounts
from datafor_token.users.passwords import Passwords
from datafor_token.users.throttle import Throttle
from datafor_token.validation import logs
from datafor_token.web import api, auth, current, proxies, responses, services
from datafor_token.web.services import Beginning

__version__ = "0.1.0"
log = logging.getLogger(__name__)
COLLECTIONS = (
    record.COLLECTION,
    users.COLLECTION,
    sessions.COLLECTION,
    revocations.COLLECTION,
    gate.TICKETS,
    at_rest.COLLECTION,
)


@functools.lru_cache(maxsize=256)
def _is_plain_host(host: str) -> bool:
    # Anything else is for Werkzeug to judge.
    return re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", host) is not None


class NoSessions(SessionInterface):
    """In place of Flask's own sessions, which can be replayed after a logout, and which it opens in each request."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002 - Flask's names
        """None that could be written to."""
        return self._none


class Service(Flask):
    """Flask with answers of our own, none of whose views is a coroutine."""

    request_class = current.Request
    response_class = responses.Answer
    session_interface = NoSessions()

    @functools.cached_property
    def _straight(self) -> Mapping[tuple[str, str], Rule]:
        """Rules by method and path, where nothing in the path is a variable; not of pages, which make URLs."""
        return {
            (method, rule.rule): rule
            for rule in self.url_map.iter_rules()
            if not rule.arguments and not rule.endpoint.startswith("console.")
            for method in rule.methods or ("",)
        }

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds the call of a request: where its path says it by itself, nothing needs to be matched."""
        if request is not None:
            environ = request.environ
            path = environ["PATH_INFO"]
            # Without a method: the rule of a call that takes any.
            rule = self._straight.get((environ["REQUEST_METHOD"], path)) or self._straight.get(("", path))
            if rule is not None and _is_plain_host(environ.get("HTTP_HOST", "")):
                request.url_rule, request.view_args = rule, {}
                return None
        return super().create_url_adapter(request)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The view as it is: Flask would ask that of each function in each request."""
        return func


def create_app(
    settings: Settings | None = None,
    *,
    clock: Callable[[], float] = time.time,
    hasher: argon2.PasswordHasher | None = None,
    begin: bool | None = None,
) -> Flask:
    """The WSGI application.

    ``settings``: as the configuration folder and the environment say when left out. ``clock``
    answers seconds since 1970. ``hasher``: argon2id with its library's defaults when left out.
    ``begin``: whether this is the server, which creates the store and its first user at the first start;
    when left out, it is, unless a command of ``flask`` other than ``run`` asks. Such a command of our own gets an
    application that opens the store only when it is needed. Raises ``StartError``, whose sentence says what to mend.
    """
    if begin is None and cli.is_command_of_ours():
        return create_commands()
    settings = settings or load_settings(None, os.environ)
    logs.configure(settings.log_level)
    app = Service(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    beginning = Beginning.SERVER if (not cli.is_command() if begin is None else begin) else Beginning.COMMAND
    bundle = _assemble(settings, clock, hasher or argon2.PasswordHasher(), beginning)
    services.attach(app, bundle)
    if isinstance(bundle.store, RequestScoped):
        app.before_request(bundle.store.begin_request)
        app.teardown_request(functools.partial(_ended, bundle.store))
    responses.init_app(app)
    proxies.init_app(app)
    auth.init_app(app)
    api.register(app, settings.url_prefix)
    console.init_app(app, settings.url_prefix, __version__)
    cli.init_app(app)
    return app


def create_commands() -> Flask:
    """The application of the ``flask`` command: no calls, and services for the commands that ask for them."""
    app = Flask(__name__, static_folder=None)
    cli.init_app(app)

    def load() -> Settings:
        settings = load_settings(None, os.environ)
        logs.configure(settings.log_level)
        return settings

    def assemble(settings: Settings, beginning: Beginning) -> services.Services:
        return _assemble(settings, time.time, argon2.PasswordHasher(), beginning)

    services.attach_later(app, load, assemble)
    return app


def _ended(store: RequestScoped, _: BaseException | None) -> None:
    store.end_request()


def _assemble(
    settings: Settings, clock: Callable[[], float], hasher: argon2.PasswordHasher, beginning: Beginning
) -> services.Services:
    is_server = beginning is Beginning.SERVER
    made_up = None
    metrics = Metrics(__version__, COLLECTIONS)
    try:
        may_create = beginning is not Beginning.COMMAND
        # Before the look for a store: another server that begins it writes to the configuration folder last.
        configured = store_identity.StoreIdentity(None, settings.config_dir, store_location(settings))
        if is_server and is_new(settings):
            # Before any folder is created: it may be a mount point that is not mounted.
            configured.check_may_create()
            at_rest.check_keys(settings.config_dir, os.environ)
        opened = open_store(settings, COLLECTIONS, waited=metrics.lock_waited, may_create=may_create)
        store = Metered(opened, metrics.store_operation, metrics.store_failure)
        migration.check_complete(store)
        identified = store_identity.StoreIdentity(store, settings.config_dir, store_location(settings))
        if is_server:
            identified.check_may_create()
            at_rest.check_keys(settings.config_dir, os.environ)
            identified.create_in_empty_store()
        elif beginning is Beginning.COMMAND:
            identified.check_exists()
        keys = at_rest.load_keyring(settings.config_dir, os.environ, store, may_create=may_create)
        passwords = Passwords(hasher, clock, looked_up=lambda hit: metrics.cache("passwords", hit=hit))
        log_file = AuditLog(settings.data_dir)
        trail = Audit(log_file, clock, current.origin, metrics, keys.derive("audit"))
        throttle = Throttle(
            settings.data_dir,
            clock,
            keys.derive("throttle"),
            settings.ratelimit_storage_uri,
            # Without a proxy that is believed, an address may be that of a proxy, and so everybody's.
            bound_names=settings.trusted_proxies > 0,
        )
        accounts = users.Users(store, passwords, throttle, trail)
        if is_server:
            if identified.is_new:
                wanted = os.environ.get(f"{ENVIRONMENT_PREFIX}ADMIN_PASSWORD")
                made_up = accounts.create_first(settings.config_dir, wanted, settings.min_password_length)
            identified.save()
    except StoreUnavailable as error:
        raise StoreNotReady(f"{store_location(settings)}: {error.reason}") from None
    if made_up is not None:
        file = settings.config_dir / users.PASSWORD_FILE
        # Not on standard output, which may be on its way into a file.
        sys.stderr.write(f"First start: user {users.FIRST_USER}, password {made_up} (kept in {file} until changed)\n")
    registry = Registry(store, keys, trail, clock, settings)
    named = Identifiers(keys.token_identifier_keys)
    revoked = revocations.Revocations(store, trail, clock, settings.leeway, named)
    times = (settings.session_hours * 3600, settings.session_idle_minutes * 60)
    judge = SignIn(registry, accounts, revoked, clock, settings, lambda hit: metrics.cache("tokens", hit=hit))
    bundle = services.Services(
        settings=settings,
        clock=clock,
        metrics=metrics,
        store=opened,
        registry=registry,
        issuer=Issuer(registry, trail, clock, named),
        keyring=keys,
        audit=trail,
        readiness=Readiness(store, trail, clock),
        users=accounts,
        accounts=Accounts(store, accounts, trail, clock, settings),
        revocations=revoked,
        sessions=sessions.Sessions("api", store, accounts, clock, times),
        signin=judge,
        gate=gate.Gate(
            store,
            sessions.Sessions("gate", store, accounts, clock, times),
            judge,
            trail,
            clock,
            keys.derive("gate sessions"),
        ),
    )
    if is_server:
        _sweep(bundle)
    return bundle


def _sweep(bundle: services.Services) -> None:
    """Remove what is over; a command leaves that to the server."""
    try:
        if isinstance(bundle.store, FileStore):
            bundle.store.sweep()
        for keeper in (bundle.revocations, bundle.sessions, bundle.gate):
            keeper.sweep()
    except StoreUnavailable as error:
        # A disk that can only be read still serves.
        log.warning(logs.event(event="sweep failed", reason=error.reason))
