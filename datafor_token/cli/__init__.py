"""The commands of ``.venv/bin/flask``: one file for each group."""

from flask import Flask

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
