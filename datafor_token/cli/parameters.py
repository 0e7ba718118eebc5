"""Types of arguments and options: seconds, and names of records, completed from a file store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from datafor_token.cli.services import Installation
from datafor_token.validation import files

_COLLECTIONS = {"user": "users", "application": "applications"}


class Seconds(click.ParamType[int]):
    """Whole number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; fail with an example."""
        try:
            return int(value)
        except ValueError:
            self.fail(f"'{value}' is not a number of seconds, such as 86400 for a day", param, ctx)


class Number(click.IntRange):
    """Whole number in a range, with a message that does not speak of ranges if it is no number."""

    name = "integer"


class RecordName(click.ParamType[str]):
    """Name of a stored record. ``kind``: user or application."""

    name = "name"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - as click calls it
        """Return the stored names that begin with ``incomplete``, regardless of case; in an error, none."""
        wanted = incomplete.casefold()
        found = stored_names(ctx.ensure_object(Installation), _COLLECTIONS[self.kind])
        return [CompletionItem(name) for name in sorted(found) if name.casefold().startswith(wanted)]


def stored_names(found: Installation, collection: str) -> Iterator[str]:
    """Yield the names in a collection. Opening the store would take longer than the rest of a completion.

    Yields none if the records are in a database, or if they or the settings cannot be read.
    """
    from datafor_token.errors import StartError
    from datafor_token.settings_sources import load_settings

    try:
        settings = load_settings(None, found.environ)
        paths = list((settings.data_dir / collection).glob("*.json")) if settings.store == "file" else []
    except (StartError, OSError):
        return
    for path in paths:
        name = _name(path)
        if name and name.isprintable():
            yield name


def _name(path: Path) -> str | None:
    try:
        name = json.loads(files.read(path))["name"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


user_name = RecordName("user")
application_name = RecordName("application")
