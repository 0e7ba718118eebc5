"""The former commands ``flask user ...``, for scripts written for version 0.1.0. They end with version 0.3.0."""

import copy

import click
from flask import Flask
from flask.cli import FlaskGroup, run_command

from datafor_token.cli.main import load

_GROUPS = ("user", "application", "token", "store", "audit", "settings")


def is_running() -> bool:
    """Return whether a command of ``flask`` other than ``flask run`` creates the application."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return False
    return context.command is not run_command


def application() -> Flask:
    """Create an application that has the commands and nothing else."""
    app = Flask(__name__, static_folder=None)
    for name in _GROUPS:
        group = copy.copy(load(name))
        group.callback = _name_the_new_command
        app.cli.add_command(group)
    return app


def _name_the_new_command() -> None:
    context = click.get_current_context()
    command = f"{context.info_name} {context.invoked_subcommand}"
    click.echo(f"`flask {command}` ends with version 0.3.0: use `datafor-token {command}`", err=True)
