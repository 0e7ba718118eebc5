"""``python -m tests.proxies.page``: copy the shipped configurations into their page of the documentation."""

import re

from tests.proxies.sites import CONFIG
from tests.support import ROOT

PAGE = ROOT / "docs" / "protect.md"
# A paragraph that begins with the name of a file, and a block of code.
_SECTION = re.compile(r"^(`config/([\w.]+)`(?:.+\n)+\n```\w*\n)(?:(?!```).*\n)*(```)$", re.MULTILINE)


def with_configurations(text: str) -> str:
    """Return the page with each configuration replaced by the file that the paragraph above it names."""
    return _SECTION.sub(lambda found: f"{found[1]}{(CONFIG / found[2]).read_text()}{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(with_configurations(PAGE.read_text()))
