"""What the API description says of each call that its schemas and its view do not say already.

A new call: one entry in ``CALLS``, under its endpoint (a test fails as long as there is none). Path, methods,
tag, summary and description come from the URL map and the view's docstring; parameters and body from the
schema that the view gives to ``fields_of_query`` or ``fields_of_body`` (a test holds that it is the same one);
the answer is a schema of ``answers``. From ``who`` follow the security schemes and the refusals 401, 403 and
429, from ``body`` 400, 413 and 415, from ``query`` 400; every call but the ``static`` ones may be 503, each 403
(``TRUSTED_HOSTS``) and 500. ``errors`` names what else it refuses.
"""

from collections.abc import Mapping
from typing import Any

from datafor_token.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MetricsUnavailable,
    NotAuthenticated,
    NotFound,
    TooManyAttempts,
    WrongPassword,
)
from datafor_token.requests import schemas
from datafor_token.validation.names import USER_TYPES
from datafor_token.web.openapi import answers, examples
from datafor_token.web.openapi.answers import DoneAnswer
from datafor_token.web.openapi.audit_answers import AuditAnswer
from datafor_token.web.openapi.operation import Call, Who
from datafor_token.web.openapi.refusals import LoginRefusal

# The files of the page /docs, with their types.
DOCS_FILES = {
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def _wanted(name: str, what: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A condition of the gate's check: may be given several times, any of them is enough."""
    items = {"type": "array", "items": schema}
    return {"name": name, "in": "query", "description": what, "style": "form", "explode": True, "schema": items}


def _option(name: str, what: str) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "description": what, "schema": {"enum": ["0", "1"]}}


def _original(name: str) -> Mapping[str, Any]:
    what = "the URI that the proxy was asked for; a token in it counts"
    return {"name": name, "in": "header", "description": what, "schema": {"type": "string"}}


CALLS: Mapping[str, Call] = {
    "applications.update": Call(
        id="update_application",
        body=schemas.UpdateSchema,
        example=examples.ERP,
        answer=answers.UpdateAnswer,
        shown=examples.DONE,
        then={
            "get_application": {"parameters": {"name": "$request.body#/name"}},
        },
        errors=(Conflict,),
    ),
    "applications.list_all": Call(
        id="list_applications", answer=answers.ListAnswer, shown={"data": [examples.SHOWN_ERP]}
    ),
    "applications.content": Call(
        id="get_application",
        query=schemas.NameSchema,
        answer=answers.ContentAnswer,
        shown=examples.SHOWN_ERP,
        errors=(NotFound,),
    ),
    "applications.delete": Call(
        id="delete_application",
        body=schemas.NameSchema,
        example={"name": "ERP"},
        answer=DoneAnswer,
        shown=examples.DONE,
    ),
    "applications.delete_batch": Call(
        id="delete_applications",
        body=schemas.NamesSchema,
        takes_list=True,
        example={"name": ["ERP", "CRM"]},
        answer=DoneAnswer,
        shown=examples.DONE,
    ),
    "applications.rotate": Call(
        id="rotate_secret",
        body=schemas.RotateSchema,
        example={"name": "ERP", "grace": 3600},
        answer=answers.RotateAnswer,
        shown={"secret": "9dZ1...", "previous": {"until": 1722933116000}},
        errors=(NotFound,),
    ),
    "tokens.generate": Call(
        id="generate_token",
        body=schemas.GenerateSchema,
        example={"name": "ERP", "privateKey": "abcd", "username": "admin"},
        answer=answers.TokenAnswer,
        shown=examples.ISSUED,
        errors=(NotFound,),
    ),
    "tokens.personal_config": Call(
        id="get_personal_token_config",
        who=Who.SIGNED_IN,
        query=schemas.OptionalNameSchema,
        answer=answers.PersonalConfigAnswer,
        shown={"enabled": True, "name": "ERP", "expire": 86400},
        errors=(NotFound,),
    ),
    "tokens.personal": Call(
        id="generate_personal_token",
        who=Who.BY_PASSWORD,
        body=schemas.OptionalNameSchema,
        example={"name": "ERP"},
        answer=answers.PersonalAnswer,
        shown={**examples.ISSUED, "username": "admin", "name": "ERP"},
        errors=(NotFound,),
    ),
    "tokens.explain": Call(
        id="explain_token",
        body=schemas.ExplainSchema,
        example={"token": examples.TOKEN, "name": "ERP"},
        answer=answers.ExplainAnswer,
        shown={
            "accepted": False,
            "reason": "signature",
            "application": "ERP",
            "steps": [{"step": "signature", "ok": False, "detail": "not signed with the secret of ERP"}],
        },
        errors=(NotFound,),
    ),
    "tokens.revoke": Call(
        id="revoke_token",
        who=Who.SIGNED_IN,
        body=schemas.TokenSchema,
        example={"token": examples.TOKEN},
        answer=DoneAnswer,
        shown=examples.DONE,
    ),
    "tokens.introspect": Call(
        id="introspect_token",
        body=schemas.TokenSchema,
        example={"token": examples.TOKEN},
        answer=answers.IntrospectAnswer,
        shown={"active": True, "username": "admin", "client_id": "ERP", "exp": 1723015916, "token_type": "Bearer"},
    ),
    "tokens.jwks": Call(id="get_public_keys", who=Who.ANYONE, answer=answers.KeysAnswer, shown={"keys": []}),
    "links.link": Call(
        id="make_link",
        body=schemas.LinkSchema,
        example={"name": "ERP", "username": "lena", "next": "/reports/1", "ttl": 300},
        answer=answers.LinkAnswer,
        shown={"url": examples.TICKET_URL, "expire": 300},
        errors=(NotFound,),
    ),
    "users.detail": Call(
        id="get_user",
        who=Who.SIGNED_IN,
        query=schemas.UserSchema,
        answer=answers.UserAnswer,
        shown={"data": {"user": examples.LENA}},
        errors=(NotFound,),
    ),
    "users.password": Call(
        id="change_password",
        who=Who.BY_PASSWORD,
        body=schemas.PasswordSchema,
        example={"old": "the present one", "new": "the new one"},
        answer=DoneAnswer,
        shown=examples.DONE,
    ),
    "sessions.login": Call(
        id="login",
        who=Who.ANYONE,
        body=schemas.LoginSchema,
        example={"username": "admin", "password": "the password"},
        answer=answers.LoginAnswer,
        shown={"msg": "login success", "data": "1", "jsessionid": "KZbCkJ8dH0lqg0Tz4u2oA3S8mYx0bTqvJ6yWQ1cJk1E"},
        headers=("Set-Cookie",),
        errors=(WrongPassword, TooManyAttempts),
        refusals={401: LoginRefusal},
    ),
    "sessions.logout": Call(
        id="logout", who=Who.ANYONE, answer=answers.LogoutAnswer, shown={"code": "200"}, headers=("Set-Cookie",)
    ),
    "gate.check": Call(
        id="check",
        who=Who.GATE,
        parameters=(
            _wanted("role", "a role that the user must have, or a user type", {"type": "string"}),
            _wanted("type", "the user type that the user must have", {"enum": list(USER_TYPES)}),
            _wanted("application", "the application that must vouch for the user", {"type": "string"}),
            _option("redirect", "1: a page that would be 401 is a 302 to SIGN_IN_URL"),
            _option("cookies", "1: the header Cookie has all cookies of the request but those of this service"),
            *(_original(name) for name in ("X-Original-URI", "X-Original-URL", "X-Forwarded-Uri")),
        ),
        headers=("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Set-Cookie"),
    ),
    "gate.enter": Call(
        id="enter",
        who=Who.LINK,
        query=schemas.NextSchema,
        status=303,
        headers=("Location", "Set-Cookie"),
        errors=(Forbidden, InvalidInput, NotAuthenticated),
    ),
    "gate.leave": Call(
        id="leave",
        who=Who.ANYONE,
        query=schemas.LeaveSchema,
        also=(303,),
        headers=("Location", "Set-Cookie"),
        errors=(Forbidden, InvalidInput),
    ),
    "description.openapi": Call(
        id="get_description", who=Who.ANYONE, answer=None, media=("application/json",), static=True
    ),
    "description.docs": Call(id="show_docs", who=Who.ANYONE, answer=None, media=("text/html",), static=True),
    "description.docs_file": Call(
        id="get_docs_file",
        who=Who.ANYONE,
        parameters=({"name": "file", "in": "path", "required": True, "schema": {"enum": list(DOCS_FILES)}},),
        answer=None,
        media=tuple(DOCS_FILES.values()),
        errors=(NotFound,),
        static=True,
    ),
    "audit.audit": Call(
        id="get_audit",
        query=schemas.AuditSchema,
        answer=AuditAnswer,
        shown={"data": [examples.EVENT]},
    ),
    "operations.metrics": Call(
        id="get_metrics",
        who=Who.ANYONE,
        answer=None,
        media=("text/plain", "application/openmetrics-text"),
        errors=(Forbidden, MetricsUnavailable),
        static=True,
    ),
    "operations.healthz": Call(id="is_alive", who=Who.ANYONE, static=True),
    "operations.readyz": Call(
        id="is_ready", who=Who.ANYONE, answer=answers.ReadyAnswer, shown={"readable": True, "writable": True}
    ),
}
