"""The tab of an application's secret or keys: rotate, end the grace period, change the algorithm or the keys.

Nothing else changes a secret. Each change is a question of its own, with the sessions and tokens that it affects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.applications.registry import Preview
from datafor_token.applications.rules import DEFAULT_GRACE
from datafor_token.applications.update import without_grace
from datafor_token.console import (
    application_form,
    application_keys,
    application_tabs,
    confirmation,
    flashes,
    guard,
    pages,
    rehearsals,
)
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.durations import to_seconds
from datafor_token.console.language import N_, gettext, sentence
from datafor_token.console.rehearsals import Trial
from datafor_token.crypto.algorithms import ALGORITHMS, HMAC_LENGTHS, is_shared
from datafor_token.errors import ChangedMeanwhile, Conflict, DataforTokenError, InvalidInput, RotationUndone
from datafor_token.requests.schemas import RotateSchema
from datafor_token.web.services import services

_rotate = RotateSchema()
_ROTATION = {
    "secret": "", "public_key": "", "jwks_uri": "", "grace": str(DEFAULT_GRACE // 3600), "unit": "hours", "seen": "",
}  # fmt: skip


@blueprint.get("/applications/<name>/secret")
def application_secret(name: str) -> ResponseReturnValue:
    """Show the state of an application's secret or keys."""
    found = application_tabs.find(name)
    return application_tabs.render("application_secret", found, **application_keys.state(found))


@blueprint.get("/applications/<name>/new-secret")
def generated_secret(name: str) -> ResponseReturnValue:
    """Show a secret that was generated, once."""
    found = application_tabs.find(name)
    return pages.render("new_secret.html", application=found, result=flashes.take_result("generated_secret"))


@blueprint.get("/applications/<name>/rotate")
def ask_rotate(name: str) -> ResponseReturnValue:
    """Ask before the secret is replaced, for the new one and the grace period of the present one."""
    found = application_tabs.find(name)
    return _rotation(found, FormState({**_ROTATION, "seen": str(found.last_modified_date)}))


@blueprint.post("/applications/<name>/rotate")
def rotate_application(name: str) -> ResponseReturnValue:
    """Replace the secret by the one that was typed, or generate one and show it once."""
    found = application_tabs.find(name)
    typed = {field: guard.text(field) for field in _ROTATION}
    secret = typed["secret"] if is_shared(found.algorithm) else typed["public_key"]
    call = {
        "name": found.name,
        "grace": to_seconds(typed["grace"], typed["unit"], may_be_zero=True),
        **({"secret": secret} if secret else {}),
        **({"jwks_uri": typed["jwks_uri"]} if typed["jwks_uri"] else {}),
    }
    try:
        wanted = application_form.read(_rotate, call)
        if rehearsals.are_wanted():
            preview = services().registry.preview_rotation(
                wanted["name"], wanted.get("secret"), wanted["grace"], wanted.get("jwks_uri")
            )
            return _rotation(found, FormState(typed), trials=_trials_of_rotation(preview))
        rotation = services().registry.rotate(
            wanted["name"], wanted.get("secret"), wanted["grace"], _version(typed["seen"]), wanted.get("jwks_uri")
        )
    except Conflict as error:
        # Without what was typed: sent again, it could rotate a second time.
        current = application_tabs.find(name)
        form = FormState({**_ROTATION, "seen": str(current.last_modified_date)})
        return _rotation(current, form, error=error, is_repeated=True)
    except InvalidInput as error:
        shown = ("secret", "public_key", "jwks_uri", "grace")
        form = FormState(typed, application_form.errors_by_field(error, found.algorithm, shown))
        return _rotation(found, form, error=error)
    if rotation.secret is None:
        flashes.add(N_("Rotated the secret of %(name)s."), name=found.name)
        return pages.redirect_to("application_secret", name=found.name)
    result = {"secret": rotation.secret, "until": rotation.until, "grace": wanted["grace"]}
    return pages.show_once("generated_secret", result, name=found.name)


def _trials_of_rotation(preview: Preview) -> Sequence[Trial]:
    name, later = preview.application.name, preview.after_grace
    if later is None:
        return [Trial({name: preview.application})]
    return [
        Trial({name: preview.application}, gettext("At once")),
        Trial({name: later}, gettext("After the grace period, without the new secret")),
    ]


@blueprint.get("/applications/<name>/end-grace")
def ask_end_grace(name: str) -> ResponseReturnValue:
    """Ask before the grace period of the previous secret ends."""
    found = application_tabs.find(name)
    previous = found.previous
    ended = without_grace(found, found.last_modified_date)
    used = previous is not None and previous.last_used is not None
    return confirmation.ask(
        confirmation.Question(
            gettext("End the grace period of %(name)s?") % {"name": found.name},
            gettext(
                "The old secret is refused at once, and the sessions that its tokens opened end. It has been used "
                "since the rotation: some token issuer may still have it. This cannot be undone."
            )
            if used
            else gettext(
                "The old secret is refused at once, and the sessions that its tokens opened end. It has not been used "
                "since the rotation. This cannot be undone."
            ),
            gettext("End the grace period of %(name)s") % {"name": found.name},
            pages.link_to("application_secret", name=found.name),
            services().impact.of_application(found.name),
            fields={"until": str(previous.until if previous is not None else 0)},
            trials=[Trial({found.name: ended})],
        )
    )


