"""The commands of ``.venv/bin/flask``; exit codes: 0 done, 1 refused, 3 store unavailable."""

import sys

import click
from flask import Flask
from flask.cli import AppGroup

from datafor_token.errors import DataforTokenError, NotFound, StoreUnavailable
from datafor_token.secrecy import note_key
from datafor_token.services import services

store = AppGroup("store", help="Look after the stored records.")


def init_app(app: Flask) -> None:
    """Give the application its commands."""
    app.cli.add_command(store)


@store.command("rekey")
def rekey() -> None:
    """Encrypt every secret with the present key.

    To change the key: put the new one in front of the old one (in config/secret_key on a line of its own), restart the
    service, run this, then take the old one away. It can be run again after a break.
    """
    try:
        listing = services().registry.all()
        if listing.damaged:
            click.echo(f"Nothing was changed: these records cannot be read: {', '.join(listing.damaged)}", err=True)
            sys.exit(1)
        for application in listing.applications:
            try:
                services().registry.reseal(application.name)
            except NotFound:
                # Deleted in the meantime.
                continue
        # Last: until here, the old key is the one that a start must know.
        note_key(services().store, services().secrecy)
    except DataforTokenError as error:
        click.echo(f"{error.message}: {error.reason}; run it again", err=True)
        sys.exit(3 if isinstance(error, StoreUnavailable) else 1)
    click.echo(f"{len(listing.applications)} applications are encrypted with the key {services().secrecy.identifier}")
