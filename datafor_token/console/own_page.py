"""The page that everybody who is signed in has: who they are, their password, a token of their own."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import application_form, guard, pages
from datafor_token.console.application_form import Filled
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import sentence
from datafor_token.errors import InvalidInput, Overloaded, TooManyAttempts, WrongPassword
from datafor_token.requests.schemas import OptionalNameSchema, PasswordSchema
from datafor_token.web.api.tokens import issue_personal
from datafor_token.web.auth import client_address
from datafor_token.web.services import services

_password, _name = PasswordSchema(), OptionalNameSchema()


@blueprint.get("/me")
def own_page() -> ResponseReturnValue:
    """Profile, password, personal token."""
    return _own()


@blueprint.post("/me/password")
def change_password() -> ResponseReturnValue:
    """A new password for oneself; every session ends, this one too."""
    try:
        wanted = application_form.read(_password, {"old": guard.text("old"), "new": guard.text("new")})
        services().accounts.change_own_password(guard.caller().user, wanted["old"], wanted["new"], client_address())
    except InvalidInput as error:
        return _own(status=400, form=Filled({}, application_form.beside_fields(error, {})))
    except (WrongPassword, TooManyAttempts, Overloaded) as error:
        wrong = {"old": [sentence(error.message)]}
        return pages.retrying(_own(status=error.status, form=Filled({}, wrong)), error)
    return pages.redirect_to("sign_in", "own_password")


@blueprint.post("/me/token")
def personal_token() -> ResponseReturnValue:
    """A token for oneself, shown this once."""
    wanted = application_form.read(_name, {"name": guard.text("name")} if guard.text("name") else {})
    application, token = issue_personal(wanted.get("name"), guard.caller().user.name)
    return _own(token_made=token, of=application)


def _own(*, status: int = 200, form: Filled | None = None, **values: Any) -> ResponseReturnValue:
    registry = services().registry
    offered, _ = registry.applications_of(one for one in registry.index().entries if one.enable and one.self_service)
    return pages.render(
        "own_page.html",
        status=status,
        user=guard.caller().user,
        form=form or Filled({}),
        offered=offered,
        labels=application_form.labels(),
        **values,
    )


def _again(_: Mapping[str, Any], __: guard.Form) -> ResponseReturnValue:
    return _own()


guard.shows_again("change_password", _again)
guard.shows_again("personal_token", _again)
