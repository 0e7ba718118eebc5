"""Output of commands.

Standard output has what the command was asked for: a table, a report, a name, a secret, a token, a file. Sentences
about what was done, warnings, questions, progress and errors go to standard error. With ``--json``, standard output has
one JSON document instead, with the warnings inside.
"""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from datafor_token.cli.services import installation
from datafor_token.printable import printable, printable_json
from datafor_token.validation import times

if TYPE_CHECKING:
    from datafor_token.tokens.cut_offs import CutOff

_One = TypeVar("_One")
_MANY = 1000  # steps, above which progress is shown


def echo(line: str, *, err: bool = False) -> None:
    """Print one line, with control characters escaped: text of records and tokens cannot control the terminal."""
    click.echo(printable(line), err=err)


def wants_json() -> bool:
    """Return whether ``--json`` was given."""
    return installation().as_json


def done_once(sentence: str, instead: str, *, result: str, **members: Any) -> None:
    """Report a change as ``done`` does, whose ``result`` nothing can show again: a generated secret or password.

    ``instead``: how to get another one. An output error names the change and this.
    """
    try:
        done(sentence, result=result, **members)
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
    except OSError as error:
        discard_output()
        raise click.ClickException(f"cannot write the result: {error.strerror}. {sentence}: {instead}") from error


def discard_output() -> None:
    """Discard what is still buffered: the interpreter would fail to write it again, and print a traceback."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def done(
    sentence: str, *, result: str | None = None, warnings: Sequence[str] = (), err: bool = False, **members: Any
) -> None:
    """Report a change: ``result`` alone on standard output, or ``members`` as JSON.

    The sentence and the warnings go to standard error; as JSON, the warnings are a member. ``err``: standard output has
    a file, so that JSON goes to standard error too.
    """
    if wants_json():
        click.echo(as_json_text({**members, "warnings": list(warnings)}), err=err)
        return
    show_warnings(warnings)
    echo(sentence, err=True)
    if result is not None:
        echo(result)


def report(*lines: str, warnings: Sequence[str] = (), **members: Any) -> None:
    """Report what was found: lines on standard output, or ``members`` as JSON. Warnings are as in ``done``."""
    if wants_json():
        click.echo(as_json_text({**members, "warnings": list(warnings)}))
        return
    show_warnings(warnings)
    report_lines(*lines)


def report_lines(*lines: str) -> None:
    """Print lines of a report before its end; as JSON, nothing."""
    for line in lines if not wants_json() else ():
        echo(line)


def note(sentence: str) -> None:
    """Print a sentence to standard error; as JSON, nothing, since the document has the same."""
    if not wants_json():
        echo(sentence, err=True)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as JSON, or as a table without colors, which is the same in a pipe."""
    if wants_json():
        click.echo(as_json_text(rows))
    elif rows:
        from tabulate import tabulate

        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        click.echo(tabulate(cells, headers="keys", disable_numparse=True))


def show_dated(rows: Sequence[Mapping[str, Any]], *times_of: str) -> None:
    """Print rows as ``show`` does; a table has dates for the members of these names.

    They are in milliseconds since 1970, or None for never.
    """
    if wants_json():
        show(rows)
    else:
        show([row | {name: _date(row[name]) for name in times_of} for row in map(dict, rows)])


def _date(milliseconds: int | None) -> str:
    return "never" if milliseconds is None else times.show(milliseconds / 1000)


def as_json_text(value: Any) -> str:
    """Return indented JSON without control characters for a terminal."""
    return printable_json(json.dumps(value, indent=2, ensure_ascii=False))


def show_json(members: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(as_json_text(members))


def show_one(members: Mapping[str, Any]) -> None:
    """Print one object as JSON, or one line per member."""
    if wants_json():
        show_json(members)
        return
    from tabulate import tabulate

    cells = [(_cell(name), _cell(value)) for name, value in members.items()]
    click.echo(tabulate(cells, tablefmt="plain", disable_numparse=True))


def shown_cut_offs(found: Sequence["CutOff"]) -> dict[str, Any]:
    """Return the member that shows the cut-offs of a user or application, if there are any."""
    if not found:
        return {}
    return {"cut_offs": [one.to_response() if wants_json() else one.refusal(None) for one in found]}


def name_damaged(names: Sequence[str]) -> None:
    """Print the names of unreadable records, which a list lacks, to standard error."""
    sentences = [f"{name}: the record cannot be read" for name in names]
    if sentences and wants_json():
        # The list has no room for them, and a script must be able to see that it is not complete.
        click.echo(as_json_text({"warnings": sentences}), err=True)
        return
    for sentence in sentences:
        echo(sentence, err=True)


def show_warnings(sentences: Sequence[str]) -> None:
    """Print warnings to standard error."""
    for sentence in sentences:
        echo(f"warning: {sentence}", err=True)


def progress(found: Iterable[_One], number: int, label: str) -> AbstractContextManager[Iterable[_One]]:
    """Return a context that yields ``found`` and shows the progress of long work on standard error."""
    hidden = number <= _MANY or wants_json()
    return click.progressbar(found, length=number, label=label, file=sys.stderr, hidden=hidden)


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _cell(", ".join(f"{name}={one}" for name, one in value.items()))
    if isinstance(value, list | tuple):
        return _cell(", ".join(str(one) for one in value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A token can contain anything: it must not control the terminal or start a row of its own.
    return printable(str(value))
