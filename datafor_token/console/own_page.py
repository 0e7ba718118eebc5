"""The page of the signed-in user: profile, password, personal token."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import application_form, guard, pages
from datafor_token.console.advice import ADVICE
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import sentence
from datafor_token.errors import DataforTokenError, InvalidInput, Overloaded, TooManyAttempts, WrongPassword
from datafor_token.requests.schemas import PasswordSchema, PersonalSchema
from datafor_token.web.api.personal import issue_personal
from datafor_token.web.auth import client_address
from datafor_token.web.services import services

_password, _personal = PasswordSchema(), PersonalSchema()


@blueprint.get("/me")
def own_page() -> ResponseReturnValue:
    """Show profile, password form and personal tokens."""
    return _page()


@blueprint.post("/me/password")
def change_password() -> ResponseReturnValue:
    """Change one's own password, which ends all sessions of the user."""
    try:
        wanted = application_form.read(_password, {"old": guard.text("old"), "new": guard.text("new")})
        services().accounts.change_own_password(guard.caller().user, wanted["old"], wanted["new"], client_address())
    except InvalidInput as error:
        return _page(error=error, form=FormState({}, application_form.errors_by_field(error)))
    except (WrongPassword, TooManyAttempts, Overloaded) as error:
        form = FormState({}, {"old": [sentence(error.message)]})
        return pages.with_retry_after(_page(error=error, form=form), error)
    return pages.redirect_to("sign_in", "own_password")


@blueprint.post("/me/token")
def personal_token() -> ResponseReturnValue:
    """Issue a personal token, which is shown once."""
    wanted = application_form.read(_personal, {"name": guard.text("name")} if guard.text("name") else {})
    application, token, _ = issue_personal(guard.caller().user.name, wanted)
    return _page(token=token, issuer=application, verdict=services().signin.explain(token, application), advice=ADVICE)


def _page(
    *, error: DataforTokenError | None = None, form: FormState | None = None, **values: Any
) -> ResponseReturnValue:
    registry = services().registry
    choices, _ = registry.applications_of(one for one in registry.index().entries if one.enable and one.self_service)
    return pages.render(
        "own_page.html",
        error=error,
        user=guard.caller().user,
        form=form or FormState({}),
        choices=choices,
        labels=application_form.labels(),
        **values,
    )


@guard.redisplays("change_password", "personal_token")
def _redisplay(_: Mapping[str, Any], __: guard.Form) -> ResponseReturnValue:
    return _page()
