"""WSGI application of a checkout: ``wsgi:app``. An installed package has ``datafor_token.wsgi:app``."""

from datafor_token.wsgi import app

__all__ = ["app"]
