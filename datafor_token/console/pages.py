"""How a page is made: template, links, notices, paging; and the page that stands for an error."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from flask import Flask, Response, current_app, g, make_response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from werkzeug.urls import iri_to_uri

from datafor_token.console import assets, csrf, history, language
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, gettext, translated
from datafor_token.errors import DataforTokenError
from datafor_token.validation.names import fold
from datafor_token.web.api.paths import proxy_prefix
from datafor_token.web.current import current
from datafor_token.web.services import services

T = TypeVar("T")

VERSION = "DATAFOR_TOKEN_VERSION"
PER_PAGE = 100
_LONGEST_SEARCH = 200  # characters

# What an address may ask a page to say about what was just done: words of ours, never the address's own.
NOTICES = {
    "saved": N_("Saved."),
    "created": N_("The application was created."),
    "deleted": N_("Deleted."),
    "enabled": N_("Enabled."),
    "disabled": N_("Disabled."),
    "rotated": N_("The application has its new secret."),
    "password": N_("The password was changed. All sessions of this user have ended."),
    "own_password": N_("Your password was changed, and all of your sessions have ended. Sign in with the new one."),
    "signed_out": N_("You are signed out."),
    "nothing": N_("Nothing was selected."),
    "unsent": N_("You are signed in again. What you had asked for was not done: please ask again."),
    "again": N_(
        "You are signed in again, and nothing was saved yet. What you typed is below; passwords and secrets are not "
        "kept: type them again."
    ),
    "stale": N_(
        "Nothing was saved yet: this page was opened in another session. What you typed is below; passwords and "
        "secrets are not kept: type them again."
    ),
}
_TITLES = {
    400: N_("This cannot be done so"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    409: N_("There is one already"),
    429: N_("Too many attempts"),
    503: N_("Not available at the moment"),
}
_OTHERWISE = N_("Something went wrong")


@dataclasses.dataclass(frozen=True)
class Page(Generic[T]):
    """Some of many things: ``items`` of page ``number`` of ``pages`` (from 1), out of ``total``."""

    items: Sequence[T]
    number: int
    pages: int
    total: int


def init_app(app: Flask, version: str) -> None:
    """Give templates what each page needs."""
    app.config[VERSION] = version
    app.context_processor(_context)
    app.jinja_env.filters.update(
        translated=language.translated,
        duration=language.format_duration,
        time=language.format_time,
        number=language.format_number,
        iso=language.iso,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def render(template: str, *, status: int = 200, **values: Any) -> Response:
    """The page of a template, never kept by any cache (the common header says so)."""
    response = make_response(render_template(f"console/{template}", **values), status)
    return csrf.keep(response)


def link_to(view: str, **values: Any) -> str:
    """The address of a view of the console, below what a believed proxy takes away."""
    built = url_for(f"{blueprint.name}.{view}", **values)
    return proxy_prefix() + built.removeprefix(current().script_root.rstrip("/"))


def redirect_to(view: str, done: str | None = None, **values: Any) -> ResponseReturnValue:
    """Go on to a page, which says what was ``done``: one of ``NOTICES``."""
    return go_to(link_to(view, **values, **({"done": done} if done else {})))


def go_to(address: str) -> ResponseReturnValue:
    """Go on to an address of ours, in whatever letters: a header holds ASCII alone."""
    return redirect(iri_to_uri(address), 303)


def made(answer: ResponseReturnValue) -> Response:
    """The answer of a view as the response that it becomes, to be given cookies."""
    response: Response = make_response(answer)
    return response


def retrying(answer: ResponseReturnValue, error: DataforTokenError) -> Response:
    """Return the response with ``Retry-After`` where the error has one."""
    response = made(answer)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def error_page(status: int, message: str, members: Mapping[str, Any]) -> Response:
    """An error as a page: what the call's envelope would say, in the reader's words."""
    title = gettext(_TITLES.get(status, _OTHERWISE))
    errors = [translated(sentence) for sentences in members.get("errors", {}).values() for sentence in sentences]
    said = errors or [translated(message)]
    return render("error.html", status=status, code=status, title=title, said=said, reference=members.get("request_id"))


def page_of(found: Sequence[T], shown: Callable[[T], str] | None = None) -> Page[T]:
    """The page that the address asks for, of what its search keeps; ``shown`` is the text that is searched."""
    wanted = fold(search())
    kept = [one for one in found if shown is None or all(word in fold(shown(one)) for word in wanted.split())]
    pages = max(1, -(-len(kept) // PER_PAGE))
    asked = current().args.get("page", "1")
    number = min(max(int(asked), 1), pages) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 1
    return Page(kept[(number - 1) * PER_PAGE : number * PER_PAGE], number, pages, len(kept))


def search() -> str:
    """What is searched for."""
    return current().args.get("q", "")[:_LONGEST_SEARCH].strip()


def _same_page(**changes: Any) -> str:
    """The query string of this page with changes; ``None`` takes a part away."""
    values = {**current().args.to_dict(), "done": None, **changes}
    return "?" + urlencode({name: value for name, value in values.items() if value not in (None, "")})


def _context() -> dict[str, Any]:
    request = current()
    if request.blueprint != blueprint.name:
        return {}
    notice = g.get("notice") or request.args.get("done", "")
    caller = request.signed_in
    return {
        "link_to": link_to,
        "asset": lambda name: link_to("asset", version=assets.VERSION, name=name),
        "same_page": _same_page,
        "form_token": csrf.token,
        "form_token_field": csrf.FIELD,
        "notice": gettext(NOTICES[notice]) if notice in NOTICES else None,
        "fault": g.get("fault"),
        "audit_unreadable": g.get("audit_unreadable", False),
        "me": caller.user if caller else None,
        "administers": bool(caller and caller.is_administrator),
        "view": str(request.endpoint).partition(".")[2],
        "language": language.code(),
        "languages": language.LANGUAGES,
        "now": services().clock() * 1000,
        "names_of_events": history.EVENTS,
        "milliseconds": history.milliseconds,
        "looked_at": history.LOOKED_AT,
        "version": current_app.config[VERSION],
    }
