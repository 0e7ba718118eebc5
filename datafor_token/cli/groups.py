"""Base classes of all commands and groups: what is opened before them, their errors, unexpected arguments."""

import functools
from collections.abc import Callable
from typing import Any

import click

from datafor_token.cli.failures import Failed, failure_of
from datafor_token.cli.options import common_options, folder_options
from datafor_token.cli.parameters import RecordName
from datafor_token.cli.services import open_services
from datafor_token.errors import DataforTokenError, NotFound, StartError


class Command(click.Command):
    """Command that names the argument that it does not expect, and reports errors of the service."""

    # Refused below, with what to type instead.
    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; refuse further arguments."""
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(self._unexpected(ctx, rest[0]), ctx)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; raise ``Failed`` for an error of the service."""
        try:
            return super().invoke(ctx)
        except NotFound as error:
            raise self._not_found(ctx, error) from error
        except (DataforTokenError, StartError) as error:
            raise failure_of(error) from error

    def _unexpected(self, ctx: click.Context, argument: str) -> str:
        files = [name for one in self.params for name in one.opts if name.endswith(("password-file", "secret-file"))]
        if files:
            # Not repeated: it may be the secret.
            return f"Too many arguments. A password or secret is read with {files[0]} or from standard input"
        takes = " ".join(one.make_metavar(ctx) for one in self.params if isinstance(one, click.Argument))
        instead = f"takes only {takes}" if takes else "takes no argument"
        group = ctx.parent.command if ctx.parent else None
        if not takes and isinstance(group, click.Group) and "show" in group.commands and self.name == "list":
            instead += f"; to show one, type `{ctx.parent.command_path} show {argument}`" if ctx.parent else ""
        return f"Unexpected argument: {argument}. `{ctx.command_path}` {instead}"

    def _not_found(self, ctx: click.Context, error: NotFound) -> Failed:
        """Return the error with the name that does not exist, if the command was given exactly one."""
        for parameter in self.params:
            if isinstance(parameter.type, RecordName) and isinstance(ctx.params.get(parameter.name or ""), str):
                kind = parameter.type.kind
                return Failed(
                    f"{kind} '{ctx.params[parameter.name or '']}' does not exist: `datafor-token {kind} list` shows all"
                )
        return failure_of(error)


class Commands(click.Group):
    """Group of such commands."""

    command_class = Command

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        common_options(self)

    def command(  # type: ignore[override]
        self, *args: Any, opens: bool = True, json: bool = True, **kwargs: Any
    ) -> Callable[[Callable[..., Any]], click.Command]:
        """Register a command. With ``opens``, the store must exist and is opened before any prompt.

        Without ``json``, the command prints a file and has no ``--json``.
        """
        wrap = super().command(*args, **kwargs)
        options = common_options if json else folder_options

        def decorator(function: Callable[..., Any]) -> click.Command:
            command: click.Command = wrap(options(_opening(function) if opens else function))
            return command

        return decorator


def _opening(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def opened(*args: Any, **kwargs: Any) -> Any:
        from datafor_token.operations.installation import Opener

        open_services(Opener.COMMAND)
        return function(*args, **kwargs)

    return opened
