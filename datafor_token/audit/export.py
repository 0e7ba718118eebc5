"""Export of events as CSV (RFC 4180) and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datafor_token.printable import printable

COLUMNS = (
    "time", "event", "actor", "way", "address", "request_id", "application", "user", "unknown_user", "token", "node",
    "reason", "outcome", "count", "first", "request_ids", "request_prefix", "fields", "before", "after", "audience",
    "tokens_before", "expires", "iat", "jti", "steps", "rule",
)  # fmt: skip
# Excel, LibreOffice and others take a cell that begins with one of these for a formula, also in full width.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_JSON = json.JSONEncoder(ensure_ascii=False)


def csv_lines(events: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the head and a line for each event. Lists are joined with ``; ``, objects are JSON.

    No cell is a formula for a spreadsheet: such a text is prefixed by an apostrophe. Control characters are escaped, so
    that a line of the text is a line of the table.
    """
    yield csv_line(COLUMNS)
    for event in events:
        members = {**event, **event["target"]}
        yield csv_line([_text(members.get(name)) for name in COLUMNS])


def csv_line(cells: Iterable[str]) -> str:
    """Return one line of a table, with its line end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([_harmless(cell) for cell in cells])
    return line.getvalue()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "; ".join(value)
    return value if isinstance(value, str) else _JSON.encode(value)


def _harmless(cell: str) -> str:
    text = f"'{cell}" if cell.lstrip(" ").startswith(_FORMULAS) else cell
    return printable(text)
