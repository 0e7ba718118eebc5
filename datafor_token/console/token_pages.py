"""The pages of tokens: generate a test token, and check a token step by step."""

import base64
import dataclasses
import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.applications.rules import next_path
from datafor_token.audit.events import Kind
from datafor_token.console import application_form, guard, pages
from datafor_token.console.advice import ADVICE, STEPS, advice_for
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import format_duration, gettext, sentence
from datafor_token.errors import DataforTokenError, Forbidden, InvalidInput, NotFound, RuleError, TooManyTokens
from datafor_token.requests.explain_schema import ExplainSchema
from datafor_token.requests.schemas import GenerateSchema
from datafor_token.web.api.paths import MODELER, root_path
from datafor_token.web.current import current
from datafor_token.web.services import services

_generate, _explain = GenerateSchema(), ExplainSchema()
_EMPTY = {"name": "", "username": "", "next": "/", "privateKey": ""}


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of a token's header or payload, with its meaning; ``time`` is its time in ms since 1970, if any."""

    name: str
    value: str
    meaning: str
    time: int | None = None


@dataclasses.dataclass(frozen=True)
class Uses:
    """Ways to use a token, as texts to copy."""

    curl: str
    link: str
    iframe: str


@blueprint.get("/try")
def test_token() -> ResponseReturnValue:
    """Show the form for a test token: its application and user."""
    chosen = {"name": current().args.get("name", "")[:64], "username": guard.caller().user.name}
    return _test_page(FormState({**_EMPTY, **chosen}))


@blueprint.post("/try")
def generate_test_token() -> ResponseReturnValue:
    """Generate a token as ``token/generate`` does, and show it with its content and uses."""
    typed = {name: guard.text(name) for name in _EMPTY}
    body = {name: typed[name] for name in ("name", "username", "privateKey") if typed[name]}
    # A private key is never sent back, not even with an error about it.
    form = FormState({**typed, "privateKey": ""})
    try:
        if not typed["name"]:
            raise InvalidInput.of("name", "can not be empty")
        target = _next(typed["next"])
        wanted = application_form.read(_generate, body)
        application, claims = services().issuer.application_and_claims(wanted, guard.caller().user.name)
        token = services().issuer.issue(Kind.TOKEN_GENERATED, application, wanted.get("privateKey"), claims)
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _test_page(form, error=error)
    except NotFound as error:
        form.errors = {"name": [sentence(error.message)]}
        return _test_page(form, error=error)
    except Forbidden as error:
        field = "privateKey" if error.message.startswith("privateKey") else "name"
        form.errors = {field: [sentence(error.message)]}
        return _test_page(form, error=error)
    except TooManyTokens as error:
        form.errors = {"name": [sentence(error.message)]}
        return pages.with_retry_after(_test_page(form, error=error), error)
    header, claims = (_decode(part) for part in token.split(".")[:2])
    return _test_page(
        form,
        application=application,
        token=token,
        verdict=services().signin.explain(token, application),
        header=[Member(name, str(value), _header_meaning(name)) for name, value in header.items()],
        claims=[_claim(name, value, application) for name, value in claims.items()],
        uses=_uses(application, token, target),
    )


@blueprint.get("/refused")
def check_token() -> ResponseReturnValue:
    """Show the form for a token and, optionally, the application that should accept it.

    With the reference of an error page, show why that request was refused.
    """
    typed = {name: current().args.get(name, "").strip()[:64] for name in ("name", "request_id")}
    form = FormState({"token": "", **typed})
    if not typed["request_id"]:
        return _check_page(form)
    try:
        wanted = application_form.read(_explain, {"request_id": typed["request_id"]})
        refusal = services().past_refusals.find(wanted["request_id"])
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _check_page(form, error=error)
    except NotFound as error:
        form.errors = {"request_id": [sentence(error.message)]}
        return _check_page(form, error=error)
    return _check_page(form, refusal=refusal, advice=advice_for(refusal), steps=STEPS)


@blueprint.post("/refused")
def check_token_now() -> ResponseReturnValue:
    """Show the steps of ``token/explain``, which has no effect."""
    typed = {"token": guard.text("token"), "name": guard.text("name"), "request_id": ""}
    # The clipboard may add a line break around a token; white space inside it stays, and is reported.
    body = {"token": typed["token"].strip("\r\n"), **({"name": typed["name"]} if typed["name"] else {})}
    form = FormState(typed)
    try:
        wanted = application_form.read(_explain, body)
        application = services().registry.get(wanted["name"]) if "name" in wanted else None
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _check_page(form, error=error)
    except NotFound as error:
        form.errors = {"name": [sentence(error.message)]}
        return _check_page(form, error=error)
    verdict = services().signin.explain(wanted["token"], application)
    return _check_page(form, verdict=verdict, advice=ADVICE.get(verdict.reason or ""), steps=STEPS)


def _next(text: str) -> str:
    try:
        return next_path(text or "/")
    except RuleError as error:
        raise InvalidInput.of("next", error.message) from None


def _decode(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _header_meaning(name: str) -> str:
    return {
        "typ": gettext("The type: a JSON Web Token."),
        "alg": gettext("The signature algorithm; it must be the application's."),
        "kid": gettext("The identifier of the public key (its thumbprint, RFC 7638)."),
    }.get(name, "")


def _claim(name: str, value: Any, application: Application) -> Member:
    if name == application.fieldmap.username:
        return Member(name, _text(value), gettext("The name of the user who is signed in."))
    if name == "exp":
        lifetime = format_duration(application.expire)
        meaning = gettext("The expiry time, %(lifetime)s after the token was issued:") % {"lifetime": lifetime}
        return Member(name, _text(value), meaning, value * 1000)
    return Member(name, _text(value), "")


def _uses(application: Application, token: str, target: str) -> Uses:
    # Without PUBLIC_URL, the address that this browser uses. A forged Host header affects only the page of its sender.
    base = f"{services().settings.public_url or current().host_url.rstrip('/')}{root_path()}"
    link = f"{base}/auth/enter?{urlencode({application.token_name: token, 'next': target}, quote_via=quote)}"
    return Uses(
        curl=f"curl -H {shlex.quote(f'Authorization: Bearer {token}')} {shlex.quote(f'{base}{MODELER}/user/detail')}",
        link=link,
        iframe=f'<iframe src="{link.replace("&", "&amp;")}" title="{application.name}"></iframe>',
    )


def _choices() -> dict[str, Any]:
    names = [one.name for one in services().registry.index().entries]
    users = [user.name for user in services().accounts.all()[0]]
    return {
        "names": names[: application_form.MOST_CHOICES],
        "users": users[: application_form.MOST_CHOICES],
        "labels": application_form.labels(),
    }


def _test_page(form: FormState, *, error: DataforTokenError | None = None, **values: Any) -> ResponseReturnValue:
    return pages.render("test_token.html", error=error, form=form, advice=ADVICE, **_choices(), **values)


def _check_page(form: FormState, *, error: DataforTokenError | None = None, **values: Any) -> ResponseReturnValue:
    return pages.render("check_token.html", error=error, form=form, **_choices(), **values)


@guard.redisplays("generate_test_token")
def _redisplay_test(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _test_page(FormState({name: str(form.get(name, "")) for name in _EMPTY}))


@guard.redisplays("check_token_now")
def _redisplay_check(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _check_page(FormState({"token": "", "name": str(form.get("name", "")), "request_id": ""}))
