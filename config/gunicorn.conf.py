"""gunicorn's settings of a checkout: those of ``datafor-token serve``. Own settings go below the import."""

from datafor_token.gunicorn_conf import *  # noqa: F403 - gunicorn reads the names of this file
