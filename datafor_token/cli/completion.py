"""``datafor-token completion``: scripts that complete commands, options and names in a shell."""

import re

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from datafor_token.cli.groups import Command
from datafor_token.cli.main import COMPLETE

_UNSAFE = re.compile(r"[^\w@%+:,./-]")


@add_completion_class
class _Bash(BashComplete):
    """Completion for bash that quotes words, and prints no error between the prompt and its cursor."""

    # bash inserts a word as it is, and splits ``--data=DIR`` into three words.
    source_template = """\
%(complete_func)s() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
            plain,*) COMPREPLY+=("${line#plain,}") ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and that word."""
        words, incomplete = super().get_completion_args()
        joined = "\0".join(words).replace("\0=\0", "=")
        return joined.split("\0") if words else [], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return the line for a word; a blank in a name would begin the next word."""
        return f"{item.type},{_UNSAFE.sub(lambda found: f'{chr(92)}{found[0]}', str(item.value))}"


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
def completion(shell: str) -> None:
    """Print the script that completes commands, options and names in a shell, for its folder of scripts.

    Example: datafor-token completion bash > ~/.local/share/bash-completion/completions/datafor-token
    """
    kind = get_completion_class(shell)
    context = click.get_current_context().find_root()
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(context.command, {}, "datafor-token", COMPLETE).source())
