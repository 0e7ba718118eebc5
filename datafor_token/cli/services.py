"""Settings and services of a command, opened when it first needs them."""

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datafor_token.operations.installation import Opener
    from datafor_token.operations.services import Services
    from datafor_token.settings import Settings


class Installation:
    """Folders, settings and services of one run of the command. ``opened``: its services, if they are open already.

    ``as_json``: whether its output is JSON.
    """

    def __init__(self, opened: "Services | None" = None) -> None:
        self.environ = dict(os.environ)
        self.as_json = False
        self.opened = opened
        self._settings = opened.settings if opened else None

    @property
    def settings(self) -> "Settings":
        """Read the settings; raise ``StartError`` if they have an error."""
        if self._settings is None:
            # Imported here: help and completion need neither settings nor services.
            from datafor_token.settings_sources import load_settings
            from datafor_token.validation import logs

            self._settings = load_settings(None, self.environ)
            # With JSON, standard error has at most one object.
            level = "CRITICAL" if self.as_json else self._settings.log_level
            logs.configure(level, self._settings.log_format)
        return self._settings


def installation() -> Installation:
    """Return the installation that the command works on."""
    return click.get_current_context().ensure_object(Installation)


def current_settings() -> "Settings":
    """Return the settings, also before the services are open."""
    return installation().settings


def open_services(opener: "Opener") -> "Services":
    """Return the services; open them if they are not open yet."""
    found = installation()
    if found.opened is None:
        from datafor_token.audit.events import Origin
        from datafor_token.operations import services as operations

        found.opened = operations.open_services(found.settings, opener, Origin.of_command)
    return found.opened


def services() -> "Services":
    """Return the services, which must be open."""
    opened = installation().opened
    if opened is None:
        raise RuntimeError("the services are not open")
    return opened
