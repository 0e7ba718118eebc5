"""Copies of the audit log from one form to the other."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from datafor_token.audit.search import parse
from datafor_token.store.lines import Incomplete, LineLog
from datafor_token.validation import strict_json


class Copied(NamedTuple):
    """The number of events that were added, and of lines that are no events and were left out.

    ``unread`` has the names of the files that are damaged or cannot be read, whose other events are missing.
    """

    added: int
    skipped: int
    unread: Sequence[str] = ()

    @property
    def fault(self) -> str | None:
        """The sentence about the files whose events are missing, if there are any."""
        if not self.unread:
            return None
        files = ", ".join(self.unread)
        return f"not all events of {files} could be read: repair, unpack or move aside these files, then run this again"


def copy(source: LineLog, target: LineLog, node: str) -> Copied:
    """Add to the target all events that it does not have yet. Those without the name of a node get that of ``node``.

    Raises ``AuditUnavailable``; what was added until then stays, and is not added again.
    """
    skipped = 0
    unread: Sequence[str] = ()

    def events() -> Iterator[bytes]:
        nonlocal skipped, unread
        try:
            for line in source.oldest_first():
                event = _with_node(line, node)
                if event is None:
                    skipped += 1
                else:
                    yield event
        except Incomplete as error:
            unread = error.files

    added = target.add_missing(events())
    return Copied(added, skipped, unread)


def _with_node(line: bytes, node: str) -> bytes | None:
    """Return the line of an event with the name of a node; None if it is not an event."""
    event = parse(line)
    if event is None:
        return None
    if "node" in event.members:
        return line
    members = {}
    for name, value in event.members.items():
        members[name] = value
        if name == "target":
            members["node"] = node
    return f"{strict_json.compact(members)}\n".encode()
