"""The changelog has the form of Keep a Changelog, and leads to the version of the code."""

import datetime as dt
import re

from datafor_token import __version__
from tests.docs.pages import all_pages
from tests.support import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text()
VERSIONS = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (.*)$", TEXT, re.MULTILINE)
# The order of the sections of a version.
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_newest_version() -> None:
    """The newest version is that of the code; changes that are not released yet stand above it."""
    assert VERSIONS[0][0] == __version__
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE) == [
        "[Unreleased]",
        *(f"[{version}] - {date}" for version, date in VERSIONS),
    ]


def test_the_order() -> None:
    """Versions and their dates (ISO 8601) descend."""
    numbers = [tuple(map(int, version.split("."))) for version, _ in VERSIONS]
    dates = [dt.date.fromisoformat(date) for _, date in VERSIONS]
    assert numbers == sorted(set(numbers), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_the_sections() -> None:
    """Each version has the sections of Keep a Changelog, in their order, and each has entries."""
    for text in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        sections = re.findall(r"^### (.*)\n\n- ", text, re.MULTILINE)
        assert sections == re.findall(r"^### (.*)$", text, re.MULTILINE)
        assert sections == [section for section in SECTIONS if section in sections]


def test_the_version_on_the_pages() -> None:
    """Files and pages that name the package or the image name the version of the code."""
    names = [*all_pages(), "compose.yaml", "Containerfile"]
    pattern = re.compile(r"datafor_token(?:-(\d[\d.]*)-py3|:(\d+\.[\d.]*\d))")
    found = {"".join(groups) for name in names for groups in pattern.findall((ROOT / name).read_text())}
    assert found == {__version__}
