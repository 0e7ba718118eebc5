"""The command ``datafor-token``: its groups, its errors, and the modules that it imports."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from datafor_token import __version__
from datafor_token.cli.options import common_options

# Commands and groups by module, with their help. A module is imported when its command runs: importing all of them
# takes longer than most commands.
_MODULES = {
    "serve": ("serve", "Start the server."),
    "drain": ("drain", "Have load balancers send no more requests to this node."),
    "user": ("users", "Manage users."),
    "application": ("applications", "Manage applications."),
    "token": ("tokens", "Generate, explain, decode and revoke tokens."),
    "gate": ("gate", "Manage the keys of signed identities."),
    "store": ("store", "Check, back up, restore and move the stored records."),
    "audit": ("audit", "Search the audit log."),
    "settings": ("settings", "Show and check the settings."),
    "completion": ("completion", "Print the script that completes commands and names in a shell."),
}


# Set by the completion script of a shell, to ask the command for words.
COMPLETE = "_DATAFOR_TOKEN_COMPLETE"


class _Root(click.Group):
    """Group that imports the module of a command when the command runs, and reports every error in one form."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Return the names of all commands, in the order of the help."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """Return a command, or None if it does not exist."""
        return load(cmd_name) if cmd_name in _MODULES else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _MODULES.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run a command line, and exit."""
        if COMPLETE in os.environ:
            # It registers the completion for bash.
            load("completion")
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(arguments, prog_name, **{**extra, "standalone_mode": False})
        except (click.ClickException, click.Abort, OSError) as error:
            # Imported here: most commands succeed.
            from datafor_token.cli import failures

            failure = failures.of_any(error)
            # Also of a command line that cannot be parsed.
            failures.report(failure, as_json="--json" in arguments)
            code = failure.exit_code
        sys.exit(code)


def load(name: str) -> click.Command:
    """Import a command or group."""
    module = importlib.import_module(f"datafor_token.cli.{_MODULES[name][0]}")
    command: click.Command = getattr(module, name)
    return command


@click.command("datafor-token", cls=_Root)
@common_options
@click.version_option(__version__, prog_name="datafor-token")
def root() -> None:
    """Store applications, issue signed tokens for them, and turn a token back into a user.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 3 store unavailable or missing.

    Example: datafor-token serve
    """


def main() -> None:
    """Run the command line."""
    if sys.stdout is not None:
        # JSON and exported files are UTF-8, whatever the locale. A name that is not must not end the command.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    root(prog_name="datafor-token")
