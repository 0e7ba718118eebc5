"""``python -m tests.bench.pages [SIZE [LINES]]``: what each page of the console costs with many records.

SIZE (20,000) applications, users and sessions, LINES (five times as many) of the audit log. WSGI calls in one process,
which has read the applications as a new worker does; processor time without the browser.
"""

import gzip
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Flask

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.validation import logs
from datafor_token.validation.strict_json import compact
from tests.bench.records import Records, name_of
from tests.conftest import CHEAP_FOR_TESTS_ONLY, services_in
from tests.console.client import Client
from tests.support import ADMIN_PASSWORD

_SIZE, _LINES, _CALLS = 20_000, 5, 5  # lines for each application
_DAY = 86_400
_LIMIT = 300.0  # milliseconds that a page should stay below
# Of the pages in the URL map, those with a query that makes the server do more, and their arguments.
_QUERIES = {
    "applications": ("q=system", "q=nothing", "sort=-name", "sort=used", "sort=-used", "state=enabled", "page=99"),
    "users": ("q=person", "q=nothing", "sort=-name", "sort=used", "sort=-used", "role=Sales", "page=99"),
    "audit": ("user=person-000001", "application=nothing", "event=sign_in_refused", "q=nothing"),
    "tokens": (f"id={4:032x}", f"id={'0' * 31}1"),
    "tokens/issued": ("user=person-000001", "application=nothing", "status=revoked"),
}
_LEFT_OUT = {"asset", "not_found", "sign_out"}


def main() -> None:
    """Print the processor time of each page: of the first call, and the median of the next ones."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else _SIZE
    lines = int(sys.argv[2]) if len(sys.argv) > 2 else _LINES * size
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own there
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        app = _service(Path(name), size, lines)
        console = Client(app)
        assert console.sign_in().status_code == 303
        sys.stdout.write(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {size} applications, users and sessions,"
            f" {lines} lines of the audit log; ms of CPU\n{'first':>8}{'median':>8}{'kB':>7}{'gzip':>6}  page\n"
        )
        slow = []
        for path in _paths(app):
            begun = time.process_time()
            response = console.get(path)
            first = (time.process_time() - begun) * 1000
            median = statistics.median(_times(console, path))
            data = response.data
            sys.stdout.write(
                f"{first:8.1f}{median:8.1f}{len(data) / 1000:7.1f}{len(gzip.compress(data, 5)) / 1000:6.1f}"
                f"  {path or '(home)'}{'' if response.status_code == 200 else f' ({response.status_code})'}\n"
            )
            slow += [path] if median > _LIMIT else []
        sys.stdout.write(f"above {_LIMIT:.0f} ms: {', '.join(slow) or 'none'}\n")


def _times(console: Client, path: str) -> Iterator[float]:
    for _ in range(_CALLS):
        begun = time.process_time()
        console.get(path)
        yield (time.process_time() - begun) * 1000


def _paths(app: Flask) -> Iterator[str]:
    """Yield the paths of all pages below the console's, with the names of one application and one user."""
    for rule in app.url_map.iter_rules():
        blueprint, _, view = rule.endpoint.partition(".")
        if blueprint != "console" or "GET" not in (rule.methods or ()) or view in _LEFT_OUT:
            continue
        path = rule.rule.removeprefix("/console/").replace("<name>", name_of(7))
        if "<" in path:
            continue
        if "user" in view and "application" not in view and path != "users":
            path += f"?name={quote('person-000007')}"
        yield path
        yield from (f"{path}?{query}" for query in _QUERIES.get(path, ()))


def _service(folder: Path, size: int, lines: int) -> Flask:
    """Return a service with records in a folder."""
    os.environ["DATAFOR_TOKEN_ADMIN_PASSWORD"] = ADMIN_PASSWORD
    first = Settings(config_dir=folder / "first" / "config", data_dir=folder / "first" / "data", log_level="ERROR")
    create_app(first, hasher=CHEAP_FOR_TESTS_ONLY)
    all_of_it = folder / "all"
    Records(all_of_it, size).write(folder / "first")
    _write_sessions(all_of_it / "data" / "sessions", size)
    _write_log(all_of_it / "data" / "audit.log", size, lines)
    settings = Settings(config_dir=all_of_it / "config", data_dir=all_of_it / "data", log_level="ERROR")
    app = create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)
    services = services_in(app)
    for number in range(size):
        services.activity.accepted(f"person-{number:06d}", name_of(number))
    services.activity.flush()
    services.registry.index()
    return app


def _write_sessions(folder: Path, size: int) -> None:
    """Write gate sessions of tokens, one in a hundred of the same application and user."""
    now = time.time()
    for number in range(size):
        of = 7 if number % 100 == 0 else number
        record: dict[str, Any] = {
            "format": 1,
            "name": hashlib.sha256(str(number).encode()).hexdigest(),
            "kind": "gate",
            "user": f"person-{of:06d}",
            "password_sealed": "x",
            "times_disabled": 0,
            "opened": now - 60,
            "used": now - 60,
            "address": "10.0.0.7",
            "grant": {
                "application": name_of(of),
                "token": f"hmac-{number}",
                "secret_sealed": "x",
                "claims": {"loginname": f"person-{of:06d}"},
                "issued": None,
                "expires": now + _DAY,
            },
        }
        (folder / f"{record['name']}.json").write_text(json.dumps(record))


def _write_log(file: Path, size: int, count: int) -> None:
    """Write lines of the last two days: issued tokens, sign-ins and refused ones, in turns."""
    now = time.time()
    with file.open("ab") as log:
        for number in range(count):
            kind = ("token_generated", "sign_in", "sign_in", "sign_in_refused")[number % 4]
            event = {
                "time": logs.timestamp(now - 2 * _DAY * (count - number) / count),
                "event": kind,
                "actor": None if kind == "sign_in_refused" else f"person-{number % size:06d}",
                "way": "bearer",
                "address": "10.0.0.7",
                "request_id": f"{number:032x}",
                "target": {
                    "application": name_of(number % size),
                    "user": f"person-{number % size:06d}",
                    "token": f"{number:032x}",
                },
                **({"expires": int(now) + _DAY} if kind == "token_generated" else {}),
                **({"reason": "expired"} if kind == "sign_in_refused" else {}),
            }
            log.write(f"{compact(event)}\n".encode())


if __name__ == "__main__":
    main()
