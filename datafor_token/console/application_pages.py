"""The pages of one application: create, change, rotate, revoke all tokens, enable, disable and delete."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.applications.rules import DEFAULT_GRACE
from datafor_token.console import (
    application_form,
    confirmation,
    cut_off_form,
    flashes,
    guard,
    history,
    pages,
    trust_form,
)
from datafor_token.console.application_form import FormState
from datafor_token.console.application_list import set_enabled
from datafor_token.console.blueprint import blueprint
from datafor_token.console.durations import to_seconds
from datafor_token.console.language import N_, gettext, sentence
from datafor_token.console.trust_summary import limits_summary, trust_summary
from datafor_token.crypto.algorithms import ALGORITHMS, HMAC_LENGTHS, is_shared
from datafor_token.crypto.damaged_secrets import warnings_about
from datafor_token.crypto.keys import new_secret
from datafor_token.crypto.strength import weakness
from datafor_token.errors import (
    Conflict,
    DataforTokenError,
    InvalidInput,
    MalformedRequest,
    RotationUndone,
)
from datafor_token.printable import printable
from datafor_token.requests.schemas import RotateSchema
from datafor_token.validation.names import USER_TYPES
from datafor_token.web.services import services

_MISTYPED = "the name that was typed is not that of the application"  # for the log
_rotate = RotateSchema()
_ROTATION: dict[str, str] = {"secret": "", "public_key": "", "grace": str(DEFAULT_GRACE // 3600), "unit": "hours"}


@blueprint.get("/new-application")
def new_application() -> ResponseReturnValue:
    """Show the form of a new application."""
    return _new_page(FormState(application_form.new_values()))


@blueprint.post("/new-application")
def create_application() -> ResponseReturnValue:
    """Create an application; refuse a name that exists."""
    values = application_form.from_form(guard.form())
    if guard.text("generate"):
        return _new_page(FormState(_with_generated_secret(values)), generated=True)
    try:
        services().registry.save(application_form.read_update(values), guard.caller().user.name, new=True)
    except InvalidInput as error:
        errors = application_form.errors_by_field(error, values["algorithm"])
        return _new_page(FormState(values, errors), error=error)
    except Conflict as error:
        return _new_page(FormState(values, {"name": [sentence(error.message)]}), error=error)
    flashes.add(N_("Created %(name)s."), name=values["name"])
    return pages.redirect_to("application", name=values["name"])


@blueprint.get("/applications/<name>")
def application(name: str) -> ResponseReturnValue:
    """Show one application: its form, the rotation of its secret, its history."""
    found = services().registry.get(name)
    return _page(found, FormState(application_form.from_application(found)))


@blueprint.post("/applications/<name>")
def change_application(name: str) -> ResponseReturnValue:
    """Save the form of an application; an empty secret keeps the stored one."""
    found = services().registry.get(name)
    values = application_form.from_form(guard.form()) | {"name": found.name}
    if guard.text("generate"):
        return _page(found, FormState(_with_generated_secret(values)), generated=True)
    seen = guard.text("seen")
    if seen and seen != str(found.last_modified_date):
        conflict = gettext("Another user has changed this application. Save again to overwrite their changes.")
        return _page(found, FormState(values), error=Conflict(), conflict=conflict)
    try:
        wanted = application_form.read_update(values, found)
        services().registry.save(wanted, guard.caller().user.name)
    except InvalidInput as error:
        errors = application_form.errors_by_field(error, values["algorithm"])
        return _page(found, FormState(values, errors), error=error)
    except RotationUndone as error:
        field = "secret" if is_shared(values["algorithm"]) else "public_key"
        return _page(found, FormState(values, {field: [sentence(error.message)]}), error=error)
    flashes.add(N_("Saved the changes of %(name)s."), name=found.name)
    return pages.redirect_to("application", name=found.name)


@blueprint.post("/applications/<name>/rotate")
def rotate_application(name: str) -> ResponseReturnValue:
    """Replace the secret by the one that was typed, or generate one and show it once."""
    found = services().registry.get(name)
    typed = {field: guard.text(field) for field in _ROTATION}
    secret = typed["secret"] if is_shared(found.algorithm) else typed["public_key"]
    call = {
        "name": found.name,
        "grace": to_seconds(typed["grace"], typed["unit"], may_be_zero=True),
        **({"secret": secret} if secret else {}),
    }
    try:
        wanted = application_form.read(_rotate, call)
        seen = guard.text("seen")
        # A missing or malformed value does not come from this page: 0 matches no application.
        version = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0
        rotation = services().registry.rotate(wanted["name"], wanted.get("secret"), wanted["grace"], version)
    except Conflict as error:
        conflict = gettext(
            "Nothing was rotated: this application has been changed, perhaps by sending this form twice."
        )
        current = services().registry.get(name)
        return _page(current, FormState(application_form.from_application(current)), error=error, conflict=conflict)
    except InvalidInput as error:
        form = FormState(application_form.from_application(found))
        errors = application_form.errors_by_field(error, found.algorithm)
        return _page(found, form, rotation=FormState(typed, errors), error=error)
    if rotation.secret is None:
        flashes.add(N_("Rotated the secret of %(name)s."), name=found.name)
        return pages.redirect_to("application", name=found.name)
    result = {"secret": rotation.secret, "until": rotation.until, "grace": wanted["grace"]}
    return pages.show_once("generated_secret", result, name=found.name)


@blueprint.get("/applications/<name>/secret")
def generated_secret(name: str) -> ResponseReturnValue:
    """Show a secret that was generated, once."""
    result = flashes.take_result("generated_secret")
    return pages.render("new_secret.html", application=services().registry.get(name), result=result)


@blueprint.post("/applications/<name>/revoke-tokens")
def cut_off_application(name: str) -> ResponseReturnValue:
    """Revoke all tokens of an application issued until now, if its exact name was typed."""
    found = services().registry.get(name)
    cut_off, error = cut_off_form.revoke_all(found.name, None, found.name)
    if error is None:
        flashes.add(N_("Revoked all tokens of %(name)s issued until now."), name=found.name)
        return pages.redirect_to("application", name=found.name)
    return _page(found, FormState(application_form.from_application(found)), error=error, cut_off=cut_off)


@blueprint.post("/applications/<name>/enable")
def enable_application(name: str) -> ResponseReturnValue:
    """Enable an application: its tokens are accepted."""
    found = services().registry.get(name)
    set_enabled(found.name, "1")
    flashes.add(N_("Enabled %(name)s."), name=found.name)
    return pages.redirect_to("application", name=found.name)


@blueprint.get("/applications/<name>/disable")
def ask_disable_application(name: str) -> ResponseReturnValue:
    """Ask before an application is disabled."""
    found = services().registry.get(name)
    return confirmation.ask(
        confirmation.Question(
            gettext("Disable %(name)s?") % {"name": found.name},
            gettext("Its tokens are refused at once, and the sessions that they opened end. You can enable it again."),
            gettext("Disable %(name)s") % {"name": found.name},
            pages.link_to("application", name=found.name),
            services().impact.of_application(found.name),
        )
    )


@blueprint.post("/applications/<name>/disable")
def disable_application(name: str) -> ResponseReturnValue:
    """Disable an application: its tokens are refused, and sessions opened with them end."""
    found = services().registry.get(name)
    set_enabled(found.name, "0")
    undo = flashes.Undo("enable_application", {"name": found.name})
    flashes.add(N_("Disabled %(name)s."), undo, name=found.name)
    return pages.redirect_to("application", name=found.name)


@blueprint.post("/applications/<name>/delete")
def delete_application(name: str) -> ResponseReturnValue:
    """Delete an application if its exact name was typed."""
    found = services().registry.get(name)
    typed = guard.text("typed_name")
    if typed != found.name:
        form = FormState(application_form.from_application(found))
        wrong = gettext("This is not the name of the application: nothing was deleted.")
        error = MalformedRequest(reason=_MISTYPED)
        return _page(found, form, error=error, deletion=FormState({"typed_name": typed}, {"typed_name": [wrong]}))
    services().registry.delete(found.name)
    flashes.add(N_("Deleted %(name)s."), name=found.name)
    return pages.redirect_to("applications")


def _with_generated_secret(values: Mapping[str, Any]) -> dict[str, Any]:
    # No key pair is generated here: its private key belongs to the token issuer alone.
    algorithm = values["algorithm"] if is_shared(values["algorithm"]) else "HS256"
    return {**values, "algorithm": algorithm, "secret": new_secret(algorithm)}


def _choices(form: FormState) -> dict[str, Any]:
    return {
        "algorithms": ALGORITHMS,
        "shared": HMAC_LENGTHS,
        "user_types": USER_TYPES,
        "labels": application_form.labels(),
        "synced": {"name": gettext("Display name"), "email": gettext("Email"), "roles": gettext("Roles")},
        "trust_is_open": trust_form.is_trust_open(form.values, form.errors),
        "limits_are_open": trust_form.is_limits_open(form.values, form.errors),
    }


def _new_page(
    form: FormState, *, error: DataforTokenError | None = None, generated: bool = False
) -> ResponseReturnValue:
    return pages.render("new_application.html", error=error, form=form, generated=generated, **_choices(form))


def _keys(found: Application) -> dict[str, Any] | None:
    """Return the state of the keys of a set or provider, which chose their identifiers, for the page."""
    keys = found.to_response(services().clock()).get("keys")
    return None if keys is None else {**keys, "kids": [printable(kid) for kid in keys["kids"]]}


def _page(
    found: Application,
    form: FormState,
    *,
    error: DataforTokenError | None = None,
    rotation: FormState | None = None,
    deletion: FormState | None = None,
    **values: Any,
) -> ResponseReturnValue:
    now = services().clock()
    return pages.render(
        "application.html",
        error=error,
        application=found,
        form=form,
        rotation=rotation or FormState(_ROTATION),
        deletion=deletion or FormState({"typed_name": ""}),
        weak=weakness(found.algorithm, found.secret),
        keys=_keys(found),
        trust=trust_summary(found),
        limits=limits_summary(found),
        suspicious=[*warnings_about(found.algorithm, found.secret), *policy.warnings_about(found, services().settings)],
        short_password=services().registry.short_password(found),
        previous=found.previous if found.previous_secret(now) is not None else None,
        is_shared=is_shared(found.algorithm),
        events=history.about_application(found.name),
        **_choices(form),
        **cut_off_form.values(services().cut_offs.of_application(found.name), application=found.name) | values,
    )


@guard.redisplays("create_application")
def _redisplay_new(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _new_page(FormState(application_form.from_form(form)))


@guard.redisplays("change_application")
def _redisplay_change(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = services().registry.get(arguments["name"])
    stored = application_form.from_application(found)
    # The typed password was not stored; saving an empty field would remove the stored one.
    values = application_form.from_form(form) | {"name": found.name, "initpwd": stored["initpwd"]}
    return _page(found, FormState(values))


@guard.redisplays("rotate_application")
def _redisplay_rotation(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = services().registry.get(arguments["name"])
    typed = {field: str(form.get(field, "")) for field in _ROTATION}
    return _page(found, FormState(application_form.from_application(found)), rotation=FormState(typed))
