"""Translation of database errors. The driver's texts are not repeated, since they may contain parts of the URL."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable

_REFUSED = "it refuses the user or the password: correct it in the URL, PGPASSWORD, ~/.pgpass or a pooler's `auth_file`"
_NO_PRIMARY = "no host accepts writes: name the primary in the URL, or let a standby be promoted"
_NO_ADDRESS = "its host has no address: correct its name in the URL, or your DNS"
_FULL = "it has too many connections: raise its `max_connections`, or put a pooler in between"
_SHARED = "its session was used by another client: a pooler was not recognised, so set it to session mode"
_WAITED = "the pooler had no connection to the server in time: raise `default_pool_size`, or see its log"
_ENDED = "the pooler ended it: raise `query_timeout` and `idle_transaction_timeout` in pgbouncer.ini"
# By SQLSTATE, which a server sends with its errors.
_STATES = {
    "42P01": "tables are missing in it: run `datafor-token store init`",
    "55000": _NO_PRIMARY,  # the log of a standby has no position of its own
    "42501": "its user lacks rights: grant those that docs/several-hosts.md lists",
    "3F000": "its user has no schema to create tables in: create it, or correct `search_path`",
    "26000": _SHARED,
    "42P05": _SHARED,
    "25P03": "a transaction did nothing for too long: this node, or the network, was frozen",
    "57P01": "it was stopped or restarted, or an administrator ended the connection: start it if it is down",
}
# By a part of the driver's text. With several hosts it has several errors: the most specific come first.
_EXPLANATIONS = (
    # Of PgBouncer. Some end with "timeout".
    ("statement pooling mode", "the pooler is in statement mode: set `pool_mode = transaction` in pgbouncer.ini"),
    ("unsupported startup", "the pooler refuses a parameter: add it to `ignore_startup_parameters` in pgbouncer.ini"),
    ("query_wait_timeout", _WAITED),
    ("client_login_timeout", _WAITED),
    ("server_login_retry", "the pooler cannot connect to the server, and its log says why"),
    ("server conn crashed", "the pooler lost its connection to the server: see whether that is stopped"),
    ("query timeout", _ENDED),
    ("idle transaction timeout", _ENDED),
    ("max_client_conn", "the pooler has too many clients: raise `max_client_conn` in pgbouncer.ini"),
    ("no such database", "the pooler does not know the database: add it to [databases] in pgbouncer.ini"),
    ("is disabled", "the pooler has disabled the database: run `ENABLE` in its console"),
    ("no such user", "the pooler does not know the user: add it to its `auth_file`"),
    ("sasl authentication failed", _REFUSED),
    ("too many", _FULL),
    ("remaining connection slots", _FULL),
    ("password authentication failed", _REFUSED),
    ("no password supplied", "it asks for a password: give it in the URL, PGPASSWORD or ~/.pgpass"),
    (
        "pg_hba.conf",
        "its pg_hba.conf does not let this user in from here: add a line for it, or correct user and database",
    ),
    ("not permitted to log in", "its user may not log in: run `ALTER ROLE ... LOGIN`"),
    ("permission denied for database", "its user has no right to connect: run `GRANT CONNECT ON DATABASE ... TO ...`"),
    ("invalid sslmode", "the URL has an unknown sslmode: correct it"),
    ("does not support ssl", "it does not speak TLS, which the URL's sslmode asks for: set `ssl = on` there"),
    (
        "certificate",
        "its certificate cannot be verified, or the client's is missing: name `sslrootcert`, or `sslcert`, in the URL",
    ),
    ("unrecognized configuration parameter", "it does not know a parameter that the URL's options set: remove it"),
    ("no such table", _STATES["42P01"]),
    ("does not exist", "the user or the database does not exist: create it, or correct the URL"),
    ("not currently accepting", "it accepts no connections: run `ALTER DATABASE ... ALLOW_CONNECTIONS true`"),
    ("starting up", "it is starting up: try again in a moment"),
    ("shutting down", "it is shutting down: start it again"),
    ("read-only", _NO_PRIMARY),
    ("hot standby", _NO_PRIMARY),
    ("readonly", "it is read-only: make its file and folder writable"),
    ("connection refused", "connection refused: start it, or correct host and port in the URL"),
    ("timeout", "it did not respond in time: see whether it, a pooler or the network in between is stopped or frozen"),
    ("resolve", _NO_ADDRESS),
    ("translate host", _NO_ADDRESS),
    ("closed the connection", "the connection broke: its log, or that of a proxy in between, says why"),
    ("unable to open", "its file cannot be opened, or its folder is missing: correct the path in the URL"),
    ("not a database", "its file is not a database of SQLite: correct the path in the URL"),
    ("disk", "its disk is full or broken: free space"),
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
