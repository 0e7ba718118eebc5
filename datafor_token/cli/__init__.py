"""The commands of ``.venv/bin/flask``: one file for each group."""

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
    """Give the application its commands."""
    for group in (user, application, token, store, settings, audit):
        app.cli.add_command(group)


def is_command() -> bool:
    """Return whether the ``flask`` command asks for the application, and not to serve it."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return False
    return context.command is not run_command


def is_command_of_ours() -> bool:
    """Return whether ``flask`` looks for a command that it does not have itself, or for the names of all."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)
