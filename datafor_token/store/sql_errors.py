"""What a database's refusals mean: every error of the driver gets its error here, without its own words."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable

# What the driver's own words, which may hold parts of a URL, come down to.
_SAYINGS = (
    ("password authentication failed", "it refuses the user or the password"),
    ("no password supplied", "it asks for a password"),
    ("does not exist", "there is no such user or database"),
    ("read-only", "no host takes writes"),
    ("connection refused", "nobody listens there"),
    ("too many", "it has too many connections"),
    ("starting up", "it is starting up"),
    ("shutting down", "it is shutting down"),
    ("timeout", "no answer in time"),
    ("resolve", "its host has no address"),
    ("translate host", "its host has no address"),
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
    found = next((saying for part, saying in _SAYINGS if part in words), type(origin).__name__)
    return f"{found} ({state(error)})" if state(error) else found
