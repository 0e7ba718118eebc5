"""The page of the audit log: filtered events in words, newest first, and their export."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response
from flask.typing import ResponseReturnValue

from datafor_token.audit.filters import Filter
from datafor_token.console import application_form, audit_rows, flashes, guard, history, pages
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.event_words import GROUPS
from datafor_token.console.guard import Form
from datafor_token.console.language import N_, gettext, iso
from datafor_token.errors import InvalidInput
from datafor_token.requests.audit_schema import MOST_TOKENS, AuditSchema
from datafor_token.tokens import verifier
from datafor_token.tokens.pasted import Kind, Pasted, recognise
from datafor_token.web.current import current
from datafor_token.web.services import services

_audit = AuditSchema()
_FILTERS = ("q", "event", "user", "application", "id", "address", "request_id", "since", "until")
# Beside tokens, which become identifiers.
_SECRETS = (Kind.PASSWORD, Kind.PRIVATE_KEY, Kind.ENCRYPTED, Kind.PASETO, Kind.SAML)
_LONGEST = 300  # characters of a field; eight identifiers have 263
_PRESETS = {
    "1h": N_("Last hour"), "today": N_("Today"), "24h": N_("24 hours"), "7d": N_("7 days"), "30d": N_("30 days"),
}  # fmt: skip


@blueprint.get("/audit")
def audit() -> ResponseReturnValue:
    """Show a page of the events that match the filters."""
    if "token" in current().args:
        # A link with a token: it must not remain in the address.
        return pages.redirect_to("audit", **_filters({**current().args}))
    query = query_of_page()
    page = current().args.get("page", "")[:_LONGEST]
    form = FormState({**dict.fromkeys(_FILTERS, ""), **query, "page": page})
    try:
        wanted = application_form.read(_audit, {**query, **({"page": page} if page else {})})
        found = services().audit.page(Filter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _page(form, error=error)
    rows = [audit_rows.row(event) for event in found.events]
    is_short = found.next is not None and len(rows) < wanted["limit"]
    looked_back_to = history.milliseconds({"time": found.looked_back_to}) if is_short and found.looked_back_to else None
    return _page(form, rows=rows, older=found.next, is_short=is_short, looked_back_to=looked_back_to)


@blueprint.post("/audit")
def search_audit() -> ResponseReturnValue:
    """Show the events that match the filters of the form.

    The form is sent in a POST, so that a token that was pasted into it is never part of an address.
    """
    return pages.redirect_to("audit", **_filters(guard.form()))


@guard.redisplays("search_audit")
def _search_again(_: Mapping[str, Any], typed: Form) -> ResponseReturnValue:
    return _page(FormState({**dict.fromkeys((*_FILTERS, "page"), ""), **_filters(typed)}), is_unsent=True)


def query_of_page() -> dict[str, str]:
    """Return the filters of the URL."""
    return pages.query(*_FILTERS, longest=_LONGEST)


def _filters(typed: Mapping[str, Any]) -> dict[str, str]:
    """Return the filters that a form has, for a URL: a token, in whatever field, becomes its identifier."""
    values = {name: value.strip() for name, value in typed.items() if isinstance(value, str) and value.strip()}
    if "token" in values:
        values["id"] = _identifiers(values["token"])
    for name in ("q", "user", "application", "address", "request_id"):
        kind = _recognised(values.get(name, "")).kind
        if kind in (Kind.TOKEN, Kind.TICKET) or (kind is Kind.RANDOM and name == "q"):
            values["id"] = _identifiers(values.pop(name))
        elif kind in _SECRETS:
            del values[name]
            flashes.add(N_("A password, key or foreign token was not searched for: it would remain in the address."))
    for name in ("since", "until"):
        # Without a script, a browser's input has no time zone; its label says that it is UTC.
        if re.fullmatch(r"[0-9-]{10}T[0-9:]{5,8}", values.get(name, "")):
            values[name] += "Z"
    if "since" not in values and "until" not in values and "age" in values:
        values["since"] = values["age"]
    return {name: values[name][:_LONGEST] for name in _FILTERS if name in values}


def _recognised(text: str) -> Pasted:
    return recognise(text, services().registry.index(thorough=False).by_token_name)


def _identifiers(text: str) -> str:
    """Return the identifiers of a token or one-time link that was pasted; an identifier is returned unchanged."""
    if re.fullmatch("[0-9A-Fa-f, ]*", text):
        return text
    signin, pasted = services().signin, _recognised(text)
    if pasted.kind is Kind.IDENTIFIER:
        return pasted.text
    bare = pasted.text or text
    try:
        found = signin.audit_identifiers(verifier.read(bare), bare)
    except verifier.Refused:
        # As the log names a one-time link, and a text that no application has signed.
        found = signin.identifiers.every_of_text(bare)
    return ",".join(found[:MOST_TOKENS])


def _page(form: FormState, *, rows: Sequence[audit_rows.Row] = (), older: str | None = None, **values: Any) -> Response:
    since = form.values["since"]
    today = iso(services().clock() * 1000)[:10]
    filters = {name: form.values[name] for name in _FILTERS if form.values[name]}
    presets = [
        (key, gettext(label), today if key == "today" else key, since == (today if key == "today" else key))
        for key, label in _PRESETS.items()
    ]
    return pages.render(
        "audit.html",
        form=form,
        rows=rows,
        older=older,
        filters=filters,
        presets=presets,
        age="" if audit_rows.input_time(since) else since,
        input_times={name: audit_rows.input_time(form.values[name]) for name in ("since", "until")},
        groups=[(gettext(name), ",".join(kinds), kinds) for name, kinds in GROUPS],
        **values,
    )
