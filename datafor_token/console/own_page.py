"""The page of the signed-in user: profile, password, personal tokens, sessions."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.console import application_form, confirmation, flashes, guard, pages, user_access
from datafor_token.console.advice import ADVICE
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, gettext, ngettext, sentence
from datafor_token.errors import (
    Conflict,
    DataforTokenError,
    InvalidInput,
    NotFound,
    Overloaded,
    TooManyAttempts,
    TooManyTokens,
    WrongPassword,
)
from datafor_token.requests.schemas import PasswordSchema, PersonalSchema
from datafor_token.web.api.personal import issue_personal
from datafor_token.web.auth import client_address
from datafor_token.web.current import current
from datafor_token.web.services import services

_password, _personal = PasswordSchema(), PersonalSchema()
_TOKEN = {"label": "", "name": "", "expire": ""}
_DAY = 86400  # seconds
_LIFETIMES = (3600, *(days * _DAY for days in (1, 7, 30, 90, 365)))


@blueprint.get("/me")
def own_page() -> ResponseReturnValue:
    """Show profile, personal tokens, sessions and password form; a token that was just issued is shown once."""
    result = flashes.take_result("own_page")
    return _page() if result is None else _page(form=FormState({**_TOKEN, "name": result["name"]}), **_shown(result))


@blueprint.post("/me/password")
def change_password() -> ResponseReturnValue:
    """Change one's own password, which ends all sessions of the user."""
    try:
        wanted = application_form.read(_password, {"old": guard.text("old"), "new": guard.text("new")})
        services().accounts.change_own_password(guard.caller().user, wanted["old"], wanted["new"], client_address())
    except InvalidInput as error:
        return _page(error=error, form=FormState(_TOKEN, application_form.errors_by_field(error)))
    except (WrongPassword, TooManyAttempts, Overloaded) as error:
        form = FormState(_TOKEN, {"old": [sentence(error.message)]})
        return _page(error=error, form=form)
    return pages.redirect_to_sign_in("own_password")


@blueprint.post("/me/token")
def personal_token() -> ResponseReturnValue:
    """Issue a personal token, which is shown once."""
    typed = {name: guard.text(name) for name in _TOKEN}
    form = FormState(typed)
    try:
        wanted = application_form.read(_personal, {name: value for name, value in typed.items() if value})
        application, token, issued = issue_personal(guard.caller().user.name, wanted)
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _page(error=error, form=form)
    except NotFound as error:
        form.errors = {"name": [sentence(error.message)]}
        return _page(error=error, form=form)
    except (Conflict, TooManyTokens) as error:
        return _page(error=error, form=form, conflict=sentence(error.message))
    lifetime = (issued.expires - issued.issued) // 1000
    return pages.show_once("own_page", {"token": token, "name": application.name, "lifetime": lifetime})


@blueprint.get("/me/token/revoke")
def ask_revoke_own_token() -> ResponseReturnValue:
    """Ask before one of one's own personal tokens is revoked."""
    return _ask_revoke(current().args.get("jti", ""))


@blueprint.post("/me/token/revoke")
def revoke_own_token() -> ResponseReturnValue:
    """Revoke one of one's own personal tokens."""
    if not guard.text("confirmed"):
        return _ask_revoke(guard.text("jti"))
    return user_access.revoke_token(guard.caller().user, "own_page")


@blueprint.get("/me/sessions/end")
def ask_end_own_sessions() -> ResponseReturnValue:
    """Ask before all of one's own sessions end."""
    return _ask_end_all()


@blueprint.post("/me/sessions/end")
def end_own_sessions() -> ResponseReturnValue:
    """End one of one's own sessions, or all of them."""
    if guard.text("all") and not guard.text("confirmed"):
        return _ask_end_all()
    return user_access.end_sessions(guard.caller().user, "own_page")


def _ask_revoke(identifier: str) -> ResponseReturnValue:
    listed = services().personal_tokens.listed(guard.caller().user.name)
    label = next((one["label"] for one in listed if one["jti"] == identifier), None)
    if label is None:
        raise NotFound("token not found")
    title, button = gettext("Revoke this token?"), gettext("Revoke token")
    if label:
        title, button = (gettext(text) % {"name": label} for text in (N_("Revoke %(name)s?"), N_("Revoke %(name)s")))
    effect = gettext("It is refused at once, and sessions opened with it end. This cannot be undone.")
    question = confirmation.Question(title, effect, button, pages.link_to("own_page"), fields={"jti": identifier})
    return confirmation.ask(question)


def _ask_end_all() -> ResponseReturnValue:
    number = len(services().session_list.of(guard.caller().user))
    effect = ngettext(
        "Your only session ends: you are signed out here. Your personal tokens remain valid.",
        "All %(num)s sessions end: you are signed out everywhere, also here. Your personal tokens remain valid.",
        number,
    )
    title, button = gettext("End all your sessions?"), gettext("End all sessions")
    back = pages.link_to("own_page")
    return confirmation.ask(confirmation.Question(title, effect % {"num": number}, button, back, fields={"all": "1"}))


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says about a token that was just issued."""
    application = services().registry.get(result["name"])
    return {**result, "verdict": services().signin.explain(result["token"], application), "advice": ADVICE}


def _page(
    *, error: DataforTokenError | None = None, form: FormState | None = None, **values: Any
) -> ResponseReturnValue:
    registry, user = services().registry, guard.caller().user
    choices, _ = registry.applications_of(one for one in registry.index().entries if one.enable and one.self_service)
    return pages.render(
        "own_page.html",
        error=error,
        user=user,
        form=form or FormState(_TOKEN),
        choices=choices,
        lifetimes=_lifetimes(choices),
        labels={
            **application_form.labels(),
            "label": gettext("Label"),
            "name": gettext("Application"),
            "expire": gettext("Lifetime"),
        },
        **user_access.of_user(user),
        **values,
    )


def _lifetimes(choices: Sequence[Application]) -> list[int]:
    """Return the lifetimes, in seconds, that are shorter than that of an application."""
    longest = max((one.expire for one in choices), default=0)
    return [seconds for seconds in _LIFETIMES if seconds < longest]


@guard.redisplays("change_password", "personal_token")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _page(form=FormState({name: str(form.get(name, "")) for name in _TOKEN}))
