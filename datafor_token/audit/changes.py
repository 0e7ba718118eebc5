"""Values of changed fields, bounded for a line of the audit log."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LONGEST_TEXT = 256  # characters
# Bytes of one value in a line, of which the last text in it can use more. All fields of an application together, which
# has 30, are less than the 1 MiB above which a line is not searched.
MOST_BYTES = 4096
MARK = (
    "..."  # the end of a text that was cut; in a list or an object, a text that begins with it counts what is left out
)


class Change(NamedTuple):
    """A changed field of a recorded event; a value that was not set is None. ``has_values`` is false for a secret."""

    field: str
    before: Any
    after: Any
    has_values: bool


def changes_of(event: Mapping[str, Any]) -> list[Change]:
    """Return the changed fields of a recorded event, which may have been edited by hand."""
    fields = event.get("fields")
    before, after = (event[name] if isinstance(event.get(name), Mapping) else {} for name in ("before", "after"))
    names = dict.fromkeys([*map(str, fields if isinstance(fields, list) else ()), *before, *after])
    return [Change(name, before.get(name), after.get(name), name in before or name in after) for name in names]


def recorded(fields: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the bounded values of the fields for a line of the audit log, or None if there are none.

    ``values`` lacks the fields that are not set, and those whose values must not be recorded.
    """
    return {name: bounded(values[name]) for name in fields if name in values} or None


def bounded(value: Any) -> Any:
    """Return a JSON value whose texts, lists and objects are cut, so that its JSON text has a limited length."""
    return _Bounded().of(value)


class _Bounded:
    """Cuts one value; ``left`` is the number of bytes that it may still have."""

    def __init__(self) -> None:
        self.left = MOST_BYTES

    def of(self, value: Any) -> Any:
        self.left -= 8
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            members: dict[str, Any] = {}
            for name, one in value.items():
                if self.left <= 0:
                    members[MARK] = f"{MARK} {len(value) - len(members)} more"
                    break
                members[self._text(name)] = self.of(one)
            return members
        if isinstance(value, list | tuple):
            items: list[Any] = []
            for one in value:
                if self.left <= 0:
                    items.append(f"{MARK} {len(value) - len(items)} more")
                    break
                items.append(self.of(one))
            return items
        return value

    def _text(self, text: str) -> str:
        cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + MARK
        # As in the line, where a character outside ASCII takes 6 or 12 bytes.
        self.left -= len(json.dumps(cut))
        return cut
