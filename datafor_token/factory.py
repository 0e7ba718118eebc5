"""Factory of the WSGI application."""

import functools
import os
import time

import argon2
from flask import Flask

from datafor_token import __version__, console
from datafor_token.cli import flask_commands
from datafor_token.operations.installation import Opener
from datafor_token.operations.services import Clock, open_services
from datafor_token.settings import Settings, load_settings
from datafor_token.store.base import RequestScoped
from datafor_token.validation import logs
from datafor_token.web import api, auth, current, proxies, responses, services
from datafor_token.web.app import Service


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock = time.time,
    hasher: argon2.PasswordHasher | None = None,
    begin: bool = True,
) -> Flask:
    """Create the WSGI application.

    ``settings``: by default read from the configuration folder and the environment. ``clock`` returns seconds since
    1970. ``hasher``: by default argon2id with the defaults of its library. ``begin``: create the store and its first
    user if they do not exist. Raises ``StartError`` with a sentence that states what to do.
    """
    if flask_commands.is_running():
        return flask_commands.application()
    settings = settings or load_settings(None, os.environ)
    logs.configure(settings.log_level, settings.log_format)
    opener = Opener.SERVER if begin else Opener.COMMAND
    opened = open_services(settings, opener, current.origin, clock, hasher)
    app = Service(__package__, static_folder=None)
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
    return app


def _end_request(store: RequestScoped, _: BaseException | None) -> None:
    store.end_request()
