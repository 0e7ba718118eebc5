"""API calls, one blueprint per module. A view calls one service with the checked fields, and returns its result."""

from flask import Flask

from datafor_token.web import responses
from datafor_token.web.api import (
    applications,
    audit,
    description,
    gate,
    gate_check,
    gate_errors,
    gate_keys,
    gate_sign_in,
    guide,
    issued,
    links,
    operations,
    personal,
    rehearsals,
    sessions,
    tokens,
    user_sessions,
    users,
)

# Importing these modules registers their views with the blueprint of ``gate``.
VIEWS = (gate_check, gate_sign_in)


def register(app: Flask, url_prefix: str) -> None:
    """Register all calls under the prefix."""
    about_tokens, about_users = (rehearsals, tokens, issued, personal, links), (sessions, users, user_sessions)
    for module in (applications, *about_tokens, *about_users, gate, gate_keys, audit, operations, description, guide):
        app.register_blueprint(module.blueprint, url_prefix=url_prefix or None)
    responses.set_error_renderer(app, gate.blueprint.name, gate_errors.error_response)
    responses.set_error_renderer(app, guide.blueprint.name, guide.error_response)
