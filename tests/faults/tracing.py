"""Faults at single system calls, injected by strace: their order, a kill at each, an error at each."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults.variants import make_store

WRITER = Path(__file__).with_name("writer.py")
# The system calls of a write.
CALLS = ("openat", "write", "fsync", "rename", "close", "unlink", "flock")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "EACCES", "EPERM", "ELOOP", "EISDIR", "ENAMETOOLONG")
BROKEN_ORDERS = ("no fsync", "fsync before flush", "no folder fsync", "no temp", "plain overwrite")


class Outcome(NamedTuple):
    """Result of a check: the number of runs, and a sentence for each violation."""

    runs: int
    violations: list[str]


def traced(folder: Path, variant: str, options: list[str], times: int = 1) -> tuple[list[str], list[str]]:
    """Run the writer under strace; return its output and the lines of the trace from BEGIN on."""
    trace = folder.parent / "trace"
    # The interpreter itself, because a shim would be traced too; without site packages, which the store does not need.
    python = os.path.realpath(sys.executable)
    done = subprocess.run(
        ["strace", "-f", "-qq", "-y", "-o", trace, *options, python, "-S", WRITER, folder, variant, str(times)],
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = trace.read_text().splitlines()
    # All lines if writes, and so BEGIN, are not traced.
    begin = next((number for number, line in enumerate(lines) if '"BEGIN\\n"' in line), 0)
    return done.stdout.splitlines(), lines[begin:]


def fresh(variant: str = "whole") -> Path:
    """Create a folder with a record whose value is 1."""
    folder = Path(tempfile.mkdtemp(prefix="faults-")) / "data"
    make_store(folder, "whole").put("records", {"name": "counter", "value": 1, "text": "old"})
    return folder


def check_order(variant: str = "whole") -> Outcome:
    """S1: a write is a temporary file, its content, fsync, rename, fsync of the folder, and then acknowledged."""
    folder = fresh()
    calls = "openat,write,fsync,fdatasync,rename,renameat,unlink,unlinkat,truncate,ftruncate"
    said, lines = traced(folder, variant, ["-e", f"trace={calls}"])
    shutil.rmtree(folder.parent)
    record, parent = f"{folder}/records/counter.json", f"{folder}/records"
    violations = [] if said[1:2] == ["ACK 2"] else [f"the update was not acknowledged: {said}"]
    if any(f'"{record}"' in line and re.search("unlink|O_WRONLY|O_RDWR|truncate", line) for line in lines):
        violations.append("the record itself is opened for writing, cut or removed")
    seen = [step for line in lines if (step := step_of(line, record, parent))]
    if seen != ["temp", "content", "fsync", "rename", "folder fsync", "acknowledged"]:
        violations.append(f"the order is {seen}")
    return Outcome(1, violations)


def step_of(line: str, record: str, parent: str) -> str:
    """Return the step of a write that a line of the trace shows; empty for any other line."""
    temp = re.escape(f"{parent}/.temp-")
    for pattern, step in (
        (rf'openat\(.*"{temp}\w+".*O_EXCL', "temp"),
        (rf"write\(\d+<{temp}\w+>", "content"),
        (rf"fsync\(\d+<{temp}\w+>", "fsync"),
        (rf'rename\w*\(.*"{re.escape(record)}"', "rename"),
        (rf"fsync\(\d+<{re.escape(parent)}>", "folder fsync"),
        (r'"ACK ', "acknowledged"),
    ):
        if re.search(pattern, line):
            return step
    return ""


def places(variant: str) -> Iterator[tuple[str, int]]:
    """Yield each system call of a write: its name, and its number among the calls of that name in the process."""
    folder = fresh()
    trace = folder.parent / "trace"
    traced(folder, variant, ["-e", f"trace={','.join(CALLS)}"])
    counts = dict.fromkeys(CALLS, 0)
    begun = False
    for line in trace.read_text().splitlines():
        found = re.match(r"\d+ +(\w+)\(", line)
        if found is None:
            continue
        counts[found.group(1)] += 1
        if begun and '"ACK ' not in line and '"END' not in line and not line.endswith("<unfinished ...>"):
            yield found.group(1), counts[found.group(1)]
        if '"BEGIN' in line:
            begun = True
        if '"ACK ' in line:
            break
    shutil.rmtree(folder.parent)


def value_of(folder: Path) -> int | None:
    """Return the stored value, or ``None`` for a torn record."""
    try:
        document = json.loads((folder / "records" / "counter.json").read_bytes())
        return int(document["value"]) if len(document["text"]) in (3, 5000) else None
    except (OSError, ValueError, KeyError):
        return None


def check_kills(variant: str = "whole") -> Outcome:
    """S2: killed at each system call of a write, the record is the old one or the new one, and the next write works."""
    runs, violations = 0, []
    for call, number in places(variant):
        folder = fresh()
        said, _ = traced(folder, variant, ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"])
        if said[-1:] == ["END"]:
            violations.append(f"no kill at {call} {number}")
        value = value_of(folder)
        runs += 1
        if value not in (1, 2) or ("ACK 2" in said and value != 2):
            violations.append(f"killed at {call} {number}: the record is {value}, said {said}")
        elif not works_again(folder, value + 1):
            violations.append(f"killed at {call} {number}: the next write does not work, or temporary files are left")
        shutil.rmtree(folder.parent)
    return Outcome(runs, violations)


def check_errors(variant: str = "whole", errors: tuple[str, ...] = ERRORS) -> Outcome:
    """S5: with each error at each system call, a write is acknowledged if it is stored, and the next write works."""
    runs, violations = 0, []
    for call, number in places(variant):
        for error in errors:
            folder = fresh()
            options = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}"]
            said, lines = traced(folder, variant, options)
            outcome = said[1] if len(said) > 1 else "nothing"
            value = value_of(folder)
            legal = {"ACK 2": (2,), "REFUSED": (1,), "MAYBE": (1, 2)}.get(outcome, ())
            # A close that fails still closes the descriptor, which may have been open for reading only.
            runs += 1
            where = f"{error} at {call} {number}"
            if not any("(INJECTED)" in line for line in lines):
                violations.append(f"{where}: was not injected")
            elif value not in legal:
                violations.append(f"{where}: said {outcome}, the record is {value}")
            elif call != "unlink" and list((folder / "records").glob(".temp-*")):
                violations.append(f"{where}: a temporary file is left")
            elif not works_again(folder, (value or 0) + 1):
                violations.append(f"{where}: the next write does not work")
            shutil.rmtree(folder.parent)
    return Outcome(runs, violations)


def works_again(folder: Path, expected: int) -> bool:
    """Return whether a new process removes the files of a dead one, and writes the next value."""
    store = make_store(folder, "whole")
    store.sweep()
    left = list((folder / "records").glob(".temp-*"))
    store.update("records", "counter", lambda document: {**(document or {}), "name": "counter", "value": expected})
    return not left and value_of(folder) == expected
