"""Services of the application that serves the current request."""

from flask import Flask, current_app

from datafor_token.operations.services import Services

_KEY = "datafor_token"  # in the ``extensions`` of the application


def attach(app: Flask, services: Services) -> None:
    """Give an application its services."""
    app.extensions[_KEY] = services


def services() -> Services:
    """Return the services of the application that serves the current request."""
    # The application itself, not Flask's proxy: see ``current``.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    found: Services = app.extensions[_KEY]
    return found


def services_of(app: object) -> Services | None:
    """Return the services of an application, or None if gunicorn serves another one with our configuration."""
    found: Services | None = getattr(app, "extensions", {}).get(_KEY)
    return found
