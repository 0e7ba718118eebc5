"""Addresses that the pages of the gate lead to: the way back without a token, the sign-in page, our own pages."""

import posixpath
import re
from collections.abc import Collection
from urllib.parse import quote, unquote, urlsplit

from datafor_token.applications.rules import next_path
from datafor_token.errors import RuleError, StoreUnavailable
from datafor_token.gate import forwarded
from datafor_token.web.api.paths import root_path
from datafor_token.web.current import current
from datafor_token.web.services import services

SIGN_IN, ENTER, LEAVE = "/auth/sign-in", "/auth/enter", "/auth/leave"


def own_url(path: str, target: str | None = None) -> str:
    """Return the address of one of our own pages, as browsers see it, with ``target`` as ``next``."""
    return forwarded.with_next(quote(root_path()) + path, target)


def sign_in_url(target: str | None, *, as_other: bool = False) -> str:
    """Return ``SIGN_IN_URL`` with the way back to ``target``, or an empty text if it is not set.

    With ``as_other`` a portal is asked not to sign in again whom it knows (``prompt``: OpenID Connect Core 3.1.2.1).
    """
    url = services().settings.sign_in_url
    if url and as_other and not is_own_page(url):
        url = forwarded.with_parameter(url, "prompt", "login")
    return forwarded.with_next(url, target) if url else ""


def way_back() -> str | None:
    """Return the page of the original request behind a check, without a token, or ``None`` if it is not known."""
    return forwarded.way_back(current().environ, _secrets())


def asked_target() -> str | None:
    """Return ``next`` of this request's query as ``safe_target`` does; ``None`` without one, or if it is not valid."""
    try:
        text = current().args.get("next", "")
        return safe_target(next_path(text)) if text else None
    except RuleError:
        return None


def safe_target(target: str) -> str | None:
    """Return a path of this host without a token in it; ``None`` for one of our own pages, which lead nowhere."""
    return None if is_own_page(target) else forwarded.without_secrets(target, _secrets())


def without_token(target: str) -> str:
    """Return a path of this host without a token in it: its author could sign the browser in as somebody else."""
    return forwarded.without_secrets(target, _secrets()) or "/"


def is_own_page(url: str, *pages: str) -> bool:
    """Return whether a URL leads to one of these pages of ours; without ``pages``, to any below ``/auth/``."""
    parts = urlsplit(url)
    if parts.netloc and parts.netloc.lower() != current().host.lower():
        return False
    path = re.split("[?#]", parts.path, maxsplit=1)[0]
    # As often as proxies and the service may decode it together.
    for _ in range(3):
        path = unquote(path)
    path = posixpath.normpath(path)
    root = root_path()
    return any(path == root + page for page in pages) if pages else f"{path}/".startswith(f"{root}/auth/")


def _secrets() -> Collection[str]:
    """Return the names of the parameters that may have a credential, as far as they are known in an outage."""
    try:
        return {*services().registry.index(thorough=False).token_names, "ticket"}
    except StoreUnavailable:
        return {"ticket"}
