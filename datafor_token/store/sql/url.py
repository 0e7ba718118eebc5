"""URLs of databases, as the setting ``STORE`` has them."""

import re
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from datafor_token.errors import RuleError

_POSTGRESQL = re.compile(r"\Apostgresql(\+psycopg)?://")
_PRIMARY = ("read-write", "primary")
_NOT_A_URL = "is not the URL of a database"


def is_postgresql(url: str) -> bool:
    """Return whether it is the URL of a PostgreSQL database."""
    return _POSTGRESQL.match(url) is not None


def postgresql_parameters(url: str) -> dict[str, Any]:
    """Return the connection parameters of a URL as libpq reads it or, if it repeats ``host``, as SQLAlchemy does.

    Raise ``RuleError`` if it is not valid. The message repeats nothing of the URL except the name of an option.
    """
    try:
        if url.count("host=") > 1:
            parsed = sa.make_url(_POSTGRESQL.sub("postgresql+psycopg://", url))
            parameters = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
            make_conninfo("", **parameters)
        else:
            parameters = dict(conninfo_to_dict(_POSTGRESQL.sub("postgresql://", url)))
    except (ArgumentError, ValueError, psycopg.Error):
        # Their texts repeat parts of the URL.
        unknown = _unknown_option(url)
        if unknown:
            raise RuleError("has an option that PostgreSQL does not know: %(option)s", option=unknown) from None
        raise RuleError(_NOT_A_URL) from None
    if not re.fullmatch(r"[0-9,]*", str(parameters.get("port", ""))):
        raise RuleError("has a port that is not a number")
    if parameters.setdefault("target_session_attrs", "read-write") not in _PRIMARY:
        # A replica may return outdated records.
        raise RuleError("must have target_session_attrs=read-write: replicas are not read")
    return parameters


def sqlite_url(url: str) -> sa.URL:
    """Return the URL of an SQLite file; raise ``RuleError`` if it is not valid."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise RuleError(_NOT_A_URL) from None
    if parsed.drivername != "sqlite" or not parsed.database:
        raise RuleError(_NOT_A_URL)
    if parsed.query:
        raise RuleError("must not have options, since it is a URL of SQLite")
    return parsed


def _unknown_option(url: str) -> str | None:
    """Return the first option that libpq does not know, unless its name may be part of a password."""
    query = url.partition("?")[2]
    if "@" in query:
        # A password with a question mark that was not written as %3F.
        return None
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    names = [part.partition("=")[0] for part in query.split("&")]
    return next((name for name in names if re.fullmatch(r"[A-Za-z_]{1,40}", name) and name not in known), None)