@blueprint.post("/applications/<name>/end-grace")
def end_grace(name: str) -> ResponseReturnValue:
    """End the grace period of the previous secret."""
    if rehearsals.are_wanted():
        return ask_end_grace(name)
    found = application_tabs.find(name)
    until = guard.text("until")
    if found.previous is None or until != str(found.previous.until):
        flashes.add(N_("Nothing was changed: %(name)s has been rotated again."), name=found.name)
        return pages.redirect_to("application_secret", name=found.name)
    services().registry.end_grace(found.name, int(until))
    flashes.add(N_("The grace period of %(name)s has ended: the old secret is refused."), name=found.name)
    return pages.redirect_to("application_secret", name=found.name)


@blueprint.get("/applications/<name>/keys")
def ask_change_keys(name: str) -> ResponseReturnValue:
    """Ask before the algorithm or the source of the keys changes, which has no grace period."""
    found = application_tabs.find(name)
    return _keys(found, FormState({**_stored_keys(found), "seen": str(found.last_modified_date)}))


@blueprint.post("/applications/<name>/keys")
def change_keys(name: str) -> ResponseReturnValue:
    """Change the algorithm or the source of the keys; generate the secret that an algorithm needs, and show it once."""
    found = application_tabs.find(name)
    typed = {field: guard.text(field) for field in (*application_form.KEYS, "seen")}
    version = _version(typed["seen"])
    generated = None if is_shared(found.algorithm) else application_form.generated_secret(typed)
    values = typed if generated is None else {**typed, "secret": generated}

    def build(before: dict[str, Any]) -> Mapping[str, Any]:
        # Otherwise the secret that this form sent or got shown could be replaced, and nobody would know.
        if before["lastModifiedDate"] != version:
            raise ChangedMeanwhile
        return application_form.read_keys(before, values)

    try:
        if rehearsals.are_wanted():
            preview = services().registry.preview_change(found.name, build)
            return _keys(found, FormState(typed), trials=[Trial({found.name: preview.application})])
        services().registry.modify(found.name, build)
    except ChangedMeanwhile as error:
        current = application_tabs.find(name)
        form = FormState({**typed, "seen": str(current.last_modified_date)})
        return _keys(current, form, error=error, is_repeated=True)
    except InvalidInput as error:
        errors = application_form.errors_by_field(error, typed["algorithm"], application_form.KEYS)
        return _keys(found, FormState(typed, errors), error=error)
    except RotationUndone as error:
        field = "secret" if is_shared(typed["algorithm"]) else "public_key"
        return _keys(found, FormState(typed, {field: [sentence(error.message)]}), error=error)
    if generated is not None:
        return pages.show_once("generated_secret", {"secret": generated, "until": 0, "grace": 0}, name=found.name)
    flashes.add(N_("Changed the keys of %(name)s."), name=found.name)
    return pages.redirect_to("application_secret", name=found.name)


def _version(seen: str) -> int:
    """Return the time of the last change that the reader saw (ms since 1970); a malformed one is 0, which none has."""
    return int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0


def _stored_keys(found: Application) -> dict[str, str]:
    values = application_form.from_application(found)
    return {name: values[name] for name in application_form.KEYS}


def _rotation(
    found: Application,
    form: FormState,
    *,
    error: DataforTokenError | None = None,
    is_repeated: bool = False,
    trials: Sequence[Trial] = (),
) -> ResponseReturnValue:
    if found.jwks_uri:
        effect = gettext("The new public key replaces the keys of the provider at once, whatever the grace period.")
    else:
        effect = gettext(
            "New tokens are signed with the new secret. The old secret remains valid for the grace period, so that no "
            "user is locked out. Without a grace period, its sessions and tokens end at once."
        )
    question = confirmation.Question(
        gettext("Rotate the secret of %(name)s?") % {"name": found.name},
        effect,
        gettext("Rotate secret of %(name)s") % {"name": found.name},
        pages.link_to("application_secret", name=found.name),
        services().impact.of_application(found.name),
        template="console/rotate_fields.html",
        trials=trials,
    )
    return confirmation.ask(
        question,
        error,
        form=form,
        labels=application_form.labels(),
        is_shared=is_shared(found.algorithm),
        is_repeated=is_repeated,
    )


def _keys(
    found: Application,
    form: FormState,
    *,
    error: DataforTokenError | None = None,
    is_repeated: bool = False,
    trials: Sequence[Trial] = (),
) -> ResponseReturnValue:
    question = confirmation.Question(
        gettext("Change the algorithm or keys of %(name)s?") % {"name": found.name},
        gettext(
            "The change is in force at once, without a grace period: tokens that were signed otherwise are refused, "
            "and their sessions end. To replace a secret without an outage, rotate it instead."
        ),
        gettext("Change keys of %(name)s") % {"name": found.name},
        pages.link_to("application_secret", name=found.name),
        services().impact.of_application(found.name),
        template="console/key_fields.html",
        trials=trials,
    )
    return confirmation.ask(
        question,
        error,
        application=found,
        form=form,
        labels=application_form.labels(),
        algorithms=ALGORITHMS,
        shared=HMAC_LENGTHS,
        is_repeated=is_repeated,
    )


@guard.redisplays("rotate_application")
def _redisplay_rotation(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    typed = {field: str(form.get(field, "")) for field in _ROTATION}
    return _rotation(application_tabs.find(arguments["name"]), FormState(typed))


@guard.redisplays("change_keys")
def _redisplay_keys(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    typed = {field: str(form.get(field, "")) for field in (*application_form.KEYS, "seen")}
    return _keys(application_tabs.find(arguments["name"]), FormState(typed))


@guard.redisplays("end_grace")
def _redisplay_end_grace(arguments: Mapping[str, Any], _: guard.Form) -> ResponseReturnValue:
    return ask_end_grace(arguments["name"])
