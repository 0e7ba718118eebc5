"""What a database's refusals mean: every error of the driver gets its error here, without its own words."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable

# By SQLSTATE, which a server gives with its answers to questions.
_STATES = {
    "42P01": "tables are missing in it: run `.venv/bin/flask store init`",
    "42501": "its user lacks rights, which README names",
    "3F000": "its user has no schema to make tables in",
}
# What the driver's own words, which may hold parts of a URL, come down to; of several hosts' words the most telling.
_SAYINGS = (
    ("too many", "it has too many connections"),
    ("remaining connection slots", "it has too many connections"),
    ("password authentication failed", "it refuses the user or the password"),
    ("no password supplied", "it asks for a password"),
    ("pg_hba.conf", "its pg_hba.conf does not let this user in from here"),
    ("not permitted to log in", "its user may not log in"),
    ("permission denied for database", "its user has no right to connect"),
    ("invalid sslmode", "the URL has an sslmode that there is not"),
    ("does not support ssl", "it does not speak TLS, which the URL's sslmode asks for"),
    ("certificate", "its certificate cannot be checked, or ours is not there"),
    ("unrecognized configuration parameter", "it does not know a parameter that the URL's options set"),
    ("no such table", _STATES["42P01"]),
    ("does not exist", "there is no such user or database"),
    ("not currently accepting", "it takes no connections"),
    ("starting up", "it is starting up"),
    ("shutting down", "it is shutting down"),
    ("read-only", "no host takes writes"),
    ("hot standby", "no host takes writes"),
    ("readonly", "it cannot be written"),
    ("connection refused", "nobody listens there"),
    ("timeout", "no answer in time"),
    ("resolve", "its host has no address"),
    ("translate host", "its host has no address"),
    ("closed the connection", "the connection broke"),
    ("unable to open", "its file cannot be opened, or its folder is missing"),
    ("not a database", "its file is none of SQLite"),
    ("disk", "its disk is full or broken"),
)


@contextlib.contextmanager
def outage(action: str) -> Iterator[None]:
    """Turn what the database and the pool raise within into ``StoreUnavailable``; ``action`` is for the log."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        raise StoreUnavailable(reason=f"cannot {action} the database: {explained(error)}") from None


def state(error: BaseException) -> str:
    """The SQLSTATE of an error, empty where there is none."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def explained(error: BaseException) -> str:
    """What is wrong, in words that hold nothing of the URL and of what was to be stored."""
    origin = getattr(error, "orig", None) or error
    words = str(origin).lower()
    by_words = next((saying for part, saying in _SAYINGS if part in words), type(origin).__name__)
    found = _STATES.get(state(error), by_words)
    return f"{found} ({state(error)})" if state(error) else found
