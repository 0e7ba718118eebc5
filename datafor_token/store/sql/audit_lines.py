"""The audit log as a table, which all nodes share.

Lines are ordered by their time, which follows the clock of the database, and by the number that the table gives them.
The service only inserts rows, and deletes those that are older than ``AUDIT_DAYS``.

A line of a change is written in the transaction of the change: the next one of this thread. It is the last statement
before the commit, in each attempt.
"""

import collections
import contextlib
import dataclasses
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import AuditUnavailable, StoreUnavailable
from datafor_token.store.lines import Entry, LimitReached, Place, milliseconds_of, take, without_node
from datafor_token.store.sql import probing
from datafor_token.store.sql.engine import Database, commit, deadline
from datafor_token.store.sql.errors import explained, outage
from datafor_token.store.sql.schema import audit_lines as table
from datafor_token.store.sql.server import Server
from datafor_token.store.sql.sessions import Sessions
from datafor_token.store.sql.transactions import Transactions, is_worth_retrying

_Result = TypeVar("_Result")
_COLLECTION = "audit"  # whose generation the transactions of lines without a change increase
_FIRST, _MOST, _GROWTH = 200, 4000, 4  # rows read at once: few for a page of the newest, then more
_SEARCHED = 20_000  # rows that the database searches at once
_USUAL = 256  # bytes of a line, to count how much was searched
_ADDED = 1000  # rows that are added or deleted in one transaction
_PARTS, _SMALLEST = 8, 16  # of a block; the latter in rows
_LOCK = 3_214_960_418_270_095  # advisory lock of those who delete or import
_DAY = 86_400_000  # milliseconds

_INSERT = table.insert().inline()
# Without waiting for the disk, or for a standby. ``set_config`` is for this transaction only, and its result selects
# the row, so that it is evaluated.
_RELAXED = sa.text(
    "INSERT INTO datafor_audit (at, line) SELECT unnest(CAST(:at AS bigint[])), unnest(CAST(:line AS text[]))"
    " WHERE set_config('synchronous_commit', 'off', true) = 'off'"
)
_place = sa.tuple_(table.c.at, table.c.id)
_BACKWARDS = table.c.at.desc(), table.c.id.desc()
_PAGE = sa.select(table.c.at, table.c.id, table.c.line).order_by(*_BACKWARDS)
# Milliseconds since 1970, by the clock of the database.
_NOW = {
    "postgresql": sa.literal_column("(extract(epoch from clock_timestamp()) * 1000)::bigint", sa.BigInteger),
    "sqlite": sa.literal_column("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)", sa.BigInteger),
}
_Row = sa.Row[int, int, str]


@dataclasses.dataclass(eq=False)
class _Pending(Entry):
    """A line of a change whose transaction has not ended."""

    is_written: bool = False


class _Thread(threading.local):
    """The lines of one thread that wait for the end of a transaction."""

    def __init__(self) -> None:
        self.pending: list[_Pending] = []


