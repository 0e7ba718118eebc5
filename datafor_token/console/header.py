"""The header of all pages: sections of the navigation, theme, and the form that its switches keep."""

from typing import Any, NamedTuple

from flask import g

from datafor_token.console import guard, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_
from datafor_token.web.current import current

THEME_COOKIE = "datafor_theme"
# By the value of ``to`` in the URL; "system" removes the cookie.
THEMES = {"system": N_("System"), "light": N_("Light"), "dark": N_("Dark")}


class Section(NamedTuple):
    """A link of the navigation; it is current on pages whose path begins with one of ``segments`` below the console."""

    view: str
    label: str
    icon: str
    segments: frozenset[str]


_APPLICATIONS = frozenset(["applications", "new-application", "several-applications"])
_USERS = frozenset(["users", "user", "new-user", "several-users"])
SECTIONS = (
    Section("home", N_("Home"), "home", frozenset(["", "settings"])),
    Section("applications", N_("Applications"), "applications", _APPLICATIONS),
    Section("users", N_("Users"), "users", _USERS),
    Section("check_token", N_("Tokens"), "tokens", frozenset(["tokens"])),
    Section("audit", N_("Audit"), "audit", frozenset(["audit"])),
)


def theme() -> str:
    """Return the theme chosen with the switch, else "system"."""
    chosen: str = g.get("theme") or current().cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


def main_form(view: str, **arguments: Any) -> str:
    """Return the URL of the page's main form, whose fields the switches of language and theme keep."""
    g.main_form = pages.link_to(view, **arguments)
    found: str = g.main_form
    return found


def _section() -> str:
    """Return the first segment of the path below the console."""
    return current().path.partition(f"{blueprint.name}/")[2].partition("/")[0]


@blueprint.context_processor
def _context() -> dict[str, Any]:
    return {
        "sections": SECTIONS,
        "section": _section(),
        "theme": theme(),
        "themes": THEMES,
        "here": guard.own_path(),
        "main_form": main_form,
        "main_form_url": lambda: g.get("main_form"),
        # A form that is shown again has values that are stored nowhere.
        "redisplayed": bool(g.get("notice") or g.get("outage") or g.get("redisplayed")),
    }
