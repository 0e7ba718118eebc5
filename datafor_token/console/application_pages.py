"""The pages of one application: make it, change it, rotate its secret, enable, disable and delete it."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.applications.rules import DEFAULT_GRACE
from datafor_token.console import application_form, guard, history, pages
from datafor_token.console.application_form import Filled
from datafor_token.console.application_list import set_enabled
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import gettext, sentence
from datafor_token.crypto.damaged_secrets import warnings_about
from datafor_token.crypto.keys import ALGORITHMS, HMAC_LENGTHS, is_shared, new_secret
from datafor_token.crypto.strength import weakness
from datafor_token.errors import Conflict, InvalidInput, RotationUndone
from datafor_token.requests.schemas import RotateSchema, UpdateSchema
from datafor_token.validation.names import USER_TYPES
from datafor_token.web.services import services

_update, _rotate = UpdateSchema(), RotateSchema()
_ROTATION: dict[str, str] = {"secret": "", "public_key": "", "grace": str(DEFAULT_GRACE // 3600), "unit": "hours"}


@blueprint.get("/new-application")
def new_application() -> ResponseReturnValue:
    """The empty form."""
    return _new(Filled(application_form.NEW))


@blueprint.post("/new-application")
def create_application() -> ResponseReturnValue:
    """Make an application, unless there is one of that name."""
    values = application_form.from_form(guard.form())
    if guard.text("make"):
        return _new(Filled(_with_made_secret(values)), made=True)
    call = application_form.to_call(values)
    try:
        services().registry.save(application_form.read(_update, call), guard.caller().user.name, new=True)
    except InvalidInput as error:
        # Only the registry knows whether a secret can be left out, and it is asked last: all at once is kinder.
        missing = {} if "secret" in call else {"secret": ["secret is missing: there is no stored one to keep"]}
        every = InvalidInput({**missing, **error.errors})
        return _new(Filled(values, application_form.beside_fields(every, values)), status=400)
    except Conflict as error:
        return _new(Filled(values, {"name": [sentence(error.message)]}), status=409)
    return pages.redirect_to("application", "created", name=values["name"])


@blueprint.get("/applications/<name>")
def application(name: str) -> ResponseReturnValue:
    """One application: its form, its rotation, what happened to it."""
    found = services().registry.get(name)
    return _one(found, Filled(application_form.from_application(found)))


@blueprint.post("/applications/<name>")
def change_application(name: str) -> ResponseReturnValue:
    """Save the form of an application; an empty secret keeps the stored one."""
    found = services().registry.get(name)
    values = application_form.from_form(guard.form()) | {"name": found.name}
    if guard.text("make"):
        return _one(found, Filled(_with_made_secret(values)), made=True)
    seen = guard.text("seen")
    if seen and seen != str(found.last_modified_date):
        notice = gettext("Somebody else changed this application meanwhile. Save once more to replace their changes.")
        return _one(found, Filled(values), status=409, conflict=notice)
    try:
        wanted = application_form.read(_update, application_form.to_call(values))
        services().registry.save(wanted, guard.caller().user.name)
    except InvalidInput as error:
        return _one(found, Filled(values, application_form.beside_fields(error, values)), status=400)
    except RotationUndone as error:
        field = "secret" if is_shared(values["algorithm"]) else "public_key"
        return _one(found, Filled(values, {field: [sentence(error.message)]}), status=409)
    return pages.redirect_to("application", "saved", name=found.name)


@blueprint.post("/applications/<name>/rotate")
def rotate_application(name: str) -> ResponseReturnValue:
    """Give an application a new secret: the typed one, or one that is made here and shown this once."""
    found = services().registry.get(name)
    typed = {field: guard.text(field) for field in _ROTATION}
    secret = typed["secret"] if is_shared(found.algorithm) else typed["public_key"]
    grace = application_form.read_grace(typed["grace"], typed["unit"])
    try:
        wanted = application_form.read(
            _rotate, {"name": found.name, "grace": grace, **({"secret": secret} if secret else {})}
        )
        seen = guard.text("seen")
        # Without what was seen, or with what is no number, it was not this page that was sent.
        known = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0
        rotation = services().registry.rotate(wanted["name"], wanted.get("secret"), wanted["grace"], known)
    except Conflict:
        notice = gettext("Nothing was rotated: this application was changed meanwhile, perhaps by sending this twice.")
        present = services().registry.get(name)
        return _one(present, Filled(application_form.from_application(present)), status=409, conflict=notice)
    except InvalidInput as error:
        values = application_form.from_application(found)
        errors = application_form.beside_fields(error, {"algorithm": found.algorithm})
        return _one(found, Filled(values), rotation=Filled(typed, errors), status=400)
    if rotation.secret is None:
        return pages.redirect_to("application", "rotated", name=found.name)
    return pages.render("new_secret.html", application=found, rotation=rotation, grace=wanted["grace"])


@blueprint.post("/applications/<name>/enable")
def enable_application(name: str) -> ResponseReturnValue:
    """Accept its tokens."""
    set_enabled(name, "1")
    return pages.redirect_to("application", "enabled", name=name)


@blueprint.post("/applications/<name>/disable")
def disable_application(name: str) -> ResponseReturnValue:
    """Refuse its tokens, and end the sessions that they opened."""
    set_enabled(name, "0")
    return pages.redirect_to("application", "disabled", name=name)


@blueprint.post("/applications/<name>/delete")
def delete_application(name: str) -> ResponseReturnValue:
    """Delete an application whose name was typed, exactly."""
    found = services().registry.get(name)
    typed = guard.text("typed_name")
    if typed != found.name:
        values = Filled(application_form.from_application(found))
        wrong = gettext("This is not the name of the application: nothing was deleted.")
        return _one(found, values, status=400, deletion=Filled({"typed_name": typed}, {"typed_name": [wrong]}))
    services().registry.delete(found.name)
    return pages.redirect_to("applications", "deleted")


def _with_made_secret(values: Mapping[str, Any]) -> dict[str, Any]:
    # For a public key nothing can be made here: the private one belongs to whoever signs.
    algorithm = values["algorithm"] if is_shared(values["algorithm"]) else "HS256"
    return {**values, "algorithm": algorithm, "secret": new_secret(algorithm)}


def _choices() -> dict[str, Any]:
    return {
        "algorithms": ALGORITHMS,
        "shared": HMAC_LENGTHS,
        "units": application_form.UNITS,
        "user_types": USER_TYPES,
        "labels": application_form.labels(),
    }


def _new(form: Filled, *, status: int = 200, made: bool = False) -> ResponseReturnValue:
    return pages.render("new_application.html", status=status, form=form, made=made, **_choices())


def _one(
    found: Application,
    form: Filled,
    *,
    status: int = 200,
    rotation: Filled | None = None,
    deletion: Filled | None = None,
    **values: Any,
) -> ResponseReturnValue:
    now = services().clock()
    return pages.render(
        "application.html",
        status=status,
        application=found,
        form=form,
        rotation=rotation or Filled(_ROTATION),
        deletion=deletion or Filled({"typed_name": ""}),
        weak=weakness(found.algorithm, found.secret),
        suspicious=warnings_about(found.algorithm, found.secret),
        short_password=services().registry.short_password(found),
        previous=found.previous if found.previous_secret(now) is not None else None,
        is_shared=is_shared(found.algorithm),
        events=history.about_application(found.name),
        **_choices(),
        **values,
    )


def _new_again(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _new(Filled(application_form.from_form(form)))


def _change_again(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = services().registry.get(arguments["name"])
    stored = application_form.from_application(found)
    # The password was not kept; an empty field would take the stored one away.
    return _one(found, Filled(application_form.from_form(form) | {"name": found.name, "initpwd": stored["initpwd"]}))


def _rotate_again(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = services().registry.get(arguments["name"])
    typed = {field: str(form.get(field, "")) for field in _ROTATION}
    return _one(found, Filled(application_form.from_application(found)), rotation=Filled(typed))


guard.shows_again("create_application", _new_again)
guard.shows_again("change_application", _change_again)
guard.shows_again("rotate_application", _rotate_again)
