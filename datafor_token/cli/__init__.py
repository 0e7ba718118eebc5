"""Commands of ``.venv/bin/flask``, one module per group."""

import click
from flask import Flask
from flask.cli import FlaskGroup, run_command

from datafor_token.cli.applications import application
from datafor_token.cli.audit import audit
from datafor_token.cli.settings import settings
from datafor_token.cli.store import store
from datafor_token.cli.tokens import token
from datafor_token.cli.users import user


def init_app(app: Flask) -> None:
    """Add the commands to the application."""
    for group in (user, application, token, store, settings, audit):
        app.cli.add_command(group)


def is_command() -> bool:
    """Return whether a ``flask`` command other than ``flask run`` creates the application."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return False
    return context.command is not run_command


def is_command_of_ours() -> bool:
    """Return whether ``flask`` looks up a command that is not built in, or lists all commands."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)
