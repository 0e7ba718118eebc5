"""The page of tokens, tab Check: say what a pasted text is, verify a token step by step, or find a past refusal."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.console import application_form, guard, pages, token_content, token_tabs, user_access
from datafor_token.console.advice import ADVICE, STEPS, advice_for, fixes_for
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import gettext, sentence
from datafor_token.console.pasted_texts import ABOUT, EMPTY, NOTHING
from datafor_token.errors import DataforTokenError, InvalidInput, NotFound
from datafor_token.requests.explain_schema import ExplainSchema
from datafor_token.requests.revoke_schema import RevokeSchema
from datafor_token.tokens import identifiers
from datafor_token.tokens.pasted import Kind, Pasted, recognise
from datafor_token.tokens.verification import Verification
from datafor_token.users.sessions import name_of_cookie
from datafor_token.web.cookies import without_marks
from datafor_token.web.current import current
from datafor_token.web.services import services

_explain, _revoke = ExplainSchema(), RevokeSchema()
_NO_NEED = ("expired", "revoked")  # reasons for which nothing is left to revoke


@blueprint.get("/tokens")
def check_token() -> ResponseReturnValue:
    """Show the form. With a reference (``request_id``) or an identifier (``id``), show what the audit log has about it.

    ``name`` is the application that should accept the token.
    """
    args = {name: current().args.get(name, "").strip()[:64] for name in ("name", "request_id", "id")}
    form = FormState({"token": args["request_id"] or args["id"], "name": args["name"]})
    try:
        if args["request_id"]:
            return _by_reference(form, args["request_id"])
        if args["id"]:
            return _by_identifier(form, application_form.read(_revoke, {"id": args["id"]})["id"])
    except InvalidInput as error:
        form.errors = {
            "token": [message for one in application_form.errors_by_field(error).values() for message in one]
        }
        return _page(form, error=error)
    except NotFound as error:
        form.errors = {"token": [sentence(error.message)]}
        return _page(form, error=error)
    return _page(form, is_empty=True)


@blueprint.post("/tokens")
def check_token_now() -> ResponseReturnValue:
    """Show what the pasted text is, and verify it if it is a token. Nothing is changed or stored.

    The page is shown at once: after a redirect, the text would have to be in the URL or in the store.
    """
    name = guard.text("name")
    form = FormState({"token": "", "name": name})
    pasted = recognise(guard.text("token"), services().registry.index().by_token_name.keys())
    if pasted.kind is Kind.IDENTIFIER:
        return pages.redirect_to("check_token", request_id=pasted.text)
    application = None
    try:
        if name:
            application = services().registry.get(application_form.read(_explain, {"name": name, "token": "x"})["name"])
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _page(form, error=error, again=True)
    except NotFound as error:
        form.errors = {"name": [sentence(error.message)]}
        return _page(form, error=error, again=True)
    if pasted.kind is Kind.TOKEN:
        return _token(form, pasted, application)
    return _other(form, pasted)


def _token(form: FormState, pasted: Pasted, application: Application | None) -> ResponseReturnValue:
    verdict = services().signin.explain(pasted.text, application)
    # An identifier is known as soon as a key of an application fits.
    identifier = None if verdict.identifier is None else identifiers.short(verdict.identifier)
    name = verdict.application.name if verdict.application else None
    return _page(
        form,
        pasted=pasted,
        verdict=verdict,
        identifier=identifier,
        user=_existing(verdict),
        can_revoke=identifier is not None and verdict.reason not in _NO_NEED,
        content=token_content.content_of(pasted.text, verdict.application),
        advice=ADVICE.get(verdict.reason or ""),
        fixes=fixes_for(verdict.reason, name, _existing(verdict)),
    )


def _existing(verdict: Verification) -> str | None:
    user = None if verdict.username is None else services().users.get(verdict.username)
    return None if user is None else user.name


def _other(form: FormState, pasted: Pasted) -> ResponseReturnValue:
    if pasted.kind in (Kind.TICKET, Kind.RANDOM):
        find, every = services().known_tokens.find, services().signin.identifiers.every_of_text(pasted.text)
        known = next((found for found in map(find, every) if found is not None), None)
        if known is not None:
            return _page(form, pasted=pasted, known=known, valid_until=services().gate.expiry_of_ticket(pasted.text))
    if pasted.kind in (Kind.SESSION, Kind.RANDOM):
        # The name of the record, or a cookie, with a mark in front if it is for a domain.
        name = name_of_cookie(without_marks([pasted.text])[0]) or pasted.text
        session = services().session_list.find(name)
        if session is not None:
            return _page(form, session=session[1], user=session[0].name, session_kinds=user_access.KINDS)
    about = ABOUT.get(pasted.kind)
    if about is None:
        form.errors = {"token": [gettext(NOTHING if guard.text("token").strip() else EMPTY)]}
        return _page(form, error=InvalidInput.of("token", "is not known"))
    header = token_content.header_of(pasted.text.partition(".")[0]) if pasted.kind is Kind.ENCRYPTED else None
    return _page(form, about=about, header=header)


def _by_reference(form: FormState, reference: str) -> ResponseReturnValue:
    """Show the refusal of a request; without one, the token with this identifier, which looks like a reference."""
    wanted = application_form.read(_explain, {"request_id": reference})["request_id"]
    try:
        refusal = services().past_refusals.find(wanted)
    except NotFound:
        if services().known_tokens.find(wanted) is None:
            raise
        return _by_identifier(form, wanted)
    return _page(
        form,
        refusal=refusal,
        advice=advice_for(refusal),
        fixes=fixes_for(refusal.reason, _registered(refusal.application), refusal.user),
    )


def _by_identifier(form: FormState, identifier: str) -> ResponseReturnValue:
    known = services().known_tokens.find(identifier)
    if known is None:
        raise NotFound("no line of the audit log of this node names this token: it was issued and used elsewhere")
    user = None if known.user is None else services().users.get(known.user)
    return _page(
        form, known=known, user=None if user is None else user.name, application=_registered(known.application)
    )


def _registered(name: str | None) -> str | None:
    """Return the name of an application of the audit log if it still exists."""
    try:
        return None if name is None else services().registry.get(name).name
    except DataforTokenError:
        return None


def _page(form: FormState, *, error: DataforTokenError | None = None, **values: Any) -> ResponseReturnValue:
    return pages.render(
        "check_token.html",
        error=error,
        form=form,
        steps=STEPS,
        tabs=token_tabs.tabs(),
        statuses=user_access.STATUSES,
        **token_tabs.choices(),
        **values,
    )


@guard.redisplays("check_token_now")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _page(FormState({"token": "", "name": str(form.get("name", ""))}), again=True, is_empty=True)
