"""Program that runs a command under the system call filter of a systemd unit.

Usage: ``python -m tests.server.system_calls UNIT COMMAND ...``.

It reads ``SystemCallFilter=`` and ``SystemCallErrorNumber=`` as systemd.exec(5) defines them: the first line decides
whether the list allows or denies, ``~`` inverts a line, and a group is what ``systemd-analyze`` prints for it.
"""

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

_KILL_PROCESS, _ALLOW, _ERROR = 0x80000000, 0x7FFF0000, 0x00050000


def calls(name: str) -> set[str]:
    """Return the system calls of a group such as ``@chown``, or the name of one call."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    entries = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return {call for entry in entries if not entry.startswith("#") for call in calls(entry)}


def allowed(unit: str) -> set[str]:
    """Return the system calls that a unit allows; its first line must allow some."""
    found: set[str] = set()
    for inverted, names in re.findall(r"^SystemCallFilter=(~?)(.*)$", unit, re.MULTILINE):
        listed = {call for name in names.split() for call in calls(name)}
        found = found - listed if inverted else found | listed
    # systemd adds these, which every program needs to start.
    return found | calls("@default")


def load(unit: str) -> None:
    """Let this process and its children make only the system calls that the unit allows."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    number = re.search(r"^SystemCallErrorNumber=(\w+)$", unit, re.MULTILINE)
    context = ctypes.c_void_p(library.seccomp_init(_ERROR | getattr(errno, number[1]) if number else _KILL_PROCESS))
    for name in allowed(unit):
        call = library.seccomp_syscall_resolve_name(name.encode())
        # Other architectures have calls that this one lacks.
        if call >= 0:
            assert library.seccomp_rule_add(context, _ALLOW, call, 0) == 0, name
    assert library.seccomp_load(context) == 0, "the filter was refused"


if __name__ == "__main__":
    load(Path(sys.argv[1]).read_text())
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell
