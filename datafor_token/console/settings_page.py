"""The page of the settings, each with its value and where it comes from."""

from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import pages
from datafor_token.console.blueprint import blueprint
from datafor_token.settings import displayed_value, table
from datafor_token.web.services import services

_NONE = "–"  # noqa: RUF001 - an empty cell


@blueprint.get("/settings")
def settings() -> ResponseReturnValue:
    """Show every setting; secrets are shown as stars."""
    present = services().settings
    rows = [
        {
            "name": field.name.upper(),
            "value": _text(displayed_value(present, field)),
            "unit": field.metadata["unit"],
            "help": field.metadata["help"],
            "origin": present.origins.get(field.name.upper()),
        }
        for field in table()
    ]
    return pages.render("settings.html", settings=rows)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value) or _NONE
    return str(value) if value != "" else _NONE
