"""The status page: version, store, settings with their origin, and a chart of the last 24 hours."""

import dataclasses
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

from flask.typing import ResponseReturnValue

from datafor_token.console import chart, history, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.errors import StoreUnavailable
from datafor_token.settings import displayed_value, table
from datafor_token.web.services import services

_NONE = "–"  # noqa: RUF001 - an empty cell


class Violation(NamedTuple):
    """A stored value that breaks a rule of this version: the view and the name of its record, and a message."""

    view: str
    name: str
    message: str


@dataclasses.dataclass(frozen=True)
class Store:
    """State of the store; the counts are None if it cannot be read."""

    readable: bool
    writable: bool
    applications: int | None = None
    users: int | None = None
    damaged: int | None = None
    rule_violations: Sequence[Violation] = ()


@blueprint.get("/status")
def status() -> ResponseReturnValue:
    """Show the status, in an outage too: administrators look here first when something is wrong."""
    day = _day()
    return pages.render(
        "status.html",
        python=platform.python_version(),
        store=_store(),
        settings=_settings(),
        folders={"config": services().settings.config_dir, "data": services().settings.data_dir},
        day=day,
        chart=chart.bar_chart(day.hours) if day else None,
    )


def _store() -> Store:
    try:
        listing = services().registry.index()
        users, damaged = services().accounts.all()
        writable = services().readiness.writable()
    except StoreUnavailable:
        return Store(readable=False, writable=False)
    return Store(
        readable=True,
        writable=writable,
        applications=len(listing.entries),
        users=len(users),
        damaged=len(listing.damaged) + len(damaged),
        rule_violations=[
            *(
                Violation("application", one.name, message)
                for one in listing.entries
                for message in one.rule_violations
            ),
            *(Violation("user", one.name, message) for one in users for message in one.rule_violations),
        ],
    )


def _day() -> history.Day | None:
    try:
        return history.last_day()
    except StoreUnavailable:
        return None


def _settings() -> list[dict[str, Any]]:
    present = services().settings
    return [
        {
            "name": field.name.upper(),
            "value": _text(displayed_value(present, field)),
            "unit": field.metadata["unit"],
            "help": field.metadata["help"],
            "origin": present.origins.get(field.name.upper()),
        }
        for field in table()
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value) or _NONE
    return str(value) if value != "" else _NONE
