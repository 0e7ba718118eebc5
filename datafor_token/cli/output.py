"""Input and output of commands: exit codes, secrets from prompts and files, tables, JSON for scripts.

Exit codes: 0 done, 1 refused, 2 wrong usage (from click), 3 store unavailable or missing.
"""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from datafor_token.cli.folders import folder_options
from datafor_token.cli.services import open_services
from datafor_token.errors import (
    DataforTokenError,
    InvalidInput,
    RuleError,
    StartError,
    StoreNotReady,
    StoreUnavailable,
)
from datafor_token.printable import printable, printable_json
from datafor_token.validation import utf8

REFUSED, UNAVAILABLE = 1, 3


class Commands(click.Group):
    """Group whose commands report an error of the service as a message and an exit code."""

    def command(  # type: ignore[override]
        self, *args: Any, opens: bool = True, **kwargs: Any
    ) -> Callable[[Callable[..., Any]], click.Command]:
        """Register a command. With ``opens``, the store must exist and is opened before any prompt."""
        wrap = super().command(*args, **kwargs)

        def decorator(function: Callable[..., Any]) -> click.Command:
            command: click.Command = wrap(folder_options(_opening(function) if opens else function))
            return command

        return decorator

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print an error of the service and exit with its code."""
        try:
            return super().invoke(ctx)
        except StartError as error:
            for fault in error.faults:
                echo(fault, err=True)
            ctx.exit(UNAVAILABLE if isinstance(error, StoreNotReady) else REFUSED)
        except StoreUnavailable as error:
            echo(f"{error.message}: {error.reason}", err=True)
            ctx.exit(UNAVAILABLE)
        except InvalidInput as error:
            for sentences in error.errors.values():
                for sentence in sentences:
                    echo(sentence, err=True)
            ctx.exit(REFUSED)
        except DataforTokenError as error:
            echo(error.message, err=True)
            ctx.exit(REFUSED)


def _opening(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def opened(*args: Any, **kwargs: Any) -> Any:
        from datafor_token.operations.installation import Opener

        open_services(Opener.COMMAND)
        return function(*args, **kwargs)

    return opened


def echo(line: str, *, err: bool = False) -> None:
    """Print one line, with control characters escaped: text of records and tokens cannot control the terminal."""
    click.echo(printable(line), err=err)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows as JSON, or as a table without colors, which is the same in a pipe."""
    from tabulate import tabulate

    if as_json:
        click.echo(as_json_text(rows))
    elif rows:
        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        click.echo(tabulate(cells, headers="keys", disable_numparse=True))


def as_json_text(value: Any) -> str:
    """Return indented JSON without control characters for a terminal."""
    return printable_json(json.dumps(value, indent=2, ensure_ascii=False))


def show_one(members: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object, one line per member."""
    from tabulate import tabulate

    if as_json:
        click.echo(as_json_text(members))
    else:
        cells = [(_cell(name), _cell(value)) for name, value in members.items()]
        click.echo(tabulate(cells, tablefmt="plain", disable_numparse=True))


def name_damaged(names: Sequence[str]) -> None:
    """Print the names of unreadable records, which a list lacks, to standard error."""
    for name in names:
        echo(f"{name}: the record cannot be read", err=True)


def show_warnings(sentences: Sequence[str], about: str | None = None) -> None:
    """Print warnings to standard error."""
    for sentence in sentences:
        echo(f"warning: {about}: {sentence}" if about else f"warning: {sentence}", err=True)


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _cell(", ".join(f"{name}={one}" for name, one in value.items()))
    if isinstance(value, list | tuple):
        return _cell(", ".join(str(one) for one in value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A token can contain anything: it must not control the terminal or start a row of its own.
    return printable(str(value))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is deleted; without a terminal, exit unless ``--yes`` was given."""
    if yes:
        return
    if not sys.stdin.isatty():
        click.echo("Nothing was done: without a terminal, give --yes to confirm", err=True)
        sys.exit(REFUSED)
    if not click.confirm(printable(question)):
        click.echo("Nothing was done", err=True)
        sys.exit(REFUSED)


def secret_options(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for a file with a secret; without it, a prompt or standard input is read."""
    return click.option(
        f"--{what}-file",
        "file",
        type=click.File("rb"),
        help=f"Read the {what} from a file; - is standard input.",
    )


def read_secret(what: str, file: Any) -> str:
    """Read a secret from a file, standard input or a prompt: other users can see the command line."""
    if file is not None:
        return text_of(what, file.read())
    if sys.stdin.isatty():
        return str(click.prompt(what.capitalize(), hide_input=True, confirmation_prompt=True))
    return text_of(what, sys.stdin.buffer.read())


def text_of(what: str, data: bytes) -> str:
    """Decode the content of a file, without a line end at its end; raise ``InvalidInput`` about the field ``what``."""
    try:
        return utf8.without_line_end(utf8.decode(data))
    except RuleError as error:
        raise InvalidInput.of(what, error.message) from None


def read_token(token: str | None) -> str:
    """Read a token from the command line, or from standard input, which keeps it out of the shell's history."""
    if token is not None and token != "-":  # noqa: S105 - the usual sign for standard input
        return token.strip()
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True)).strip()
    return text_of("token", sys.stdin.buffer.read()).strip()
