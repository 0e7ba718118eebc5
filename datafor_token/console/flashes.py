"""Messages about what was just done, and one-time results such as a new secret, for the next page to show once.

They are kept in the session, on the server: a URL can choose neither a message nor a result, and a reload shows neither
again. Before a sign-in there is no session: the notices of the sign-in page have a cookie with the key of a fixed text.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from flask import Response, g

from datafor_token.console import language
from datafor_token.console.language import N_, gettext
from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.gate import forwarded
from datafor_token.users.session_notes import Note
from datafor_token.web import compression
from datafor_token.web.api.paths import cookie_attributes
from datafor_token.web.auth import session_cookie
from datafor_token.web.current import current
from datafor_token.web.services import services

# The notices of the sign-in page, by the value of the cookie.
SIGN_IN_NOTICES = {
    "signed_out": N_("You are signed out."),
    "own_password": N_("Password changed. All your sessions have ended: sign in with the new password."),
    "own_sessions": N_("All your sessions have ended, including this one."),
}
COOKIE = "datafor_notice"
_SECONDS = 60  # that the cookie waits for the sign-in page


@dataclasses.dataclass(frozen=True)
class Undo:
    """The reverse of what a message tells of: the view of a POST, the arguments of its URL and its form fields.

    A list as a field is sent as several fields of that name.
    """

    view: str
    arguments: Mapping[str, str]
    fields: Mapping[str, str | list[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Flash:
    """A message in the reader's language, with its reverse if there is one."""

    text: str
    undo: Undo | None = None


def add(template: str, undo: Undo | None = None, **values: Any) -> None:
    """Show a message, a constant marked by ``N_`` with named values, on the next page.

    If the store cannot keep the message, the page has none: what it tells of has been done.
    """
    _keep({"template": template, "values": values, "undo": None if undo is None else dataclasses.asdict(undo)})


def add_count(one: str, many: str, number: int, undo: Undo | None = None) -> None:
    """Show a message about a number of things, which both texts have as ``%(num)s``, on the next page."""
    undoing = None if undo is None else dataclasses.asdict(undo)
    _keep({"template": one, "many": many, "values": {"num": number}, "undo": undoing})


def take() -> list[Flash]:
    """Return the messages for the page that is being rendered; they are shown once."""
    if not _is_opened():
        return []
    return [*_sign_in_notices(), *(_flash(note) for note in _take(None))]


def keep_result(view: str, result: Mapping[str, Any]) -> None:
    """Keep a result for the page ``view``, which gets it with ``take_result`` once.

    If the store cannot keep it, only this request has it, and must show it: it exists nowhere else.
    """
    if not _keep({"view": view, "result": dict(result)}):
        g.unkept_result = result


def take_result(view: str) -> Mapping[str, Any] | None:
    """Return the result that was kept for this view, or None if there are none left."""
    compression.leave_plain()
    unkept: Mapping[str, Any] | None = g.get("unkept_result")
    if unkept is not None:
        return unkept
    notes = _take(view) if _is_opened() else []
    found: Mapping[str, Any] | None = notes[-1]["result"] if notes else None
    return found


def add_for_sign_in(response: Response, notice: str) -> Response:
    """Let the sign-in page that a redirect leads to show a notice of ``SIGN_IN_NOTICES``."""
    response.set_cookie(COOKIE, notice, max_age=_SECONDS, **cookie_attributes())
    return response


def remove_cookie(response: Response) -> Response:
    """Remove the cookie of a notice that this response shows."""
    if g.get("notice_shown"):
        response.delete_cookie(COOKIE, **cookie_attributes())
    return response


def use_session(cookie: str) -> None:
    """Keep the messages of this request in the session that it opens."""
    g.flash_session = cookie


def _cookie() -> str:
    cookie: str = g.get("flash_session") or (session_cookie() if current().signed_in is not None else "")
    return cookie


def _is_opened() -> bool:
    """Return whether a person opens this page, not a program that looks ahead or a script that needs a part of it."""
    is_part = current().environ.get("HTTP_X_REQUESTED_WITH") == "fetch"
    return current().method != "HEAD" and not forwarded.is_prefetch(current().environ) and not is_part


def _keep(note: Note) -> bool:
    cookie = _cookie()
    try:
        services().session_notes.add(cookie, note)
    except (StoreUnavailable, RecordDamaged):
        return False
    return bool(cookie)


def _take(view: str | None) -> list[Note]:
    with contextlib.suppress(StoreUnavailable, RecordDamaged):
        return services().session_notes.take(_cookie(), lambda note: note.get("view") == view)
    return []


def _sign_in_notices() -> list[Flash]:
    chosen = SIGN_IN_NOTICES.get(current().cookies.get(COOKIE, ""))
    if chosen is None:
        return []
    g.notice_shown = True
    return [Flash(gettext(chosen))]


def _flash(note: Note) -> Flash:
    undo, values = note.get("undo"), note["values"]
    one: str = note["template"]
    many: str | None = note.get("many")
    if many is not None:
        text = language.ngettext(one, many, values["num"])
        values = {"num": language.format_number(values["num"])}
    else:
        text = gettext(one)
    return Flash(text % values if values else text, None if undo is None else Undo(**undo))
