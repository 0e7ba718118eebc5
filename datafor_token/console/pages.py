"""Rendering of pages: templates, links, notices, paging and error pages."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from flask import Flask, Response, current_app, g, make_response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from werkzeug.urls import iri_to_uri

from datafor_token.console import assets, csrf, event_words, flashes, history, language
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, gettext, sentence
from datafor_token.errors import DataforTokenError
from datafor_token.validation.names import fold
from datafor_token.web.api.paths import proxy_prefix, root_path
from datafor_token.web.current import current
from datafor_token.web.services import services

T = TypeVar("T")

VERSION = "DATAFOR_TOKEN_VERSION"
PER_PAGE = 100
_LONGEST_SEARCH = 200  # characters

# What happened to a form that is shown again, by the value of ``g.notice``.
NOTICES = {
    "too_large": N_(
        "The text was too large and was not read. Paste only the token, or the part of the text that has it."
    ),
    "switched": N_("Your input is kept, except passwords and secrets: enter them again."),
    "again": N_(
        "You are signed in again. Nothing was saved yet: your input is below, without passwords and secrets; enter "
        "them again."
    ),
    "outdated": N_(
        "Nothing was saved yet, because this page was opened in another session. Your input is below, without "
        "passwords and secrets; enter them again."
    ),
}
_TITLES = {
    400: N_("Invalid request"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    409: N_("Conflict"),
    429: N_("Too many attempts"),
    503: N_("Temporarily unavailable"),
}
_OTHER_TITLE = N_("Something went wrong")


@dataclasses.dataclass(frozen=True)
class Page(Generic[T]):
    """Page ``number`` (from 1) of ``pages`` pages of a list, with its ``items``; the list has ``total`` items."""

    items: Sequence[T]
    number: int
    pages: int
    total: int

    @property
    def numbers(self) -> Sequence[int | None]:
        """The pages that the list links to: the first, the last and those near this one; None stands for a gap."""
        near = sorted({1, self.pages, *range(max(1, self.number - 2), min(self.pages, self.number + 2) + 1)})
        linked: list[int | None] = []
        for number in near:
            if linked and number - 1 != linked[-1]:
                linked.append(None)
            linked.append(number)
        return linked


def init_app(app: Flask, version: str) -> None:
    """Give templates the filters and values that every page needs."""
    app.config[VERSION] = version
    app.context_processor(_context)
    app.jinja_env.filters.update(
        translated=language.translated,
        sentence=language.sentence,
        duration=language.format_duration,
        listed=language.format_list,
        size=language.format_size,
        time=language.format_time,
        number=language.format_number,
        iso=language.iso,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def render(template: str, *, error: DataforTokenError | None = None, **values: Any) -> Response:
    """Return a page as a response; the headers common to all responses keep it out of caches.

    ``error`` is why the request was refused: it sets the status and ``Retry-After``, and the log gives the reason.
    """
    response = make_response(render_template(f"console/{template}", **values))
    if error is not None:
        response.status_code, current().refusal = error.status, error
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
    return flashes.remove_cookie(csrf.set_cookie(response))


def link_to(view: str, **values: Any) -> str:
    """Return the URL path of a view of the console, under the prefix of a trusted proxy."""
    built = url_for(f"{blueprint.name}.{view}", **values)
    return proxy_prefix() + built.removeprefix(current().script_root.rstrip("/"))


def base_url() -> str:
    """Return the URL of this service for links and examples: without PUBLIC_URL, the one that this browser uses."""
    # A forged Host header affects only the page of its sender.
    return f"{services().settings.public_url or current().host_url.rstrip('/')}{root_path()}"


def redirect_to(view: str, **values: Any) -> ResponseReturnValue:
    """Redirect to a view."""
    return redirect_to_path(link_to(view, **values))


def show_once(view: str, result: Mapping[str, Any], **values: Any) -> ResponseReturnValue:
    """Redirect to a view that shows a one-time result, such as a new secret, with ``flashes.take_result``."""
    flashes.keep_result(view, result)
    if "unkept_result" in g:
        # In an outage, it is shown at once. What the view takes from the query, this request has in its own.
        endpoint = f"{blueprint.name}.{view}"
        arguments = next(current_app.url_map.iter_rules(endpoint)).arguments
        return make_response(current_app.view_functions[endpoint](**{name: values[name] for name in arguments}))
    return redirect_to(view, **values)


def redirect_to_sign_in(notice: str) -> Response:
    """Redirect to the sign-in page, with one of ``flashes.SIGN_IN_NOTICES``."""
    return flashes.add_for_sign_in(make_response(redirect_to("sign_in")), notice)


def redirect_to_path(path: str) -> ResponseReturnValue:
    """Redirect to a path of this service; non-ASCII characters are percent-encoded for the header."""
    return redirect(iri_to_uri(path), 303)


def error_page(status: int, message: str, members: Mapping[str, Any]) -> Response:
    """Return the page of an error, with the messages that the API would return."""
    messages = [one for field in members.get("errors", {}).values() for one in field] or [message]
    response = render(
        "error.html",
        code=status,
        title=gettext(_TITLES.get(status, _OTHER_TITLE)),
        messages=[sentence(one) for one in messages],
        reference=members.get("request_id"),
    )
    response.status_code = status
    return response


def page_of(items: Iterable[T], text_of: Callable[[T], str], columns: Mapping[str, Callable[[T], Any]]) -> Page[T]:
    """Return the requested page of the items whose text contains all words of the search, sorted.

    ``columns`` has the sort key of each column that the list can be sorted by; the first is the default.
    """
    words = fold(search()).split()
    found = [item for item in items if all(word in fold(text_of(item)) for word in words)] if words else list(items)
    column, descending = sorting(columns)
    found.sort(key=columns[column], reverse=descending)
    pages = max(1, -(-len(found) // PER_PAGE))
    wanted = current().args.get("page", "1")
    number = min(max(int(wanted), 1), pages) if wanted.isascii() and wanted.isdigit() and len(wanted) < 7 else 1
    return Page(found[(number - 1) * PER_PAGE : number * PER_PAGE], number, pages, len(found))


def args() -> Mapping[str, str]:
    """Return the query of the URL, or that of the form which is shown again after a sign-in."""
    shown_again: str | None = g.get("redisplayed_path")
    return current().args if shown_again is None else dict(parse_qsl(shown_again.partition("?")[2]))


def query(*names: str, longest: int = 128) -> dict[str, str]:
    """Return the given parameters of the URL, shortened, without those that are empty."""
    typed = {name: args().get(name, "").strip()[:longest] for name in names}
    return {name: value for name, value in typed.items() if value}


def search() -> str:
    """Return the text of the search in the URL."""
    return current().args.get("q", "")[:_LONGEST_SEARCH].strip()


def sorting(columns: Iterable[str]) -> tuple[str, bool]:
    """Return the column that the URL asks for, by default the first one, and whether descending (``-`` in front)."""
    wanted = current().args.get("sort", "")
    names = list(columns)
    column = wanted.removeprefix("-")
    g.sorting = (column, wanted.startswith("-")) if column in names else (names[0], False)
    found: tuple[str, bool] = g.sorting
    return found


def _same_page(**changes: Any) -> str:
    """Return the query string of this page with changes; None removes a parameter."""
    values = {**current().args.to_dict(), **changes}
    return "?" + urlencode({name: value for name, value in values.items() if value not in (None, "")})


def _context() -> dict[str, Any]:
    request = current()
    if request.blueprint != blueprint.name:
        return {}
    caller = request.signed_in
    notice = g.get("notice")
    return {
        "link_to": link_to,
        "docs": f"{root_path()}/docs",
        "asset": lambda name: link_to("asset", version=assets.VERSION, name=name),
        "same_page": _same_page,
        "form_token": csrf.token,
        "form_token_field": csrf.FIELD,
        "notice": gettext(NOTICES[notice]) if notice in NOTICES else None,
        "flashes": flashes.take(),
        "sorting": g.get("sorting", ("", False)),
        "outage": g.get("outage"),
        "audit_unreadable": g.get("audit_unreadable", False),
        "me": caller.user if caller else None,
        "administers": bool(caller and caller.is_administrator),
        "view": str(request.endpoint).partition(".")[2],
        "language": language.code(),
        "languages": language.LANGUAGES,
        "now": services().clock() * 1000,
        "event_names": event_words.EVENTS,
        "reason_names": event_words.REASONS_OF_REHEARSALS,
        "milliseconds": history.milliseconds,
        "version": current_app.config[VERSION],
    }
