"""The page of a new application, empty or with the settings of another one."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import application_edits, application_form, flashes, guard, pages, trust_form
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, sentence
from datafor_token.crypto.algorithms import ALGORITHMS, HMAC_LENGTHS, is_shared
from datafor_token.crypto.keys import new_secret
from datafor_token.errors import Conflict, DataforTokenError, InvalidInput
from datafor_token.validation.names import USER_TYPES
from datafor_token.web.current import current
from datafor_token.web.services import services


@blueprint.get("/new-application")
def new_application() -> ResponseReturnValue:
    """Show the form of a new application; the query can name one whose settings it begins with."""
    source = current().args.get("like", "")
    if source:
        found = services().registry.get(source)
        return _page(FormState(application_form.duplicate_values(found)), source=found.name)
    return _page(FormState(application_form.new_values()))


@blueprint.post("/new-application")
def create_application() -> ResponseReturnValue:
    """Create an application; refuse a name that exists."""
    values = application_form.from_form(guard.form())
    if guard.text("generate"):
        return _page(FormState(_with_generated_secret(values)), generated=True)
    generated = None if values["jwks_uri"] else application_form.generated_secret(values)
    try:
        wanted = application_form.read_new(values if generated is None else {**values, "secret": generated})
        services().registry.save(wanted, guard.caller().user.name, new=True)
    except InvalidInput as error:
        errors = application_form.errors_by_field(error, values["algorithm"])
        return _page(FormState(values, errors), error=error)
    except Conflict as error:
        return _page(FormState(values, {"name": [sentence(error.message)]}), error=error)
    flashes.add(N_("Created %(name)s."), name=wanted["name"])
    if generated is not None:
        return pages.show_once("generated_secret", {"secret": generated}, name=wanted["name"])
    return pages.redirect_to("application", name=wanted["name"])


def _with_generated_secret(values: Mapping[str, Any]) -> dict[str, Any]:
    # No key pair is generated here: its private key belongs to the token issuer alone.
    algorithm = values["algorithm"] if is_shared(values["algorithm"]) else "HS256"
    return {**values, "algorithm": algorithm, "secret": new_secret(algorithm)}


def _page(
    form: FormState, *, error: DataforTokenError | None = None, generated: bool = False, source: str = ""
) -> ResponseReturnValue:
    return pages.render(
        "new_application.html",
        error=error,
        form=form,
        generated=generated,
        source=source,
        algorithms=ALGORITHMS,
        shared=HMAC_LENGTHS,
        user_types=USER_TYPES,
        labels=application_form.labels(),
        synced=application_edits.synced_labels(),
        trust_is_open=trust_form.is_trust_open(form.values, form.errors),
        limits_are_open=trust_form.is_limits_open(form.values, form.errors),
    )


@guard.redisplays("create_application")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _page(FormState(application_form.from_form(form)))
