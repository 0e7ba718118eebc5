"""Translation of database errors. The driver's texts are not repeated, since they may contain parts of the URL."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable

_REFUSED = "it refuses the user or the password"
_SHARED = "its session was used by another client: a pooler was not recognised, so set it to session mode"
_WAITED = "the pooler had no connection to the server in time: raise `default_pool_size`, or see its log"
_ENDED = "the pooler ended it: raise `query_timeout` and `idle_transaction_timeout` in pgbouncer.ini"
# By SQLSTATE, which a server sends with its errors.
_STATES = {
    "42P01": "tables are missing in it: run `datafor-token store init`",
    "55000": "no host accepts writes",  # the log of a standby has no position of its own
    "42501": "its user lacks rights; docs/several-hosts.md lists them",
    "3F000": "its user has no schema to create tables in",
    "26000": _SHARED,
    "42P05": _SHARED,
    "25P03": "a transaction did nothing for too long: this node, or the network, was frozen",
    "57P01": "it was stopped or restarted, or an administrator ended the connection",
}
# By a part of the driver's text. With several hosts it has several errors: the most specific come first.
_EXPLANATIONS = (
    # Of PgBouncer. Some end with "timeout".
    ("statement pooling mode", "the pooler is in statement mode: set `pool_mode = transaction` in pgbouncer.ini"),
    ("unsupported startup", "the pooler refuses a parameter: add it to `ignore_startup_parameters` in pgbouncer.ini"),
    ("query_wait_timeout", _WAITED),
    ("client_login_timeout", _WAITED),
    ("server_login_retry", "the pooler cannot connect to the server, and its log says why"),
    ("server conn crashed", "the pooler lost its connection to the server"),
    ("query timeout", _ENDED),
    ("idle transaction timeout", _ENDED),
    ("max_client_conn", "the pooler has too many clients: raise `max_client_conn` in pgbouncer.ini"),
    ("no such database", "the pooler does not know the database: add it to [databases] in pgbouncer.ini"),
    ("is disabled", "the pooler has disabled the database"),
    ("no such user", "the pooler does not know the user: add it to its `auth_file`"),
    ("sasl authentication failed", _REFUSED),
    ("too many", "it has too many connections"),
    ("remaining connection slots", "it has too many connections"),
    ("password authentication failed", _REFUSED),
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


def is_lock(error: BaseException) -> bool:
    """Return whether a statement waited too long for a lock of another transaction."""
    return state(error) == "55P03" or "database is locked" in str(getattr(error, "orig", error))


def is_read_only(error: BaseException) -> bool:
    """Return whether the server accepts no writes: the primary has become a standby."""
    return state(error) == "25006"


def is_of_pooler(error: BaseException) -> bool:
    """Return whether PgBouncer itself reports it, on an open connection."""
    # "Protocol violation", which no server reports to this driver.
    return state(error) == "08P01"


def is_timeout_of_pooler(error: BaseException) -> bool:
    """Return whether PgBouncer waited too long for the server: query_wait_timeout, query timeout."""
    return is_of_pooler(error) and str(getattr(error, "orig", error)).startswith("query")


def explained(error: BaseException) -> str:
    """Explain an error for the log, without any part of the URL or of the data."""
    origin = getattr(error, "orig", None) or error
    words = str(origin).lower()
    by_words = next((explanation for part, explanation in _EXPLANATIONS if part in words), type(origin).__name__)
    found = _STATES.get(state(error), by_words)
    return f"{found} ({state(error)})" if state(error) else found
