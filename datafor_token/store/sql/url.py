"""The URL of a database: what the setting ``STORE`` may be, beside the word ``file``."""

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


def is_postgresql(url: str) -> bool:
    """Whether it is of a PostgreSQL, or of what speaks its language."""
    return _POSTGRESQL.match(url) is not None


def postgresql_parameters(url: str) -> dict[str, Any]:
    """The connection parameters of a URL, as libpq reads it, or with ``host`` several times, as SQLAlchemy does.

    Raises ``RuleError`` (a predicate without any of the text but the names of its options) for what is none.
    """
    try:
        if url.count("host=") > 1:
            parsed = sa.make_url(_POSTGRESQL.sub("postgresql+psycopg://", url))
            parameters = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
            make_conninfo("", **parameters)
        else:
            parameters = dict(conninfo_to_dict(_POSTGRESQL.sub("postgresql://", url)))
    except (ArgumentError, ValueError, psycopg.Error):
        # Without their words, which repeat parts of the URL.
        unknown = _unknown_option(url)
        if unknown:
            raise RuleError("has an option that PostgreSQL does not know: %(option)s", option=unknown) from None
        raise RuleError(_NONE) from None
    if not re.fullmatch(r"[0-9,]*", str(parameters.get("port", ""))):
        raise RuleError("has a port that is no number")
    if parameters.setdefault("target_session_attrs", "read-write") not in _PRIMARY:
        # A replica answers what was true a moment ago.
        raise RuleError("must have target_session_attrs=read-write: replicas are not read")
    return parameters


def sqlite_url(url: str) -> sa.URL:
    """The URL of an SQLite file; raises ``RuleError`` as above."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise RuleError(_NONE) from None
    if parsed.drivername != "sqlite" or not parsed.database:
        raise RuleError(_NONE)
    if parsed.query:
        raise RuleError("has options, of which SQLite knows none")
    return parsed


_NONE = "is no URL of a database"


def _unknown_option(url: str) -> str | None:
    """The first option that libpq does not know, where its name cannot be a part of a password."""
    query = url.partition("?")[2]
    if "@" in query:
        # A password with a question mark in it, which was not written as %3F.
        return None
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    names = [part.partition("=")[0] for part in query.split("&")]
    return next((name for name in names if re.fullmatch(r"[A-Za-z_]{1,40}", name) and name not in known), None)
