"""Options of every command: the folders that it works on, and JSON instead of text."""

from collections.abc import Callable
from typing import Any

import click

from datafor_token.cli.services import Installation


def _folder(name: str, variable: str, text: str) -> Callable[[Any], Any]:
    def use(context: click.Context, _: click.Parameter, folder: str | None) -> None:
        if folder is not None:
            context.ensure_object(Installation).environ[variable] = folder

    return click.option(
        f"--{name}",
        metavar="DIR",
        type=click.Path(file_okay=False),
        expose_value=False,
        is_eager=True,
        callback=use,
        help=text,
    )


def _use_json(context: click.Context, _: click.Parameter, given: bool) -> None:  # noqa: FBT001 - as click calls it
    if given:
        context.ensure_object(Installation).as_json = True


def folder_options(command: Any) -> Any:
    """Add ``--config`` and ``--data`` to a command; before or after its name they mean the same."""
    config = _folder("config", "DATAFOR_TOKEN_CONFIG_DIR", "Folder of settings and key.  [default: config]")
    data = _folder("data", "DATAFOR_TOKEN_DATA_DIR", "Folder of the records.  [default: data]")
    return config(data(command))


def common_options(command: Any) -> Any:
    """Add the folders and ``--json`` to a command; before or after its name they mean the same."""
    as_json = click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, callback=_use_json,
        help="Print one JSON document, for scripts.",
    )  # fmt: skip
    return as_json(folder_options(command))
