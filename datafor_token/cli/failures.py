"""Errors of commands, as one or two lines or as one JSON object, and suggestions of what to type.

Exit codes: 0 done, 1 refused, 2 wrong usage (from click), 3 store unavailable or missing.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from datafor_token.cli.output import as_json_text, discard_output, echo
from datafor_token.errors import DataforTokenError, InvalidInput, StartError, StoreNotReady, StoreUnavailable

# Names that other programs give to the commands.
_SYNONYMS = {
    "create": ("add", "generate", "init"),
    "new": ("add", "generate"),
    "register": ("add",),
    "issue": ("generate",),
    "sign": ("generate",),
    "remove": ("delete",),
    "rm": ("delete",),
    "update": ("set",),
    "change": ("set",),
    "edit": ("set",),
    "get": ("show",),
    "info": ("show",),
    "ls": ("list",),
    "list": ("show",),
    "password": ("passwd",),
    "verify": ("explain", "check"),
    "validate": ("explain", "check"),
    "inspect": ("decode", "show"),
    "import": ("apply", "restore"),
    "dump": ("export", "backup"),
    "save": ("backup",),
    "log": ("audit",),
    "events": ("audit",),
    "config": ("settings",),
    "run": ("serve",),
    "start": ("serve",),
    "server": ("serve",),
    "help": ("--help",),
    "version": ("--version",),
}
_OPTIONS = {
    "-h": "--help",
    "-v": "--version",
    "-V": "--version",
    "-f": "--yes",
    "-y": "--yes",
    "--force": "--yes",
    "--host": "--bind",
    "--port": "--bind",
    "--user": "--username",
}
_SWITCHES = ("--enable", "--enabled", "--disable", "--disabled")


class Failed(click.ClickException):
    """A refused command. ``sentences`` are printed one per line; ``errors`` are those of fields."""

    exit_code = 1

    def __init__(self, *sentences: str, errors: Mapping[str, Sequence[str]] | None = None) -> None:
        self.sentences = sentences
        self.errors = errors
        super().__init__("; ".join(sentences))

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - as click calls it
        """Print the sentences to standard error."""
        for sentence in self.sentences:
            echo(sentence, err=True)


class Unavailable(Failed):
    """The store is unavailable or missing."""

    exit_code = 3


def failure_of(error: DataforTokenError | StartError) -> Failed:
    """Return the failure of a command for an error of the service."""
    if isinstance(error, StartError):
        return (Unavailable if isinstance(error, StoreNotReady) else Failed)(*error.faults)
    if isinstance(error, StoreUnavailable):
        return Unavailable(f"{error.message}: {error.reason}" if error.reason else error.message)
    if isinstance(error, InvalidInput):
        sentences = (sentence for field in error.errors.values() for sentence in field)
        return Failed(*sentences, errors=error.errors)
    return Failed(error.message)


def report(error: click.ClickException, *, as_json: bool) -> None:
    """Print an error to standard error: one or two lines, or one JSON object."""
    if as_json:
        errors = error.errors if isinstance(error, Failed) else None
        members = {"error": _sentence(error), **({"errors": errors} if errors else {}), "exit_code": error.exit_code}
        click.echo(as_json_text(members), err=True)
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError):
        echo(_sentence(error), err=True)
        # The sentence about a command has the names of others.
        if error.ctx and not isinstance(error, click.exceptions.NoSuchCommand):
            _show_example(error.ctx)
    elif isinstance(error, Failed):
        error.show()
    else:
        echo(_sentence(error), err=True)


def _show_example(context: click.Context) -> None:
    if isinstance(context.command, click.Group):
        echo(f"`{context.command_path} --help` shows all commands and options", err=True)
    elif example_of(context.command):
        echo(f"Example: {example_of(context.command)}", err=True)


def example_of(command: click.Command) -> str:
    """Return the command line that the help of a command has as its example, or an empty text."""
    return " ".join((command.help or "").partition("Example: ")[2].split())


def _sentence(error: click.ClickException) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"a command is missing: {', '.join(_typed(error.ctx, one) for one in _names(error.ctx))}"
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        return _of_option(error, error.ctx)
    if isinstance(error, click.exceptions.NoSuchCommand) and error.ctx is not None:
        return _of_command(error.command_name, error.ctx)
    if isinstance(error, click.MissingParameter):
        # A list of choices is on lines of their own.
        return " ".join(error.format_message().split())
    return error.format_message()


def _of_option(error: click.NoSuchOption, context: click.Context) -> str:
    """Return the sentence about an option that does not exist."""
    known = {name for parameter in context.command.get_params(context) for name in parameter.opts}
    name, what = error.option_name, f"No such option: {error.option_name}."
    if f"{name}-file" in known:
        # Every user of the host can list the command lines of all processes.
        return f"{what} Others could read it on the command line: use {name}-file or standard input"
    if name in _SWITCHES and context.parent is not None and "enable" in _names(context.parent):
        return f"{what} Use {' or '.join(_typed(context.parent, one) for one in ('enable', 'disable'))}"
    meant = [_OPTIONS[name]] if _OPTIONS.get(name) in known else error.possibilities
    if meant:
        return f"{what} Did you mean {' or '.join(meant)}?"
    if not name.startswith("--") and any(isinstance(one, click.Argument) for one in context.command.params):
        return f"{what} Type -- before a name that begins with -"
    return what


def _of_command(name: str, context: click.Context) -> str:
    """Return the sentence about a command that does not exist."""
    found = list(dict.fromkeys(_suggestions(name, context)))
    what = f"No such command: {context.command_path} {name}."
    if found:
        return f"{what} Did you mean {' or '.join(_typed(context, one) for one in found[:3])}?"
    return f"{what} Choose from: {', '.join(_names(context))}"


def _typed(context: click.Context, name: str) -> str:
    return f"`{context.command_path} {name}`"


def _names(context: click.Context) -> list[str]:
    return context.command.list_commands(context) if isinstance(context.command, click.Group) else []


def _suggestions(name: str, context: click.Context) -> Iterator[str]:
    """Yield the commands of a group that may be meant, and those of its groups."""
    from difflib import get_close_matches

    names = _names(context)
    options = [option for parameter in context.command.get_params(context) for option in parameter.opts]
    yield from (one for one in _SYNONYMS.get(name, ()) if one in (*names, *options))
    yield from (one for one in names if len(name) > 1 and (one.startswith(name) or name.rstrip("s") in (one, one[:3])))
    yield from get_close_matches(name, names, cutoff=0.7)
    for meant in (name, *_SYNONYMS.get(name, ())):
        for one in names:
            group = context.command.get_command(context, one) if isinstance(context.command, click.Group) else None
            if isinstance(group, click.Group) and meant in group.commands:
                yield f"{one} {meant}"


def of_any(error: click.ClickException | click.Abort | OSError) -> click.ClickException:
    """Return the error to report for one that ended a command."""
    if isinstance(error, click.ClickException):
        return error
    if isinstance(error, OSError):
        discard_output()
        if isinstance(error, FileNotFoundError) and not error.filename:
            return Failed("the current folder was deleted: change to another one")
        return Failed(f"{error.filename or 'cannot read or write'}: {error.strerror}")
    if sys.stderr is not None and sys.stderr.isatty():
        # The terminal has written ^C behind the prompt.
        click.echo(err=True)
    return Failed("Aborted")
