"""The calls: one file for each family. A view reads its body, calls one service and answers."""

from flask import Flask

from datafor_token.web import responses
from datafor_token.web.api import applications, audit, description, gate, operations, sessions, tokens, users


def register(app: Flask, url_prefix: str) -> None:
    """Put every call under the prefix."""
    for family in (applications, tokens, sessions, users, gate, audit, operations, description):
        app.register_blueprint(family.blueprint, url_prefix=url_prefix or None)
    responses.answer_errors_as(app, gate.blueprint.name, gate.error_response)
    app.register_blueprint(gate.links, url_prefix=url_prefix or None)
