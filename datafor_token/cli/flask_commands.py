"""The former commands ``flask user ...``, for scripts written for version 0.1.0. They end with version 0.3.0."""

import click
from flask import Flask
from flask.cli import FlaskGroup, run_command

from datafor_token.cli.main import load, root


def is_running() -> bool:
    """Return whether a command of ``flask`` other than ``flask run`` creates the application."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return False
    return context.command is not run_command


def application() -> Flask:
    """Create an application that has the commands and nothing else."""
    app = Flask(__name__, static_folder=None)
    context = click.get_current_context()
    for name in root.list_commands(context):
        app.cli.add_command(load(name))
    return app
