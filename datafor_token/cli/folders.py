"""Options of every command for the folders that it works on."""

from collections.abc import Callable
from typing import Any

import click

from datafor_token.cli.services import installation


def _folder(name: str, variable: str, text: str) -> Callable[[Any], Any]:
    def use(context: click.Context, _: click.Parameter, folder: str | None) -> None:
        if folder is not None:
            with context:
                installation().environ[variable] = folder

    return click.option(
        f"--{name}",
        metavar="DIR",
        type=click.Path(file_okay=False),
        expose_value=False,
        is_eager=True,
        callback=use,
        help=text,
    )


def folder_options(command: Any) -> Any:
    """Add ``--config`` and ``--data`` to a command; before or after its name they mean the same."""
    config = _folder("config", "DATAFOR_TOKEN_CONFIG_DIR", "Folder of settings and key.  [default: config]")
    data = _folder("data", "DATAFOR_TOKEN_DATA_DIR", "Folder of the records.  [default: data]")
    return config(data(command))
