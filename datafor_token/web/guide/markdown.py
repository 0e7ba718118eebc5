"""Renderer of Markdown as GitHub shows it, without raw HTML and without addresses that the page may not load."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

Resolve = Callable[[str], str | None]

_CODE = '<div class="code"><pre tabindex="0" data-copyable><code>{code}</code></pre></div>\n'
# A wide table scrolls within itself, also by the keyboard.
_TABLE = '<div class="scroll" role="group" tabindex="0" aria-label="Table">\n<table>\n'


@dataclass(frozen=True)
class Heading:
    """Heading of a page: its level from 1, its anchor, and its text."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True)
class Rendered:
    """Content of a page, as HTML, and its headings."""

    html: str
    headings: Sequence[Heading]


def render(text: str, link: Resolve, picture: Resolve) -> Rendered:
    """Render a page.

    ``link`` and ``picture`` return the URL for an address in the text. Where they return None, the text of the link or
    the description of the picture remains.
    """
    tokens = _MARKDOWN.parse(text)
    headings = list(_headings(tokens))
    for token in tokens:
        if token.children is not None:
            token.children = list(_resolved(token.children, link, picture))
        if token.type in ("th_open", "td_open"):
            # The page's policy forbids inline styles.
            style = str(token.attrs.pop("style", ""))
            if style:
                token.attrSet("class", style.removeprefix("text-align:"))
    return Rendered(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}), headings)


def _headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give each heading the anchor that it has on GitHub, and yield it."""
    used: Counter[str] = Counter()
    for token, content in itertools.pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = _text(content)
        wanted = anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") or "section"
        while anchor in used:
            anchor = f"{wanted}-{used[wanted]}"
            used[wanted] += 1
        used[anchor] += 1
        token.attrSet("id", anchor)
        yield Heading(int(token.tag[1:]), anchor, text)


def _text(token: Token) -> str:
    """Return the plain text of a heading, or of the description of a picture."""
    parts = [part for part in token.children or () if part.type != "image"]
    return "".join(" " if part.type == "softbreak" else part.content for part in parts)


def _resolved(tokens: Sequence[Token], link: Resolve, picture: Resolve) -> Iterator[Token]:
    """Yield the parts of a line of text with resolved addresses."""
    is_link = False
    for token in tokens:
        if token.type == "link_open":
            url = link(str(token.attrs["href"]))
            is_link = url is not None
            if url is not None:
                token.attrSet("href", url)
                yield token
        elif token.type == "link_close":
            if is_link:
                yield token
        elif token.type == "image":
            url = picture(str(token.attrs["src"]))
            if url is None:
                yield Token("text", "", 0, content=_text(token))
            else:
                token.attrSet("src", url)
                yield token
        else:
            yield token


def _code(_: Any, tokens: Sequence[Token], position: int, *__: Any) -> str:
    # Without the last line break: pasted into a shell, it would run the command.
    return _CODE.format(code=escapeHtml(tokens[position].content.removesuffix("\n")))


def _markdown() -> MarkdownIt:
    # CommonMark and the tables of GitHub. Raw HTML is shown as text.
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.add_render_rule("fence", _code)
    markdown.add_render_rule("code_block", _code)
    markdown.add_render_rule("table_open", lambda *_: _TABLE)
    markdown.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return markdown


_MARKDOWN = _markdown()
