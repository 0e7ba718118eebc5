"""``python -m tests.docs.commands``: write the reference of all commands into their page."""

import inspect
from collections.abc import Iterator

import click

from datafor_token.cli.main import root
from tests.docs.pages import text
from tests.support import ROOT

PAGE = "docs/commands.md"
# The reference is the last part of the page.
HEADING = "\n## Reference\n"
# Options of every command, which the page explains once.
COMMON = {"--config", "--data", "--json", "--help"}


def contexts(command: click.Command = root, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield a context for each command that does something, in the order of the help."""
    context = click.Context(command, parent, info_name=command.name)
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from contexts(found, context)


def words(context: click.Context) -> str:
    """Return a command as it is typed after ``datafor-token``, such as ``user add``."""
    return context.command_path.removeprefix("datafor-token ")


def options(context: click.Context) -> list[click.Option]:
    """Return the options of a command that the reference lists."""
    found = [one for one in context.command.get_params(context) if isinstance(one, click.Option) and not one.hidden]
    return [one for one in found if not COMMON & set(one.opts)]


def reference() -> str:
    """Return the reference: for each command its usage, meaning, example and options."""
    return "\n".join(section(context) for context in contexts())


def section(context: click.Context) -> str:
    """Return the section of one command."""
    meaning, _, example = inspect.cleandoc(context.command.help or "").partition("\n\nExample: ")
    lines = [f"### `{words(context)}`", "", meaning, "", "```sh", example.strip(), "```", ""]
    arguments = [one.make_metavar(context) for one in context.command.params if isinstance(one, click.Argument)]
    if arguments:
        lines += [f"Arguments: `{' '.join(arguments)}`", ""]
    rows = [one.get_help_record(context) for one in options(context)]
    if rows:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{_cell(names)}` | {_cell(help_text)} |" for names, help_text in filter(None, rows)]
        lines.append("")
    return "\n".join(lines)


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")


def with_reference(page: str) -> str:
    """Return the text of the page with the present reference."""
    return page.partition(HEADING)[0] + HEADING + "\n" + reference()


if __name__ == "__main__":
    (ROOT / PAGE).write_text(with_reference(text(PAGE)))
