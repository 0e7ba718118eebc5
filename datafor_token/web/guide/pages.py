"""Pages of the guide: the Markdown files of one folder."""

import functools
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

if TYPE_CHECKING:
    from datafor_token.web.guide.markdown import Heading

INDEX = "index"
_PICTURES = "pictures"
PICTURE_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml",
}  # fmt: skip
# These pages are listed last.
_FOR_MAINTAINERS = ("architecture", "behaviour", "performance")
_PACKAGE = Path(__file__).parent.parent.parent
_FEWEST_HEADINGS = 3  # of a page with a table of contents


def folder() -> Path:
    """Return the folder of the pages: inside an installed package, or beside the package in a checkout."""
    installed = _PACKAGE / "docs"
    return installed if installed.is_dir() else _PACKAGE.parent / "docs"


@dataclass(frozen=True)
class Page:
    """Rendered page: its name (``index`` for the first), its title, its content as HTML, and its table of contents."""

    name: str
    title: str
    html: str
    contents: Sequence["Heading"]


class Guide:
    """The pages of a folder. The list is read once."""

    def __init__(self, pages: Path) -> None:
        self._folder = pages

    @functools.cached_property
    def titles(self) -> Mapping[str, str]:
        """Titles of all pages, by name: the index, the others in its order, then those that it does not link to."""
        found = sorted(path.stem for path in self._folder.glob("*.md"))
        linked = re.findall(r"\]\(([\w-]+)\.md", self._text(INDEX)) if INDEX in found else []
        ranks = {name: rank for rank, name in enumerate(dict.fromkeys([INDEX, *linked]))}
        found.sort(key=lambda name: (name in _FOR_MAINTAINERS, ranks.get(name, len(ranks))))
        return {name: "Start" if name == INDEX else self._title(name) for name in found}

    @functools.cached_property
    def for_maintainers(self) -> Sequence[str]:
        """Names of the pages for maintainers."""
        return [name for name in self.titles if name in _FOR_MAINTAINERS]

    @functools.cached_property
    def pictures(self) -> Mapping[str, Path]:
        """Files of the pictures, by name."""
        return {path.name: path for path in self._folder.glob(f"{_PICTURES}/*") if path.suffix in PICTURE_TYPES}

    def page(self, name: str) -> Page | None:
        """Render a page; return None if it does not exist."""
        if name not in self.titles:
            return None
        # Imported here, because it takes 70 ms and most processes never show a page.
        from datafor_token.web.guide import markdown  # noqa: PLC0415

        links = _Links(self, docs_of(name))
        rendered = markdown.render(self._text(name), links.link, links.picture)
        parts = [heading for heading in rendered.headings if heading.level in (2, 3)]
        titles = [heading.text for heading in rendered.headings if heading.level == 1]
        return Page(name, titles[0] if titles else name, rendered.html, parts if len(parts) >= _FEWEST_HEADINGS else ())

    def _title(self, name: str) -> str:
        found = re.search(r"^# +(.+?) *$", self._text(name), re.MULTILINE)
        return found[1].replace("`", "") if found else name

    def _text(self, name: str) -> str:
        return (self._folder / f"{name}.md").read_text(encoding="utf-8")


def docs_of(name: str) -> str:
    """Return the relative URL of the folder ``/docs/`` on a page, so that a page does not depend on path prefixes."""
    return "" if name == INDEX else "../"


@dataclass(frozen=True)
class _Links:
    """Addresses in the text of a page, which are relative to the folder of the pages, as URLs."""

    guide: Guide
    docs: str

    def link(self, address: str) -> str | None:
        """Return the URL of a page or a website; None for any other file."""
        url = _split(address)
        if url.scheme in ("http", "https", "mailto") or address.startswith("#"):
            return address
        name, suffix = posixpath.splitext(_local_path(url))
        if suffix != ".md" or name not in self.guide.titles:
            return None
        fragment = f"#{url.fragment}" if url.fragment else ""
        return f"{self.docs}guide{'' if name == INDEX else f'/{name}'}{fragment}"

    def picture(self, address: str) -> str | None:
        """Return the URL of a picture in the folder of pictures; None for any other."""
        parent, name = posixpath.split(_local_path(_split(address)))
        is_ours = parent == _PICTURES and name in self.guide.pictures
        return f"{self.docs}guide/{quote(name)}" if is_ours else None


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        # As `http://[:1]`. An empty address leads nowhere.
        return urlsplit("")


def _local_path(url: SplitResult) -> str:
    """Return the path of a file relative to the folder of the pages; empty for any other URL."""
    if url.scheme or url.netloc or url.path.startswith("/"):
        return ""
    # On GitHub, the path ../docs/x.md is also that of a page.
    folder, _, path = posixpath.normpath(f"docs/{unquote(url.path)}").partition("/")
    return path if folder == "docs" else ""
