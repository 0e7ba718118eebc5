"""The console: the service's web interface, as pages rendered on the server that work without JavaScript.

It has no rules of its own: its views use the services and schemas of the API.
"""

from flask import Flask

from datafor_token.console import (
    application_danger,
    application_enforce,
    application_list,
    application_new,
    application_overview,
    application_secret,
    application_settings,
    application_tokens,
    application_use,
    assets,
    audit_export,
    audit_page,
    guard,
    home_page,
    issued_page,
    language,
    own_page,
    pages,
    settings_page,
    sign_in_pages,
    token_check,
    token_issue,
    token_tabs,
    user_list,
    user_pages,
    user_tabs,
)
from datafor_token.console.blueprint import blueprint
from datafor_token.web import responses

# Importing these modules registers their views with the blueprint.
VIEWS = (
    sign_in_pages,
    home_page,
    settings_page,
    application_danger,
    application_enforce,
    application_list,
    application_new,
    application_overview,
    application_secret,
    application_settings,
    application_tokens,
    application_use,
    token_check,
    token_issue,
    token_tabs,
    user_list,
    user_pages,
    user_tabs,
    issued_page,
    audit_export,
    audit_page,
    own_page,
    assets,
)


def init_app(app: Flask, url_prefix: str, version: str) -> None:
    """Register the console under the prefix. The home page shows ``version``."""
    language.init_app(app)
    pages.init_app(app, version)
    responses.set_error_renderer(app, blueprint.name, guard.form_or_error_page)
    app.register_blueprint(blueprint, url_prefix=f"{url_prefix}/console")
