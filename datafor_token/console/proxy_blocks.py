"""Configurations of reverse proxies for one application: the files of the guide, with the names of the application.

The page "Protect an application" has each shipped file word for word, and belongs to the installed package.
"""

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from datafor_token.applications.record import Application
from datafor_token.web.guide.pages import folder

_PAGE = "protect.md"
_APPLICATION_HOST, _CONSOLE_HOST = "reports.intra.example", "datafor.intra.example"
_HOST = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
# ``token=`` as the name of a parameter, such as in ``[?&]token=``.
_PARAMETER = re.compile(r"(?<![A-Za-z0-9_$-])token=")
_TRAEFIK_PARAMETER = re.compile(r"QueryRegexp\(`token`")


class Proxy(NamedTuple):
    """A reverse proxy: its name, the name of its file, the language of the block on the page, and a check of the file.

    ``options`` is the text after which the options of the check stand.
    """

    name: str
    file: str
    language: str
    check: str
    options: str


PROXIES: Mapping[str, Proxy] = {
    "nginx": Proxy("nginx", "nginx.conf", "nginx", "nginx -t -c FILE", 'set $datafor_options "'),
    "caddy": Proxy(
        "Caddy", "Caddyfile", "caddy", "caddy validate --config FILE", "/datafor/auth/check?redirect=1&cookies=1"
    ),
    "traefik": Proxy("Traefik", "traefik.yml", "yaml", "", "/datafor/auth/check?redirect=1&cookies=1"),
}


def block_for(proxy: Proxy, application: Application, application_host: str, console_host: str) -> str:
    """Return the complete file of a proxy for an application.

    It takes tokens in the parameter of the application, and lets in only who signed in with one of its tokens. The
    hosts replace those of the file if they are host names.
    """
    lines = _shipped(proxy.language).splitlines(keepends=True)
    option = f"&application={quote(application.name, safe='')}"
    text = "".join(_with_names(proxy, line, application.token_name, option) for line in lines)
    for stand_in, host in ((_APPLICATION_HOST, application_host), (_CONSOLE_HOST, console_host)):
        if _HOST.fullmatch(host) and not host.replace(".", "").isdigit():
            text = text.replace(stand_in, host)
    return text


def _with_names(proxy: Proxy, line: str, token_name: str, option: str) -> str:
    if not line.lstrip().startswith("#"):
        line = _PARAMETER.sub(f"{token_name}=", line)
        line = _TRAEFIK_PARAMETER.sub(f"QueryRegexp(`{token_name}`", line)
    # Also in the comments: a path with a requirement of its own needs this one too.
    before, found, after = line.partition(proxy.options)
    return f"{before}{found}{option}{after}" if found else line


@functools.cache
def _shipped(language: str) -> str:
    """Return the configuration of that language on the page; of its blocks, the longest."""
    text = (folder() / _PAGE).read_text(encoding="utf-8")
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return max(blocks, key=len)
