"""Try it: a token, what is in it and how to use it. Why was it refused: its steps, and what to do about each."""

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
from datafor_token.console.advice import ADVICE, STEPS
from datafor_token.console.application_form import Filled
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import format_duration, gettext, sentence
from datafor_token.errors import Forbidden, InvalidInput, NotFound, RuleError
from datafor_token.requests.schemas import ExplainSchema, GenerateSchema
from datafor_token.web.api.inputs import application_and_claims
from datafor_token.web.api.paths import MODELER, root_path
from datafor_token.web.current import current
from datafor_token.web.services import services

_generate, _explain = GenerateSchema(), ExplainSchema()
_MOST_OFFERED = 200  # names in a list to choose from; whoever has more types
_TRY = {"name": "", "username": "", "next": "/", "privateKey": ""}


@dataclasses.dataclass(frozen=True)
class Part:
    """One member of a token's header or payload, and what it means; ``moment`` (ms since 1970) where it is one."""

    name: str
    value: str
    meaning: str
    moment: int | None = None


@dataclasses.dataclass(frozen=True)
class Uses:
    """What to do with a token, ready to be copied."""

    curl: str
    link: str
    iframe: str


@blueprint.get("/try")
def try_it() -> ResponseReturnValue:
    """The form: which application, which user."""
    chosen = {"name": current().args.get("name", "")[:64], "username": guard.caller().user.name}
    return _try(Filled({**_TRY, **chosen}))


@blueprint.post("/try")
def try_it_now() -> ResponseReturnValue:
    """A token of that application for that user, as ``token/generate`` issues it; a private key is forgotten."""
    typed = {name: guard.text(name) for name in _TRY}
    sent = {name: typed[name] for name in ("name", "username", "privateKey") if typed[name]}
    # Never shown again, not even beside what is wrong with it.
    form = Filled({**typed, "privateKey": ""})
    try:
        if not typed["name"]:
            raise InvalidInput.of("name", "can not be empty")
        target = _next(typed["next"])
        wanted = application_form.read(_generate, sent)
        application, claims = application_and_claims(wanted, guard.caller().user.name)
        token = services().issuer.issue(Kind.TOKEN_GENERATED, application, wanted.get("privateKey"), claims)
    except InvalidInput as error:
        form.errors = application_form.beside_fields(error, {"algorithm": "HS256"})
        return _try(form, status=400)
    except NotFound as error:
        form.errors = {"name": [sentence(error.message)]}
        return _try(form, status=404)
    except Forbidden as error:
        form.errors = {"privateKey" if error.message.startswith("privateKey") else "name": [sentence(error.message)]}
        return _try(form, status=403)
    header, claims = (_members(part) for part in token.split(".")[:2])
    return _try(
        form,
        application=application,
        token_made=token,
        header=[Part(name, str(value), _of_header(name)) for name, value in header.items()],
        claims=[_claim(name, value, application) for name, value in claims.items()],
        uses=_uses(application, token, target),
    )


@blueprint.get("/refused")
def refused() -> ResponseReturnValue:
    """The form: a token, and perhaps the application that should have taken it."""
    return _refused(Filled({"token": "", "name": current().args.get("name", "")[:64]}))


@blueprint.post("/refused")
def refused_why() -> ResponseReturnValue:
    """The steps of ``token/explain``; nothing is done with the token."""
    typed = {"token": guard.text("token"), "name": guard.text("name")}
    # A line break around a pasted token is the clipboard's; what is inside it stays, and is judged.
    sent = {"token": typed["token"].strip("\r\n"), **({"name": typed["name"]} if typed["name"] else {})}
    form = Filled(typed)
    try:
        wanted = application_form.read(_explain, sent)
        application = services().registry.get(wanted["name"]) if "name" in wanted else None
    except InvalidInput as error:
        form.errors = application_form.beside_fields(error, {"algorithm": "HS256"})
        return _refused(form, status=400)
    except NotFound as error:
        form.errors = {"name": [sentence(error.message)]}
        return _refused(form, status=404)
    verdict = services().signin.explain(wanted["token"], application)
    return _refused(form, verdict=verdict, advice=ADVICE.get(verdict.reason or ""), steps=STEPS)


def _next(text: str) -> str:
    try:
        return next_path(text or "/")
    except RuleError as error:
        raise InvalidInput.of("next", error.message) from None


def _members(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _of_header(name: str) -> str:
    return {
        "typ": gettext("This is a JSON Web Token."),
        "alg": gettext("How it is signed; the application must expect exactly this."),
        "kid": gettext("Which public key verifies it (its thumbprint, RFC 7638)."),
    }.get(name, "")


def _claim(name: str, value: Any, application: Application) -> Part:
    if name == application.fieldmap.username:
        return Part(name, _shown(value), gettext("The user name: who is signed in."))
    if name == "exp":
        meaning = gettext("When it expires, %(span)s after it was made:") % {
            "span": format_duration(application.expire)
        }
        return Part(name, _shown(value), meaning, value * 1000)
    return Part(name, _shown(value), "")


def _uses(application: Application, token: str, target: str) -> Uses:
    # The address that this very browser uses, where none is set: it is shown to nobody else.
    base = f"{services().settings.public_url or current().host_url.rstrip('/')}{root_path()}"
    link = f"{base}/auth/enter?{urlencode({application.token_name: token, 'next': target}, quote_via=quote)}"
    return Uses(
        curl=f"curl -H {shlex.quote(f'Authorization: Bearer {token}')} {shlex.quote(f'{base}{MODELER}/user/detail')}",
        link=link,
        iframe=f'<iframe src="{link.replace("&", "&amp;")}" title="{application.name}"></iframe>',
    )


def _offered() -> dict[str, Any]:
    names = [one.name for one in services().registry.index().entries]
    users = [user.name for user in services().accounts.all()[0]]
    return {"names": names[:_MOST_OFFERED], "users": users[:_MOST_OFFERED], "labels": application_form.labels()}


def _try(form: Filled, *, status: int = 200, **values: Any) -> ResponseReturnValue:
    return pages.render("try_it.html", status=status, form=form, **_offered(), **values)


def _refused(form: Filled, *, status: int = 200, **values: Any) -> ResponseReturnValue:
    return pages.render("refused.html", status=status, form=form, **_offered(), **values)


def _try_again(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _try(Filled({name: str(form.get(name, "")) for name in _TRY}))


def _refused_again(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _refused(Filled({"token": "", "name": str(form.get("name", ""))}))


guard.shows_again("try_it_now", _try_again)
guard.shows_again("refused_why", _refused_again)
