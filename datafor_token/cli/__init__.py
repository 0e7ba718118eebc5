"""The commands of ``.venv/bin/flask``: one file for each group."""

import sys

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


def without_service() -> Flask | None:
    """What ``flask`` gets where it is asked for help, or for ``store init``, before which the service cannot start.

    Whoever asks for help does not want a first start, with its files and its first user.
    """
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if "flask" not in sys.argv[0] or ("--help" not in sys.argv and words[:2] != ["store", "init"]):
        return None
    app = Flask("datafor_token", static_folder=None)
    init_app(app)
    return app
