"""The form that revokes all tokens issued until now, of a user or of an application, and the cut-offs in force."""

from collections.abc import Sequence
from typing import Any

from datafor_token.console import guard
from datafor_token.console.application_form import FormState
from datafor_token.console.language import gettext, sentence
from datafor_token.errors import DataforTokenError, MalformedRequest, NotFound
from datafor_token.tokens.cut_offs import CutOff
from datafor_token.web.services import services

_MISTYPED = "the name that was typed is not the one to confirm"  # for the log
_EMPTY = {"application": "", "cut_off_name": ""}


def revoke_all(
    confirmed: str, user: str | None, application: str | None = None
) -> tuple[FormState, DataforTokenError | None]:
    """Revoke all tokens issued until now of a user or an application, if the name ``confirmed`` was typed.

    Those of a user can be limited to the application that was typed. Return the form, and an error if nothing was
    revoked.
    """
    form = FormState({field: guard.text(field) for field in _EMPTY})
    if application is None and form.values["application"]:
        try:
            application = services().registry.get(form.values["application"]).name
        except NotFound as error:
            form.errors = {"application": [sentence(error.message)]}
            return form, error
    if form.values["cut_off_name"] != confirmed:
        form.errors = {"cut_off_name": [gettext("This is not the name: nothing was revoked.")]}
        return form, MalformedRequest(reason=_MISTYPED)
    services().cut_offs.set(user, application, None)
    return form, None


def values(cut_offs: Sequence[CutOff], user: str = "", application: str = "") -> dict[str, Any]:
    """Return the values of the template for the cut-offs in force and for an empty form."""
    confirm = gettext("Type the user name to confirm") if user else gettext("Type the name to confirm")
    return {
        "cut_offs": cut_offs,
        "cut_off": FormState(_EMPTY),
        "cut_off_labels": {"application": gettext("Application"), "cut_off_name": confirm},
        # Milliseconds since 1970, until when tokens without ``iat`` would be refused.
        "cut_off_until": services().cut_offs.wanted(user, application, None).until * 1000,
    }
