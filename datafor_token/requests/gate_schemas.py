"""Schemas of the calls of the gate for browsers."""

from typing import ClassVar

from datafor_token.applications import rules
from datafor_token.requests.fields import CallSchema, Flag, Text


class NextSchema(CallSchema):
    """``auth/enter``: the target page for a token, or a ticket, which has its own."""

    next = Text(rules.next_path, "The target page: a path on this host.", load_default="/")
    ticket = Text()
    arrived = Flag(
        description="1, without a token or ticket: redirects to `next` if the browser sent the gate's cookie.",
        load_default=False,
    )


class SignInPageSchema(CallSchema):
    """``auth/sign-in``: the target page after signing in."""

    next = Text(rules.next_path, "The target page: a path on this host.", load_default="/")


class SignInSchema(CallSchema):
    """``auth/sign-in``: user name and password, and the target page."""

    example: ClassVar = {"username": "lena", "password": "the password", "next": "/reports/1"}

    username = Text(required=True)
    password = Text(required=True)
    next = Text(rules.next_path, "The target page: a path on this host.", load_default="/")


class LeaveSchema(CallSchema):
    """``auth/leave``: the target page after signing out."""

    next = Text(rules.next_path, "The target page: a path on this host. Left out: `SIGN_OUT_URL`.")
