"""Factory of the WSGI application."""

import os
from typing import cast

import argon2
from flask import Flask

from datafor_token import __version__, console
from datafor_token.cli import flask_commands
from datafor_token.operations.installation import Opener
from datafor_token.operations.services import Clock, open_services
from datafor_token.settings import Settings
from datafor_token.settings_sources import load_settings
from datafor_token.store.base import RequestScoped
from datafor_token.validation import logs
from datafor_token.web import api, auth, current, proxies, responses, services
from datafor_token.web.app import Service


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    hasher: argon2.PasswordHasher | None = None,
    begin: bool = True,
) -> Flask:
    """Create the WSGI application.

    ``settings``: by default read from the configuration folder and the environment. ``clock`` returns seconds since
    1970; by default it is that of ``operations.clock``. ``hasher``: by default argon2id with the defaults of its
    library. ``begin``: create the store and its first user if they do not exist. Raises ``StartError`` with a sentence
    that states what to do.
    """
    if flask_commands.is_running():
        return flask_commands.application()
    settings = settings or load_settings(None, os.environ)
    logs.configure(settings.log_level, settings.log_format)
    opener = Opener.SERVER if begin else Opener.COMMAND
    opened = open_services(settings, opener, current.origin, clock, hasher)
    app = without_services(settings, scoped=isinstance(opened.store, RequestScoped))
    services.attach(app, opened)
    return app


def without_services(settings: Settings, *, scoped: bool) -> Flask:
    """Create the application without its services, which ``services.attach`` gives it.

    ``scoped``: whether its store is a ``RequestScoped`` one.
    """
    app = Service(__package__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    if scoped:
        app.before_request(_begin_request)
        app.teardown_request(_end_request)
    responses.init_app(app)
    proxies.init_app(app, settings)
    auth.init_app(app)
    api.register(app, settings.url_prefix)
    console.init_app(app, settings.url_prefix, __version__)
    return app


def _begin_request() -> None:
    _scoped_store().begin_request()


def _end_request(_: BaseException | None) -> None:
    _scoped_store().end_request()


def _scoped_store() -> RequestScoped:
    return cast("RequestScoped", services.services().store)
