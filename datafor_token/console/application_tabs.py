"""The pages of one application: each tab is a page with an address of its own."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from datafor_token.applications.record import Application
from datafor_token.console import pages
from datafor_token.console.language import N_, gettext
from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import DataforTokenError
from datafor_token.web.services import services

# By the view of each tab.
TABS: Mapping[str, str] = {
    "application": N_("Overview"),
    "application_use": N_("How to use it"),
    "application_settings": N_("Settings"),
    "application_trust": N_("Trust"),
    "application_secret": N_("Secret"),
    "application_tokens": N_("Tokens"),
    "application_activity": N_("Activity"),
    "application_danger": N_("Danger zone"),
}


def find(name: str) -> Application:
    """Return the application that a URL names; raise ``NotFound``."""
    return services().registry.get(name)


def render(tab: str, found: Application, *, error: DataforTokenError | None = None, **values: Any) -> Response:
    """Return the page of a tab, whose template has the name of its view."""
    links = {view: pages.link_to(view, name=found.name) for view in TABS}
    return pages.render(
        f"{tab}.html",
        error=error,
        application=found,
        is_shared=is_shared(found.algorithm),
        in_grace=found.previous_secret(services().clock()) is not None,
        tabs=[(links[view], gettext(label)) for view, label in TABS.items()],
        tab=links[tab],
        **values,
    )
