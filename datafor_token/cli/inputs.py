"""Input of commands: secrets and tokens from files, standard input and prompts; confirmations."""

import io
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import click

from datafor_token.cli.failures import Failed
from datafor_token.errors import InvalidInput, RuleError
from datafor_token.printable import printable
from datafor_token.validation import files, utf8

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is deleted; raise ``Failed`` if the user declines, or without a terminal and ``--yes``."""
    if yes:
        return
    if not has_terminal():
        raise Failed("Nothing was done: without a terminal, give --yes to confirm")
    if not click.confirm(printable(question), err=True):
        raise Failed("Nothing was done")


def secret_options(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for a file with a secret; without it, a prompt or standard input is read."""
    return click.option(
        f"--{what}-file",
        "file",
        type=click.File("rb"),
        help=f"Read the {what} from a file; - is standard input.",
    )


def read_secret(what: str, file: Any, instead: str) -> str:
    """Read a secret from a file, standard input or a prompt: other users can see the command line.

    ``instead``: what to type if it is empty.
    """
    if file is None and has_terminal():
        return str(click.prompt(what.capitalize(), hide_input=True, confirmation_prompt=True, err=True))
    text = text_of(what, file or standard_input())
    if not text:
        raise InvalidInput.of(what, "cannot be empty: use %(instead)s", instead=instead)
    return text


def text_of(what: str, file: BinaryIO) -> str:
    """Return the text of a file, without a line end at its end; raise ``InvalidInput`` about the field ``what``."""
    data = file.read(files.LARGEST + 1)
    if len(data) > files.LARGEST:
        raise InvalidInput.of(what, "is larger than 1 MiB")
    try:
        return utf8.without_line_end(utf8.decode(data))
    except RuleError as error:
        raise InvalidInput.of(what, error.message) from None


def read_token(token: str | None) -> str:
    """Read a token from the command line, or from standard input, which keeps it out of the shell's history."""
    if token is not None and token != "-":  # noqa: S105 - the usual sign for standard input
        return token.strip()
    if has_terminal():
        return str(click.prompt("Token", hide_input=True, err=True)).strip()
    text = text_of("token", standard_input()).strip()
    if not text:
        raise InvalidInput.of("token", "cannot be empty: give it as an argument or on standard input")
    return text


def has_terminal() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def standard_input() -> BinaryIO:
    """Return standard input; an empty file if the caller closed it."""
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer
