"""The guide at /docs/guide: the pages of docs/, and a folder of awkward ones."""

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markdown_it import MarkdownIt

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.web.guide.pages import Guide, folder
from tests.support import ROOT, Server

PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
Show = Callable[..., str]


class Document(HTMLParser):
    """Parts of a page: ``ids``, ``urls`` that it links to or loads, the names of elements and of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.urls: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.urls.append(value or "")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def show(app: Flask, tmp_path: Path) -> Show:
    """Write pages, by name, and return the main part of the first, as the guide shows it."""

    def shown(**texts: str) -> str:
        docs = tmp_path / "docs"
        (docs / "pictures").mkdir(parents=True)
        (docs / "pictures" / "a page.png").write_bytes(b"\x89PNG")
        for name, text in texts.items():
            (docs / f"{name}.md").write_text(text, encoding="utf-8")
        app.extensions["datafor_token.guide"] = Guide(docs)
        name = next(iter(texts))
        page = app.test_client().get("/docs/guide" if name == "index" else f"/docs/guide/{name}").text
        return page.partition('<main id="page.content" tabindex="-1">\n')[2].partition("</main>")[0].strip()

    return shown


@pytest.mark.parametrize("path", ["/docs", "/docs/guide"])
def test_a_slash_at_the_end(client: FlaskClient, path: str) -> None:
    """An address with a slash at its end leads to the page without it, under any prefix of a proxy."""
    response = client.get(f"{path}/")
    assert (response.status_code, urljoin(f"/datafor{path}/", response.location)) == (308, f"/datafor{path}")
    assert client.get(path).status_code == 200


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout, the pages are beside the package; an installed package has them inside."""
    assert folder() == ROOT / "docs"
    monkeypatch.setattr("datafor_token.web.guide.pages._PACKAGE", tmp_path / "datafor_token")
    (tmp_path / "datafor_token" / "docs").mkdir(parents=True)
    assert folder() == tmp_path / "datafor_token" / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_docs(client: FlaskClient, name: str) -> None:
    """A page of docs/ has its own title and first heading, and the address of no inline script or style."""
    response = client.get("/docs/guide" if name == "index" else f"/docs/guide/{name}")
    assert (response.status_code, response.mimetype) == (200, "text/html")
    heading = (ROOT / "docs" / f"{name}.md").read_text().partition("\n")[0].removeprefix("# ").replace("`", "")
    assert f"<title>{heading} · datafor_token guide</title>" in response.text
    page = Document(response.text)
    assert not page.attributes & {"style", "onclick", "onerror", "onload"}
    assert "<script>" not in response.text
    assert len(set(page.ids)) == len(page.ids)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_raw_html(name: str) -> None:
    """No page of docs/ has raw HTML, which GitHub interprets and the guide shows as text."""
    tokens = MarkdownIt("commonmark").enable("table").parse((ROOT / "docs" / f"{name}.md").read_text())
    parts = [part for token in tokens for part in (token, *(token.children or ()))]
    assert [part.content for part in parts if part.type.startswith("html_")] == []


