"""Calls for whoever watches the service."""

from flask import Blueprint, Response

from datafor_token.responses import success
from datafor_token.services import services

blueprint = Blueprint("operations", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 while the process answers; the store is not touched."""
    return success()


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 while the store can be read; the body says whether it can be written too."""
    return success(readable=True, writable=services().store.writable())
