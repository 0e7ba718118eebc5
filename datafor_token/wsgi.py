"""WSGI application for a server: ``datafor_token.wsgi:app``."""

import contextlib

from datafor_token.cli import flask_commands
from datafor_token.factory import create_app
from datafor_token.web import hooks

with contextlib.nullcontext() if flask_commands.is_running() else hooks.starting():
    app = create_app()
