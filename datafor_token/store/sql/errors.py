"""Translation of database errors. The driver's texts are not repeated, since they may contain parts of the URL."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable

# By SQLSTATE, which a server sends with its errors.
_STATES = {
    "42P01": "tables are missing in it: run `datafor-token store init`",
    "55000": "no host accepts writes",  # the log of a standby has no position of its own
    "42501": "its user lacks rights; docs/several-hosts.md lists them",
    "3F000": "its user has no schema to create tables in",
}
# By a part of the driver's text. With several hosts it has several errors: the most specific come first.
_EXPLANATIONS = (
    ("too many", "it has too many connections"),
    ("remaining connection slots", "it has too many connections"),
    ("password authentication failed", "it refuses the user or the password"),
    ("no password supplied", "it asks for a password"),
    ("pg_hba.conf", "its pg_hba.conf does not let this user in from here"),
    ("not permitted to log in", "its user may not log in"),
    ("permission denied for database", "its user has no right to connect"),
    ("invalid sslmode", "the URL has an unknown sslmode"),
    ("does not support ssl", "it does not speak TLS, which the URL's sslmode asks for"),
    ("certificate", "its certificate cannot be verified, or the client certificate is missing"),
    ("unrecognized configuration parameter", "it does not know a parameter that the URL's options set"),
    ("no such table", _STATES["42P01"]),
    ("does not exist", "the user or the database does not exist"),
    ("not currently accepting", "it accepts no connections"),
    ("starting up", "it is starting up"),
    ("shutting down", "it is shutting down"),
    ("read-only", "no host accepts writes"),
    ("hot standby", "no host accepts writes"),
    ("readonly", "it is read-only"),
    ("connection refused", "connection refused"),
    ("timeout", "it did not respond in time"),
    ("resolve", "its host has no address"),
    ("translate host", "its host has no address"),
    ("closed the connection", "the connection broke"),
    ("unable to open", "its file cannot be opened, or its folder is missing"),
    ("not a database", "its file is not a database of SQLite"),
    ("disk", "its disk is full or broken"),
)


@contextlib.contextmanager
def outage(action: str) -> Iterator[None]:
    """Turn errors of the database into ``StoreUnavailable``. The log says "cannot ``action`` the database"."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        raise StoreUnavailable(reason=f"cannot {action} the database: {explained(error)}") from None


def state(error: BaseException) -> str:
    """Return the SQLSTATE of an error, or an empty text."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def explained(error: BaseException) -> str:
    """Explain an error for the log, without any part of the URL or of the data."""
    origin = getattr(error, "orig", None) or error
    words = str(origin).lower()
    by_words = next((explanation for part, explanation in _EXPLANATIONS if part in words), type(origin).__name__)
    found = _STATES.get(state(error), by_words)
    return f"{found} ({state(error)})" if state(error) else found
