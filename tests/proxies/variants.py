"""Variants of the shipped configurations, made as their comments say."""

import re
from collections.abc import Callable

# Where a configuration has the options of the check, up to the place where they are appended.
_OPTIONS = {
    "nginx": 'set $datafor_options "',
    "caddy": "\thandle {\n\t\treverse_proxy 127.0.0.1:PORT {\n\t\t\trewrite /datafor/auth/check?redirect=1&cookies=1",
    "traefik": "/datafor/auth/check?redirect=1&cookies=1",
    "haproxy": "http-request set-var(txn.datafor_options) str(",
    "apache": 'local options = "',
}
# The first lines of the commented examples for paths.
_PATHS = {
    "nginx": ['if ($uri ~* "^/api/")'],
    "caddy": ["@admin "],
    "traefik": ["reports-admin:", "reports-check-admin:"],
    "haproxy": ["http-request set-var(txn.datafor_options) str(&ignore"],
    "apache": ['{"/admin"'],
}


def uncommented(text: str, first: str) -> str:
    """Remove the comment signs of the line that begins with ``first``, and of those below up to the end of the comment.

    Sentences among them, which no configuration can have, stay as they are.
    """
    lines = text.splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if _is_comment(line) and _bare(line).startswith(first))
    for number in range(begin, len(lines)):
        if not _is_comment(lines[number]):
            break
        if not re.fullmatch(r"[A-Z][a-z]+ .*[a-z][.:]\n", _bare(lines[number])):
            lines[number] = re.sub(r"(?:#|--) ?", "", lines[number], count=1)
    return "".join(lines)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(("#", "--"))


def _bare(line: str) -> str:
    return re.sub(r"^\s*(?:#|--)\s*", "", line)


def public(name: str, text: str) -> str:
    """Let preflights and public paths pass."""
    del name
    first = text.partition("# Preflights (CORS)")[2].splitlines()[1]
    return uncommented(text, _bare(first))


def paths(name: str, text: str) -> str:
    """Have the requirements and options of the examples for paths."""
    for first in _PATHS[name]:
        text = uncommented(text, first)
    return text


def with_options(name: str, text: str, options: str) -> str:
    """Have options of the check for all paths."""
    place = re.escape(_OPTIONS[name]).replace("PORT", r"\d+")
    changed, number = re.subn(f"^([^#\n]*{place})", rf"\g<1>{options}", text, flags=re.MULTILINE)
    assert number == 1
    return changed


def header(name: str, text: str) -> str:
    """Take tokens from a header."""
    text = with_options(name, text, "&header=X-Api-Token")
    if name == "nginx":
        text = uncommented(uncommented(text, 'proxy_set_header X-Api-Token "'), "proxy_set_header X-Api-Token $")
    if name == "caddy":
        text = uncommented(text, "request_header -X-Api-Token")
    for old, new in (
        ("&sent [", "&sent [X-Api-Token, "),
        ("Cookie, Authorization]", "Cookie, Authorization, X-Api-Token]"),
    ):
        text = text.replace(old, new)
    return text


def origins(name: str, text: str) -> str:
    """Have Traefik's static policy; the other proxies add that of the check."""
    if name != "traefik":
        return text
    return uncommented(text, "reports-origins:").replace("datafor-identity]", "datafor-identity, reports-origins]")


VARIANTS: dict[str, Callable[[str, str], str]] = {
    "": lambda _, text: text,
    "public": public,
    "paths": paths,
    "header": header,
    "origins": origins,
    "unlimited": lambda _, text: text.replace("rate=5r/s", "rate=1000r/s"),
}
