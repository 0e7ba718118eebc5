"""Apache Superset on SQLite, for guest tokens; the file is found by its name, which is Superset's own.

Set up for speed where a setting is there for it: no limits on requests, no log of users' actions, no CSRF token.
"""

import os
from pathlib import Path

from superset.utils.log import AbstractEventLogger


class Silent(AbstractEventLogger):
    def log(self, *_args, **_kwargs):
        pass


HOME = Path(os.environ["SUPERSET_HOME"])
SECRET_KEY = "a secret of the benchmark alone, forty-two bytes and more"
GUEST_TOKEN_JWT_SECRET = "another secret of the benchmark, forty-two bytes and more"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{HOME / 'superset.db'}"
FEATURE_FLAGS = {"EMBEDDED_SUPERSET": True}
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
EVENT_LOGGER = Silent()
