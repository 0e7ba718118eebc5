"""``datafor-token serve``: the server."""

import os
import sys

import click

from datafor_token.cli.folders import folder_options
from datafor_token.cli.services import installation


@click.command("serve")
@folder_options
@click.option("--bind", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1:28080]")
@click.option("--workers", type=click.IntRange(1, 64), help="Number of worker processes.  [default: 2]")
@click.option("--threads", type=click.IntRange(2, 64), help="Threads of each worker.  [default: 3]")
def serve(bind: str | None, workers: int | None, threads: int | None) -> None:
    """Start the server. In an empty folder, its first start creates config/ and data/ with the user admin.

    Example: datafor-token serve --bind 127.0.0.1:8080
    """
    environ = installation().environ
    if bind is not None:
        environ["DATAFOR_TOKEN_BIND"] = bind
    flags = {"--workers": workers, "--threads": threads}
    numbers = [part for flag, number in flags.items() if number for part in (flag, str(number))]
    configuration = ["-c", "python:datafor_token.gunicorn_conf", "datafor_token.wsgi:app"]
    # gunicorn takes the place of this process, so that signals and systemd's notifications reach it.
    command = [sys.executable, "-m", "gunicorn", *numbers, *configuration]
    os.execve(sys.executable, command, environ)  # noqa: S606 - no shell
