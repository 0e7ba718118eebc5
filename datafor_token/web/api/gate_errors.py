"""Errors of the gate in a browser: a page, or a redirect to the page for signing in."""

import logging
from collections.abc import Mapping
from typing import Any

from flask import Response

from datafor_token.errors import NotAuthenticated
from datafor_token.gate import check_options, forwarded
from datafor_token.validation import logs
from datafor_token.web.api.gate_pages import error_page
from datafor_token.web.current import current
from datafor_token.web.services import services

log = logging.getLogger(__name__)


def error_response(status: int, message: str, members: Mapping[str, Any]) -> Response | None:
    """Return the page or redirect for an error of these calls in a browser, or ``None`` for the usual envelope."""
    del members
    request = current()
    if request.endpoint == "gate.check":
        return _redirect_to_sign_in() if status == NotAuthenticated.status else None
    return error_page(status, message) if forwarded.accepts_html(request.environ) else None


def _redirect_to_sign_in() -> Response | None:
    """Return a redirect to ``SIGN_IN_URL`` for a navigation, if the option asks for it, or ``None``."""
    request = current()
    url, environ = services().settings.sign_in_url, request.environ
    options = check_options.parse(environ.get("QUERY_STRING", ""))
    if not url or not options.redirect or not forwarded.is_navigation(environ):
        return None
    if forwarded.is_request_for(environ, url, {request.host, environ.get("HTTP_X_FORWARDED_HOST", "")}):
        # The browser would be redirected in a loop.
        log.warning(logs.event("SIGN_IN_URL is behind the check", advice="exempt its path from the check"))
        return None
    secrets = {*services().registry.index(thorough=False).token_names, "ticket"}
    response = Response(status=302)
    response.headers["Location"] = forwarded.with_next(url, forwarded.way_back(environ, secrets))
    return response
