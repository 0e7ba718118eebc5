"""Sentences that a page quotes in its tables, for a comparison with those of the program."""

import re

from tests.docs import pages


def section(page: str, heading: str) -> str:
    """Return the text under a heading of a page in ``docs/``, up to the next heading."""
    rest = re.split(rf"^#+ {re.escape(heading)}\n", pages.text(f"docs/{page}.md"), flags=re.MULTILINE)[1]
    return re.split(r"^#+ ", rest, flags=re.MULTILINE)[0]


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the quotes in the first cell of each row of the tables under a heading."""
    # Without the line of a table above its dashes, which names the columns.
    text = re.sub(r"^\|.*\n\|---.*\n", "", section(page, heading), flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[quote.strip() for _, quote in re.findall(r"(`+)(.+?)\1", line.split(" | ")[0])] for line in lines]


def quotes(page: str, heading: str) -> list[str]:
    """Return the quotes of all rows, one list."""
    return [quote for row in rows(page, heading) for quote in row]


def matches(quote: str, sentence: str) -> bool:
    """Return whether a sentence is the quoted one, in which ``...`` stands for anything."""
    return re.fullmatch(re.escape(quote).replace(r"\.\.\.", ".*"), sentence, re.DOTALL) is not None