class AuditLines:
    """The table: a ``LineLog`` (see ``store.lines``), and a ``Companion`` of the transactions of the same store."""

    # They take a third of a second, and a request has ``STORE_TIMEOUT`` for all.
    page_lines = 50_000

    def __init__(self, database: Database, server: Server, sessions: Sessions, transactions: Transactions) -> None:
        self._database = database
        self._server = server
        self._sessions = sessions
        self._transactions = transactions
        self._thread = _Thread()

    def append(self, lines: bytes) -> None:
        """Insert lines in a transaction of their own, without waiting for the disk."""
        if self._sessions.transaction is not None:
            # Of an update in this thread, which must not be committed here.
            self._thread.pending.extend(_Pending(line) for line in lines.splitlines(keepends=True))
            return
        given = [_row(line) for line in lines.splitlines(keepends=True)]
        attempts = itertools.count()

        def insert(connection: sa.Connection) -> None:
            # If the connection broke before the response to the first attempt, it may have stored the lines.
            rows = _missing(connection, given) if next(attempts) else given
            if not rows:
                return
            if self._database.is_postgresql:
                columns = {name: [row[name] for row in rows] for name in ("at", "line")}
                connection.execute(_RELAXED, columns)
            else:
                connection.execute(_INSERT, rows)
            connection.commit()

        with _unavailable("write"):
            self._sessions.read(lambda session: insert(session.connection))

    @contextlib.contextmanager
    def change(self) -> Iterator[Callable[[bytes], Entry]]:
        """Give the function that adds a line to the next transaction of this thread, or to the present one."""
        own: list[_Pending] = []

        def write(line: bytes) -> Entry:
            entry = _Pending(line)
            own.append(entry)
            self._thread.pending.append(entry)
            return entry

        try:
            yield write
            if any(not entry.is_written and not entry.is_dropped for entry in own):
                # Nothing was changed, such as a record that was deleted meanwhile.
                with _unavailable("write"), deadline(self._database.timeout), self._sessions.writing():
                    self._transactions.write(_COLLECTION, lambda *_: None)
        finally:
            self._thread.pending = [entry for entry in self._thread.pending if entry not in own]

    def recorded(self) -> Sequence[Entry]:
        """Return the lines of this thread that wait for the end of a transaction."""
        return tuple(entry for entry in self._thread.pending if not entry.is_dropped)

    def keep(self, wanted: Sequence[Entry]) -> None:
        """Keep those of the lines that wait, and drop the others: an attempt recorded them that was replaced."""
        for entry in self._thread.pending:
            entry.is_dropped = entry not in wanted

    def write_along(self, connection: sa.Connection) -> None:
        """Insert the lines of this thread, at the end of its transaction."""
        rows = [_row(entry.line) for entry in self._thread.pending if not entry.is_dropped]
        if not rows:
            return
        try:
            connection.execute(_INSERT, rows)
        except DBAPIError as error:
            if is_worth_retrying(error):
                raise
            raise AuditUnavailable(reason=f"cannot write the audit log in the database: {explained(error)}") from None

    def written(self) -> None:
        """Note that the transaction of this thread was committed."""
        for entry in self._thread.pending:
            entry.is_written = not entry.is_dropped
        self._thread.pending = []

    def check(self) -> None:
        """Insert a line and roll it back. A lock that another one holds is no outage (see ``probing``)."""
        with _unavailable("write"):
            probing.check_insertable(self._database, _INSERT.values(at=0, line="{}"))

    def newest_first(
        self, before: Place | None = None, since: float | None = None, until: float | None = None
    ) -> Iterator["_Rows"]:
        """Yield the rows in blocks, none from before ``since`` or after ``until``."""
        page = _PAGE
        if since is not None:
            page = page.where(table.c.at >= int(since * 1000))
        if until is not None:
            page = page.where(table.c.at <= int(until * 1000))
        last = None if before is None else _numbers(before)
        number = _FIRST
        while True:
            rows = self._read(_before(page, last).limit(number))
            if rows:
                yield _Rows(rows[::-1])
                last = rows[-1].at, rows[-1].id
            if len(rows) < number:
                return
            number = min(number * _GROWTH, _MOST)

    def lines_with(self, text: bytes, most: int | None = None) -> Iterator[bytes]:
        """Yield the lines that contain a text, which the database searches."""
        searched, last = 0, None
        while True:
            ends = self._read(
                _before(_PAGE.with_only_columns(table.c.at, table.c.id), last).offset(_SEARCHED - 1).limit(1)
            )
            block = _before(_PAGE, last).where(table.c.line.contains(text.decode(), autoescape=True))
            if ends:
                last = ends[0].at, ends[0].id
                block = block.where(_place >= sa.tuple_(*last))
            for row in self._read(block):
                line = row.line.encode()
                if text in line:
                    yield line
            if not ends:
                return
            searched += _SEARCHED * _USUAL
            if most is not None and searched >= most:
                raise LimitReached

    def oldest_first(self) -> Iterator[bytes]:
        """Yield all lines, in the order of their times."""
        ordered = sa.select(table.c.at, table.c.id, table.c.line).order_by(table.c.at, table.c.id).limit(_MOST)
        page = ordered
        while rows := self._read(page):
            for row in rows:
                yield _text(row.line)
            page = ordered.where(_place > sa.tuple_(rows[-1].at, rows[-1].id))

    def add_missing(self, lines: Iterable[bytes]) -> int:
        """Insert the lines that the table does not have yet, whatever their node, in transactions of some."""
        number = 0
        # Lines of one time together: equal ones are counted.
        batch: list[dict[str, Any]] = []
        for _, same in itertools.groupby(map(_row, lines), lambda row: row["at"]):
            batch += same
            if len(batch) >= _ADDED:
                number += self._add(batch)
                batch = []
        return number + (self._add(batch) if batch else 0)

    def _add(self, batch: Sequence[dict[str, Any]]) -> int:
        def add(connection: sa.Connection) -> int:
            if self._database.is_postgresql:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            missing = _missing(connection, batch)
            if missing:
                connection.execute(_INSERT, missing)
            return len(missing)

        return self._transact(add)

    def extent(self) -> tuple[int | None, int | None]:
        """Return the size of the table with its indexes, and the time of the oldest line."""
        (oldest,) = self._read(sa.select(sa.func.min(table.c.at)))[0]
        if not self._database.is_postgresql:
            return None, oldest
        return self._read(sa.select(sa.func.pg_total_relation_size(table.name)))[0][0], oldest

    def delete_older(self, days: int) -> int:
        """Delete some lines older than a number of days, and return their number; 0 also while another one deletes."""

        def delete(connection: sa.Connection) -> int:
            if self._database.is_postgresql:
                is_free = connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))).scalar()
                if not is_free:
                    return 0
            old = sa.select(table.c.id).where(table.c.at < _NOW[connection.dialect.name] - days * _DAY)
            some = old.order_by(table.c.at, table.c.id).limit(_ADDED)
            return connection.execute(table.delete().where(table.c.id.in_(some))).rowcount

        return self._transact(delete)

    def _transact(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        with (
            _unavailable("write"),
            outage("write in"),
            deadline(self._database.timeout),
            self._sessions.writing(),
            self._database.writing(None) as connection,
        ):
            # Refuses a former primary.
            self._server.generations(connection)
            result = work(connection)
            if not commit(connection):
                raise StoreUnavailable(
                    reason="no synchronous standby of the database confirms what is written: start it"
                )
            return result

    def _read(self, question: sa.Select[Any]) -> Sequence[Any]:
        with _unavailable("read"):
            return self._sessions.read(lambda session: session.connection.execute(question).all())


def _missing(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows whose lines the table does not have yet, whatever their node."""
    present = collections.Counter(
        (row.at, without_node(row.line.encode()))
        for row in connection.execute(_PAGE.where(table.c.at.in_({row["at"] for row in rows})))
    )
    return [row for row in rows if not take(present, (row["at"], without_node(row["line"].encode())))]


class _Rows:
    """A block of rows, oldest first."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows
        text = "\n".join([row[2] for row in rows])
        # At once, unless a row was edited by hand: five times as fast.
        is_plain = text.count("\n") == len(rows) - 1
        self.text = text.encode() + b"\n" if is_plain else b"".join(_text(row.line) for row in rows)

    @property
    def place(self) -> Place:
        return Place(f"t{self._rows[0].at}", self._rows[0].id)

    def parts(self) -> list["_Rows"]:
        size = len(self._rows) // _PARTS
        size = size if size >= _SMALLEST else 1
        return [_Rows(self._rows[first : first + size]) for first in range(0, len(self._rows), size)]


def _before(page: sa.Select[Any], last: tuple[int, int] | None) -> sa.Select[Any]:
    return page if last is None else page.where(_place < sa.tuple_(*last))


def _numbers(place: Place) -> tuple[int, int]:
    """Return the time and the number of a row; raise ``LookupError`` for the place of a file."""
    found = re.fullmatch("t([0-9]{1,15})", place.file)
    if found is None:
        raise LookupError(place.file)
    return int(found[1]), place.offset


def _row(line: bytes) -> dict[str, Any]:
    return {"at": milliseconds_of(line) or 0, "line": line.decode().rstrip("\n")}


def _text(line: str) -> bytes:
    # A row that was edited by hand is one line nevertheless.
    return line.replace("\n", " ").encode() + b"\n"


@contextlib.contextmanager
def _unavailable(action: str) -> Iterator[None]:
    """Turn an outage of the database into one of the audit log."""
    try:
        yield
    except AuditUnavailable:
        raise
    except StoreUnavailable as error:
        message = None if action == "write" else "storage is unavailable"
        raise AuditUnavailable(message, reason=f"cannot {action} the audit log: {error.reason}") from None
