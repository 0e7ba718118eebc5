"""The pages of the documentation lead to each other."""

import os
from pathlib import Path

import pytest

from tests.docs.pages import all_pages, anchors, links
from tests.support import ROOT


@pytest.mark.parametrize("page", all_pages())
def test_every_link_resolves(page: str) -> None:
    """Each relative link leads to a file of the repository, and its anchor to a heading."""
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = os.path.normpath(Path(page).parent / name) if name else page
        if not (ROOT / path).exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_guide() -> None:
    """The guide has each page of docs/ once, and README leads to the guide."""
    shown = links("docs/index.md")
    assert sorted(shown) == sorted(path.name for path in ROOT.glob("docs/*.md") if path.name != "index.md")
    assert "docs/index.md" in links("README.md")


def test_pages_stay_in_their_folder() -> None:
    """No page of docs/ links to a file outside docs/: an installed package has that folder only."""
    assert [
        target for page in all_pages() if page.startswith("docs/") for target in links(page) if ".." in target
    ] == []
