"""Commands on the pages of the documentation, and the reference of all commands."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from datafor_token.cli.main import root
from tests.docs.commands import COMMON, PAGE, contexts, options, with_reference, words
from tests.docs.pages import all_pages, text, without_code
from tests.docs.pages import blocks as blocks_of

# These pages explain the former commands to those who upgrade.
UPGRADE = {"CHANGELOG.md", "docs/upgrade.md"}


def lines(block: str) -> Iterator[list[str]]:
    """Yield the words of each ``datafor-token`` in a block of shell, up to a pipe, a redirection or the line's end."""
    block = block.replace("\\\n", " ")
    # Inside quotes, a command substitution is one word.
    for line in [*re.findall(r"\$\(([^()]*)\)", block), *block.splitlines()]:
        if "datafor-token" not in line:
            continue
        found: list[str] | None = None
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        for word in reader:
            if word and set(word) <= set("();<>|&"):
                if found is not None:
                    # The number in `2>&1` is no argument.
                    yield found[:-1] if word[0] in "<>" and found[-1:] == ["2"] else found
                found = None
            elif found is not None and word != "$@":
                found.append(word)
            elif word.rpartition("/")[2] == "datafor-token":
                found = []
        if found is not None:
            yield found


def fault(arguments: list[str], command: click.Command = root, parent: click.Context | None = None) -> str:
    """Return why a command does not take these arguments; empty if it does. Values are not checked."""
    context = click.Context(command, parent, info_name=command.name)
    try:
        _, rest, _ = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError as error:
        return error.format_message()
    if not rest:
        return ""
    found = command.get_command(context, rest[0]) if isinstance(command, click.Group) else None
    return fault(rest[1:], found, context) if found else f"{context.command_path} does not take {rest[0]!r}"


def test_lines() -> None:
    """Commands are found beside pipes, redirections, variables, substitutions, comments and continued lines."""
    block = """
A=1 datafor-token user list --json | datafor-token user show x://lena+2
/opt/bin/datafor-token \\
  serve >log 2>&1  # text
x "$(datafor-token token decode -)"
"""
    found = ["user list --json", "user show x://lena+2", "serve", "token decode -"]
    assert sorted(" ".join(line) for line in lines(block)) == sorted(found)
    assert fault(["user", "list", "--data", "d"]) == fault(["--data", "d", "user", "list", "--json"]) == ""
    assert fault(["user", "lisst"])
    assert fault(["user", "list", "--jsn"])
    assert fault(["user", "list", "lena"])


@pytest.mark.parametrize("page", all_pages())
def test_every_command_that_is_shown_exists(page: str) -> None:
    """Each ``datafor-token`` line of a page, in a block or in the text, has a command and options that exist."""
    inline = re.findall(r"(?<!`)`([^`\n]*(?:\n[^`\n]*)?)`", without_code(page))
    shown = [*blocks_of(page, "sh"), *(code.replace("\n", " ") for code in inline if " " in code)]
    faults = {" ".join(arguments): fault(arguments) for block in shown for arguments in lines(block)}
    assert {line: reason for line, reason in faults.items() if reason} == {}


@pytest.mark.parametrize("page", sorted(set(all_pages()) - UPGRADE))
def test_no_page_shows_the_former_commands(page: str) -> None:
    """``flask user`` and the like are on the page about upgrades only."""
    groups = "|".join(root.list_commands(click.Context(root)))
    assert re.findall(rf"\bflask (?:{groups})\b", text(page)) == []


def test_the_reference() -> None:
    """The page has the reference that ``python -m tests.docs.commands`` writes."""
    assert text(PAGE) == with_reference(text(PAGE))


def test_every_option_is_on_the_page() -> None:
    """The page has each option of each command; it explains those of every command once."""
    before = text(PAGE).partition("\n## Reference\n")[0]
    assert all(f"`{name}" in before for name in COMMON)
    for context in contexts():
        section = text(PAGE).partition(f"\n### `{words(context)}`\n")[2].partition("\n### ")[0]
        assert [one.opts[0] for one in options(context) if f"`{one.opts[0]}" not in section] == []
        assert f"\ndatafor-token {words(context)}" in section
