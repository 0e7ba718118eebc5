"""``datafor-token serve``: the server."""

import errno
import os
import socket
import sys
import time
from pathlib import Path

import click

from datafor_token.cli.failures import Failed
from datafor_token.cli.groups import Command
from datafor_token.cli.options import folder_options
from datafor_token.cli.parameters import Number
from datafor_token.cli.services import installation

_BIND = "DATAFOR_TOKEN_BIND"
# After a kill -9 of gunicorn's first process, its workers notice that within a second, then finish their requests.
_LONGEST_WAIT = 3.0  # seconds
_USED, _USED_SOCKET = os.strerror(errno.EADDRINUSE), "another server uses it"


@click.command("serve", cls=Command)
@folder_options
@click.option(
    "--bind", metavar="ADDRESS", help="host:port, [IPv6 address]:port or unix:path.  [default: 127.0.0.1:28080]"
)
@click.option("--workers", type=Number(1, 64), help="Number of worker processes.  [default: 2]")
@click.option("--threads", type=Number(3, 64), help="Threads of each worker.  [default: 3]")
def serve(bind: str | None, workers: int | None, threads: int | None) -> None:
    """Start the server, until it gets SIGTERM or Ctrl-C.

    The first start creates config/ with the key, data/ with the records, and the user admin, whose password it prints
    once and writes to config/initial_admin_password. Further options of gunicorn are read from GUNICORN_CMD_ARGS.

    Example: datafor-token serve --bind 127.0.0.1:8080
    """
    from datafor_token.settings import checkout

    environ = installation().environ
    if bind is not None:
        environ[_BIND] = bind
    _check_address(environ, bind)
    flags = {"--bind": bind, "--workers": workers, "--threads": threads}
    given = [part for flag, value in flags.items() if value is not None for part in (flag, str(value))]
    # With -c, gunicorn reads no gunicorn.conf.py of the current folder.
    configuration = ["-c", "python:datafor_token.gunicorn_conf", "datafor_token.wsgi:app"]
    # Nothing is imported from the current folder, neither now nor after SIGUSR2, at which gunicorn starts itself again.
    environ["PYTHONSAFEPATH"] = "1"
    if (folder := checkout()) is not None:
        # The code of `python -m datafor_token` in a checkout that is not installed.
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), environ.get("PYTHONPATH"))))
    # gunicorn takes the place of this process, so that signals and systemd's notifications reach it.
    command = [sys.executable, "-m", "datafor_token.server", *given, *configuration]
    os.execve(sys.executable, command, environ)  # noqa: S606 - no shell


def _check_address(environ: dict[str, str], bind: str | None) -> None:
    """Refuse an address that is not valid or not free: gunicorn would try again for five seconds, then log a traceback.

    Nothing is checked if gunicorn listens elsewhere: at a socket of systemd, or where GUNICORN_CMD_ARGS says.
    """
    from datafor_token.errors import StartError
    from datafor_token.settings import bind_address

    try:
        address = bind_address(environ)
    except StartError as error:
        if bind is None:
            raise Failed(*error.faults) from None
        raise click.BadParameter(
            f"'{bind}' is not host:port, [IPv6 address]:port or unix:path",
            click.get_current_context(),
            param_hint="--bind",
        ) from None
    if "LISTEN_FDS" in environ or (bind is None and "GUNICORN_CMD_ARGS" in environ):
        return
    fault_of = _fault_of_socket if address.startswith("unix:") else _fault_of_port
    until = time.monotonic() + _LONGEST_WAIT
    while (fault := fault_of(address)) in (_USED, _USED_SOCKET) and time.monotonic() < until:
        time.sleep(0.1)
    if fault:
        raise Failed(f"cannot listen at {address}: {fault}; choose another address with --bind or {_BIND}")


def _fault_of_port(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as trial:
            # As gunicorn: the connections of a server that has just stopped do not matter.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(found[4])
            trial.listen()
    except OSError as error:
        return error.strerror
    return None


def _fault_of_socket(address: str) -> str | None:
    """Return a fault if a server listens at the Unix socket, which gunicorn would replace, or if none can."""
    path = Path(address.removeprefix("unix:")).absolute()
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return "its folder does not exist or cannot be written"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(str(path))
        except OSError:
            return None
    return _USED_SOCKET
