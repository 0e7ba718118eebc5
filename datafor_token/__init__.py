"""Service that stores trusted applications, issues tokens for their users, and accepts the tokens they sign."""

import functools
import os
import time
from collections.abc import Callable

import argon2
from flask import Flask

from datafor_token import cli, console
from datafor_token.metrics.counters import Metrics
from datafor_token.operations.installation import COLLECTIONS, Opener, Opening
from datafor_token.settings import Settings, load_settings
from datafor_token.store.base import RequestScoped
from datafor_token.users.passwords import Passwords
from datafor_token.validation import logs
from datafor_token.web import api, auth, current, proxies, responses, services
from datafor_token.web.app import Service

__version__ = "0.1.0"
Clock = Callable[[], float]


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock = time.time,
    hasher: argon2.PasswordHasher | None = None,
    begin: bool | None = None,
) -> Flask:
    """Create the WSGI application.

    ``settings``: by default read from the configuration folder and the environment. ``clock`` returns seconds since
    1970. ``hasher``: by default argon2id with the defaults of its library. ``begin``: create the store and its first
    user if they do not exist, as the server does. By default, this is false only for a ``flask`` command other than
    ``run``. For a command of our own, the application opens the store only when the command needs it. Raises
    ``StartError`` with a sentence that states what to do.
    """
    if begin is None and cli.is_command_of_ours():
        return create_commands()
    settings = settings or load_settings(None, os.environ)
    logs.configure(settings.log_level)
    is_server = not cli.is_command() if begin is None else begin
    opened = _open_services(settings, Opener.SERVER if is_server else Opener.COMMAND, clock, hasher)
    app = Service(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    services.attach(app, opened)
    if isinstance(opened.store, RequestScoped):
        app.before_request(opened.store.begin_request)
        app.teardown_request(functools.partial(_end_request, opened.store))
    responses.init_app(app)
    proxies.init_app(app)
    auth.init_app(app)
    api.register(app, settings.url_prefix)
    console.init_app(app, settings.url_prefix, __version__)
    cli.init_app(app)
    return app


def create_commands() -> Flask:
    """Create the application of the ``flask`` commands, which has no routes and opens its services on demand."""
    app = Flask(__name__, static_folder=None)
    cli.init_app(app)
    services.attach_unopened(app, _load_settings, _open_services)
    return app


def _load_settings() -> Settings:
    settings = load_settings(None, os.environ)
    logs.configure(settings.log_level)
    return settings


def _open_services(
    settings: Settings, opener: Opener, clock: Clock = time.time, hasher: argon2.PasswordHasher | None = None
) -> services.Services:
    metrics = Metrics(__version__, COLLECTIONS)
    passwords = Passwords(
        hasher or argon2.PasswordHasher(), clock, looked_up=lambda hit: metrics.cache("passwords", hit=hit)
    )
    opened = Opening(settings, opener, clock, metrics, passwords, current.origin).open()
    built = services.build_services(settings, clock, metrics, opened)
    if opener is Opener.SERVER:
        built.sweep()
    return built


def _end_request(store: RequestScoped, _: BaseException | None) -> None:
    store.end_request()
