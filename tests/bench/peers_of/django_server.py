"""django-oauth-toolkit on SQLite: client_credentials, for its default token (random, and a record of it).

Set up for speed: no middleware, connections that stay open, SQLite's WAL, and a client's secret that is not hashed,
as the hash alone (its default) takes far longer than all the rest.
"""

import os
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY=os.environ["SIGNING_SECRET"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(os.environ["FOLDER"]) / "db.sqlite3",
            "CONN_MAX_AGE": None,
            # Two that have read cannot both go on to write: SQLite would refuse one of them at once.
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.db import connections  # noqa: E402 - only after the setup
from oauth2_provider.models import Application  # noqa: E402
from oauth2_provider.views import TokenView  # noqa: E402

urlpatterns = [path("token", TokenView.as_view()), path("hello", lambda _request: HttpResponse("hello"))]
app = get_wsgi_application()

call_command("migrate", verbosity=0)
Application.objects.create(
    name="bench",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    hash_client_secret=False,
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
)
# The workers are forked from here, and SQLite's connections do not survive that.
connections.close_all()
