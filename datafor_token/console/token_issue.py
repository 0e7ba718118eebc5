"""The page of tokens, tab Issue: issue a token or a one-time link, and show once how to use it."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.applications.rules import DEFAULT_TICKET
from datafor_token.audit.events import Kind
from datafor_token.console import application_form, flashes, guard, pages, token_content, token_tabs
from datafor_token.console.advice import ADVICE
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import gettext, sentence
from datafor_token.errors import DataforTokenError, Forbidden, InvalidInput, NotFound, TooManyTokens
from datafor_token.requests.schemas import GenerateSchema, LinkSchema
from datafor_token.web.api.paths import MODELER
from datafor_token.web.current import current
from datafor_token.web.services import services

_generate, _link = GenerateSchema(), LinkSchema()
_EMPTY = {"name": "", "username": "", "next": "/", "form": "token", "ttl": str(DEFAULT_TICKET), "privateKey": ""}
_LIFETIMES = (60, 300, 3600, 86400)  # of a link, in seconds


@dataclasses.dataclass(frozen=True)
class Uses:
    """Ways to use a token or a link, as texts to copy; ``curl`` is empty for a link, which works only once."""

    link: str
    iframe: str
    curl: str = ""


@blueprint.get("/tokens/issue")
def issue_token() -> ResponseReturnValue:
    """Show the form; ``name``, ``username`` and ``next`` are its first values."""
    given = {name: current().args.get(name, "")[:2048] for name in ("name", "username", "next")}
    if not given["username"] and services().settings.tokens_may_administer:
        # Elsewhere, a token for the reader would be refused: no token signs in an Administrator.
        given["username"] = guard.caller().user.name
    return _page(FormState({**_EMPTY, **{name: value for name, value in given.items() if value}}))


@blueprint.post("/tokens/issue")
def issue_token_now() -> ResponseReturnValue:
    """Issue a token as ``token/generate`` does, or a link as ``token/link`` does, and show it once."""
    typed = {name: guard.text(name) for name in _EMPTY}
    # A private key is never sent back, not even with an error about it.
    form = FormState({**typed, "privateKey": ""})
    try:
        if not typed["name"]:
            raise InvalidInput.of("name", "can not be empty")
        if not typed["username"]:
            raise InvalidInput.of("username", "can not be empty")
        result = _issue_link(typed) if typed["form"] == "link" else _issue_token(typed)
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _page(form, error=error)
    except (NotFound, TooManyTokens) as error:
        form.errors = {"name": [sentence(error.message)]}
        return _page(form, error=error)
    except Forbidden as error:
        field = "privateKey" if error.message.startswith("privateKey") else "name"
        form.errors = {field: [sentence(error.message)]}
        return _page(form, error=error)
    return pages.show_once("issued_result", result)


@blueprint.get("/tokens/issue/result")
def issued_result() -> ResponseReturnValue:
    """Show the token or link that was just issued, once, with its content and uses."""
    result = flashes.take_result("issued_result")
    values: dict[str, Any] = {"result": result, "tabs": token_tabs.tabs(), "advice": ADVICE}
    if result is None:
        return pages.render("issued_result.html", **values)
    application = _application(result["application"])
    values["application"] = application
    if "ticket" in result:
        values["uses"] = _uses(result["application"], "ticket", result["ticket"], None)
        return pages.render("issued_result.html", **values)
    token = result["token"]
    return pages.render(
        "issued_result.html",
        **values,
        verdict=services().signin.explain(token, application),
        content=token_content.content_of(token, application),
        uses=_uses(result["application"], result["token_name"], token, result["next"]),
    )


def _issue_token(typed: Mapping[str, str]) -> Mapping[str, Any]:
    body = {name: typed[name] for name in ("name", "username", "privateKey") if typed[name]}
    # The target is checked before the token exists, by the rule of a link.
    target = _target(typed)
    wanted = application_form.read(_generate, body)
    application, claims = _application_and_claims(wanted)
    token = services().issuer.issue(Kind.TOKEN_GENERATED, application, wanted.get("privateKey"), claims)
    return {
        **_about(application, claims, target),
        "token": token,
        "token_name": application.token_name,
        "seconds": application.expire,
    }


def _issue_link(typed: Mapping[str, str]) -> Mapping[str, Any]:
    body = {name: typed[name] for name in ("name", "username", "next", "ttl") if typed[name]}
    wanted = application_form.read(_link, body)
    application, claims = _application_and_claims(wanted)
    ticket = services().gate.make_ticket(application, claims, wanted["next"], wanted["ttl"])
    refusal = services().gate.refusal_of_ticket(application, claims)
    return {
        **_about(application, claims, wanted["next"]),
        "ticket": ticket,
        "seconds": wanted["ttl"],
        "refusal": None if refusal is None else sentence(refusal),
    }


def _target(typed: Mapping[str, str]) -> str:
    target: str = application_form.read(_link, {"next": typed["next"] or "/"})["next"]
    return target


def _application_and_claims(wanted: Mapping[str, Any]) -> tuple[Application, dict[str, Any]]:
    application, claims = services().issuer.application_and_claims(wanted, guard.caller().user.name)
    current().application_name = application.name
    return application, claims


def _about(application: Application, claims: Mapping[str, Any], target: str) -> dict[str, Any]:
    return {"application": application.name, "user": claims[application.fieldmap.username], "next": target}


def _application(name: str) -> Application | None:
    """Return the application, unless it was deleted a moment ago."""
    try:
        return services().registry.get(name)
    except NotFound:
        return None


def _uses(name: str, parameter: str, text: str, target: str | None) -> Uses:
    base = pages.base_url()
    query = {parameter: text} if target is None else {parameter: text, "next": target}
    link = f"{base}/auth/enter?{urlencode(query, quote_via=quote)}"
    iframe = f'<iframe src="{link.replace("&", "&amp;")}" title="{name}"></iframe>'
    if target is None:
        return Uses(link, iframe)
    curl = f"curl -H {shlex.quote(f'Authorization: Bearer {text}')} {shlex.quote(f'{base}{MODELER}/user/detail')}"
    return Uses(link, iframe, curl)


def _page(form: FormState, *, error: DataforTokenError | None = None) -> ResponseReturnValue:
    users = [user.name for user in services().accounts.all()[0]]
    lifetimes = [str(seconds) for seconds in _LIFETIMES]
    typed = form.values["ttl"]
    return pages.render(
        "issue_token.html",
        error=error,
        form=form,
        tabs=token_tabs.tabs(),
        forms={"token": gettext("Token"), "link": gettext("One-time link")},
        lifetimes=lifetimes if typed in lifetimes else [typed, *lifetimes],
        users=users[: application_form.MOST_CHOICES],
        **token_tabs.choices(),
    )


@guard.redisplays("issue_token_now")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _page(FormState({name: str(form.get(name, "")) for name in _EMPTY} | {"privateKey": ""}))