@pytest.mark.parametrize("prefix", ["", "/datafor"])
def test_every_link_of_every_page(settings: Settings, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """From the first page, all pages are reached, and every link, anchor, picture and file of theirs exists."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", "the-Password-of-the-tests")
    object.__setattr__(settings, "url_prefix", prefix)
    client = create_app(settings).test_client()
    start = f"{prefix}/docs/guide"
    ids: dict[str, list[str]] = {}
    wanted: list[tuple[str, str]] = [(start, "")]
    for url, source in wanted:
        parts = urlsplit(url)
        if parts.netloc or parts.path in ids:
            continue
        response = client.get(unquote(parts.path))
        assert response.status_code < 400, (source, url)
        assert parts.path.startswith(f"{prefix}/"), (source, url)
        is_page = parts.path.startswith(start) and response.mimetype == "text/html"
        document = Document(response.text if is_page else "")
        ids[parts.path] = document.ids
        wanted += [(urljoin(parts.path, target), url) for target in document.urls]
    assert {f"{start}/{name}" for name in PAGES if name != "index"} <= ids.keys()
    anchors = [(urlsplit(url), source) for url, source in wanted if url.startswith(start) and "#" in url]
    assert [(url, source) for url, source in anchors if unquote(url.fragment) not in ids[url.path]] == []


HOSTILE = [
    "# <img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    'text <b onclick="alert(1)">bold</b> <!-- comment -->',
    "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](&#106;avascript:alert(1)) [d](vbscript:x)",
    "[e](data:text/html;base64,PHNjcmlwdD4=) [f](file:///etc/passwd) [g](//other.example/) [h](/console/)",
    "[i](http://[:1]) [j](../../../etc/passwd) [k](%2e%2e/README.md) [l](\x00.md) [m](ftp://x/)",
    "![n](https://other.example/x.png) ![o](data:image/png;base64,iVBO) ![p](pictures/../../x.png)",
    '```"><script>alert(1)</script>\n</code><script>alert(2)</script>\n```',
    "| <i>a</i> |\n|---|\n| <script>x</script> |",
    '[q](https://other.example/"onclick="alert(1))',
]


def test_hostile_markdown(show: Show) -> None:
    """Raw HTML is text, and neither a link nor a picture has an address that runs code or is on another host."""
    page = show(hostile="\n\n".join(HOSTILE))
    document = Document(page)
    assert document.elements == {"h1", "p", "div", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "a"}
    assert document.attributes == {"id", "class", "tabindex", "data-copyable", "role", "aria-label", "href"}
    assert document.urls == ["https://other.example/%22onclick=%22alert(1)"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "x.png" not in page


def test_links_and_pictures(show: Show) -> None:
    """Links between pages lead to the pages shown; files outside docs/ remain as text, pictures as descriptions."""
    page = show(
        first=(
            "[a](second.md#a-part) [b](./index.md) [c](../docs/second.md) [d](#here) [e](https://example.com/x?y#z) "
            "[`f`](../datafor_token/errors.py) [g](../README.md#start) [h](third.md) [i](second.md/x) [j](second)\n\n"
            "![k](pictures/a%20page.png) ![l *m*\no](../tests/x.png) [![n](pictures/none.png)](second.md)"
        ),
        second="# Second",
        index="# Index",
    )
    assert page == (
        '<p><a href="../guide/second#a-part">a</a> <a href="../guide">b</a> <a href="../guide/second">c</a> '
        '<a href="#here">d</a> <a href="https://example.com/x?y#z">e</a> '
        "<code>f</code> g h i j</p>\n"
        '<p><img src="../guide/a%20page.png" alt="k" /> l m o <a href="../guide/second">n</a></p>'
    )


def test_links_of_the_first_page(app: Flask, show: Show) -> None:
    """The first page is one folder higher than the others; its links and pictures lead to the same."""
    page = show(index="[a](second.md#b) ![c](pictures/a%20page.png)", second="# Second")
    assert Document(page).urls == ["guide/second#b", "guide/a%20page.png"]
    picture = app.test_client().get("/docs/guide/a%20page.png")
    assert (picture.status_code, picture.mimetype, picture.data) == (200, "image/png", b"\x89PNG")


def test_anchors_are_those_of_github(show: Show) -> None:
    """Headings have the anchors that they have on GitHub, and no two the same."""
    page = show(
        anchors="# A page\n## `token/update`\n## Why is it 401?\n## Part\n## Part\n## Part-1\n## Two  words & *more*\n"
        "## 使用 指南\n## Übersicht_x\n## !?\nPart\n----\n## [Link](anchors.md)"
    )
    assert Document(page).ids == [
        "a-page", "tokenupdate", "why-is-it-401", "part", "part-1", "part-1-1", "two--words--more",
        "使用-指南", "übersicht_x", "section", "part-2", "link",
    ]  # fmt: skip


def test_code_and_tables(show: Show) -> None:
    """Code can be copied without its last line break; tables and code scroll, also by the keyboard."""
    page = show(one="```sh\na <b\nc\n```\n\n    d\n\n| a | b | c |\n|---|--:|:-:|\n| 1 | 2 | ~~3~~ |")
    assert '<pre tabindex="0" data-copyable><code>a &lt;b\nc</code></pre>' in page
    assert '<pre tabindex="0" data-copyable><code>d</code></pre>' in page
    assert '<div class="scroll" role="group" tabindex="0" aria-label="Table">\n<table>' in page
    assert '<td>1</td>\n<td class="right">2</td>\n<td class="center"><s>3</s></td>' in page


def test_the_order_of_the_pages(app: Flask, show: Show) -> None:
    """The navigation has the pages in the order of the index, then the others, then those for maintainers."""
    show(
        index="# Welcome\n[c](c.md) [x](architecture.md) [a](a.md#x) [c](c.md)",
        a="# The `a`", b="no title", c="text\n\n# Third\n\n## Part", architecture="# Architecture",
    )  # fmt: skip
    page = app.test_client().get("/docs/guide/c").text
    assert re.findall(r'<a href="\.\./guide/?(\w*)"(?: aria-current="page")?>([^<]+)</a></li>', page) == 2 * [
        ("", "Start"), ("c", "Third"), ("a", "The a"), ("b", "b"), ("architecture", "Architecture"),
    ]  # fmt: skip
    assert page.count('aria-current="page"') == 2
    assert "On this page" not in page


def test_a_table_of_contents(app: Flask, show: Show) -> None:
    """A page with at least three parts lists them."""
    show(long="# Long\n## One\n### Two `x`\n#### Deep\n## Three & more")
    page = app.test_client().get("/docs/guide/long").text
    assert re.findall(r'<li class="(\w+)"><a href="#([\w-]+)">(.+?)</a>', page) == 2 * [
        ("level2", "one", "One"), ("level3", "two-x", "Two x"), ("level2", "three--more", "Three &amp; more"),
    ]  # fmt: skip


def test_a_folder_without_pages(app: Flask, tmp_path: Path) -> None:
    """The guide is 404 where no pages are installed."""
    app.extensions["datafor_token.guide"] = Guide(tmp_path / "none")
    assert app.test_client().get("/docs/guide").status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        "none", "index", "architecture.md", "Architecture", "..", "%2e%2e", "%2e%2e%2fREADME", "..%2fREADME",
        "..%5cREADME", "%2fetc%2fpasswd", "architecture%00", "%00", "%ff", "a" * 5000, ".", "architecture/",
        "pictures", "pictures/x.png", "none.png", "..%2fpictures%2fx.png",
    ],
)  # fmt: skip
def test_unknown_pages(client: FlaskClient, name: str) -> None:
    """Any other name than that of a page or picture is 404, in a browser too."""
    for headers in ({}, BROWSER):
        assert client.get(f"/docs/guide/{name}", headers=headers).status_code == 404


def test_an_unknown_page_in_a_browser(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser gets a page that leads to the others, and other clients get the usual JSON."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", "the-Password-of-the-tests")
    object.__setattr__(settings, "url_prefix", "/datafor")
    client = create_app(settings).test_client()
    for path in ("/datafor/docs/guide/<none>", "/datafor/docs/guide/none.png"):
        response = client.get(path, headers=BROWSER)
        assert (response.status_code, response.mimetype) == (404, "text/html")
        assert "<h1>Page not found</h1>" in response.text
        assert "/datafor/docs/guide/architecture" in Document(response.text).urls
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert client.get(path).json == {"success": False, "code": "404", "msg": "not found"}


def test_the_headers(client: FlaskClient) -> None:
    """A page may load files of this host only; a browser asks again with its ETag, and gets 304."""
    for path in ("/docs/guide", "/docs/guide/architecture", "/docs/guide.css", "/docs/console.js", "/docs/icon.svg"):
        first = client.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        assert first.headers["X-Content-Type-Options"] == "nosniff"
        policy = first.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        same = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (same.status_code, same.data) == (304, b"")
        assert same.headers["ETag"] == first.headers["ETag"]
        assert client.get(path, headers={"If-None-Match": '"other"'}).data == first.data
        assert client.head(path).headers["ETag"] == first.headers["ETag"]


def test_a_page_is_rendered_once(app: Flask, show: Show, tmp_path: Path) -> None:
    """A page that was shown is not read again."""
    show(one="# One")
    (tmp_path / "docs" / "one.md").unlink()
    assert "<h1" in app.test_client().get("/docs/guide/one").text


def test_a_304_leaves_the_connection_usable(server: Server) -> None:
    """Over HTTP, a 304 has no body, and the next request of the connection is served."""
    connection = HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/docs/guide")
    first = connection.getresponse()
    assert b"<main" in first.read()
    for _ in range(2):
        connection.request("GET", "/docs/guide", headers={"If-None-Match": first.headers["ETag"]})
        same = connection.getresponse()
        assert (same.status, same.read(), same.headers["Content-Length"]) == (304, b"", None)
    connection.close()


def test_the_renderer_is_loaded_late(tmp_path: Path) -> None:
    """The renderer is imported with the first page, not at the start, for other calls, or for an unknown page."""
    (tmp_path / "config").mkdir()
    program = (
        "import sys; from pathlib import Path; from datafor_token import create_app\n"
        "from datafor_token.settings import Settings\n"
        "here = Path(sys.argv[1])\n"
        "client = create_app(Settings(config_dir=here / 'config', data_dir=here / 'data')).test_client()\n"
        "for path in ('/docs', '/openapi.json', '/docs/guide/none', '/docs/guide.css', '/docs/guide/architecture'):\n"
        "    print(client.get(path).status_code, 'markdown_it' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-5:] == ["200 False", "200 False", "404 False", "200 False", "200 True"]
