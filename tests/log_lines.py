"""Strict reader of the service's log, in both formats: a line that it does not accept fails the test."""

import json
import re
from typing import Any

_FIELD = re.compile(r'(?P<name>[a-z_]+)=(?:(?P<bare>[!#-<>-~]+)|(?P<quoted>"(?:[ !#-\[\]-~]|\\["\\bfnrtu])*"))')
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NUMBERS = {"pid", "status", "ms"}


def logfmt(line: str) -> dict[str, Any]:
    """Return the fields of a line in logfmt, numbers as such."""
    fields: dict[str, Any] = {}
    end = -1
    while end < len(line):
        # The fields fill the line, with one space between them.
        found = _FIELD.match(line, end + 1)
        assert found is not None, line
        end = found.end()
        assert line[end : end + 1] in ("", " "), line
        name, value = found["name"], found["bare"]
        assert name not in fields, line
        fields[name] = json.loads(found["quoted"]) if value is None else int(value) if name in NUMBERS else value
    return fields


def read(output: str, form: str = "logfmt") -> list[dict[str, Any]]:
    """Return the events of an output that has no other lines."""
    assert output == "" or output.endswith("\n")
    found = []
    for line in output.split("\n")[:-1]:
        assert line.isascii(), line
        assert line.isprintable(), line
        fields = logfmt(line) if form == "logfmt" else json.loads(line)
        assert list(fields)[:5] == ["time", "level", "logger", "pid", "event"], line
        assert _TIME.fullmatch(fields["time"]), line
        assert fields["level"] in ("debug", "info", "warning", "error"), line
        for name, value in fields.items():
            assert type(value) is (int if name in NUMBERS else str), line
        found.append(fields)
    return found
