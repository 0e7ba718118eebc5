"""``datafor-token completion``: scripts that complete commands and names in a shell."""

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell, to be read when the shell starts.

    Example: datafor-token completion bash > /etc/bash_completion.d/datafor-token
    """
    kind = get_completion_class(shell)
    context = click.get_current_context().find_root()
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(context.command, {}, "datafor-token", "_DATAFOR_TOKEN_COMPLETE").source())
