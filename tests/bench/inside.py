"""WSGI calls without a server, of the service and of B in turns, in one process: the least noisy measurement.

``python -m tests.bench.inside FOLDER SLICES`` reads what to call from standard input; a process of its own, since it
counts and logs as a worker does.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.load import Failed, Request
from tests.bench.plan import Plan
from tests.bench.records import Records, bearer, generate, token_of, update
from tests.bench.singles import bare_write
from tests.support import ROOT, basic

_CALLS = 40  # in one slice
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def inside(plan: Plan) -> dict[str, Any]:
    """Measure each call in microseconds: least and median of the means of slices."""
    records = Records(plan.folder / "inside", plan.sizes[0]).write(plan.first_start())
    asked = {
        "B": generate(0, {}, "/generate"),
        "generate HS256, Basic": generate(0, basic()),
        "auth/check, Bearer": Request("GET", "/auth/check", bearer(token_of(0, "person-000000"))),
        "update": update(1),
    }
    with (records.folder / "log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.inside", str(records.folder), str(plan.samples)],
            cwd=ROOT,
            input=json.dumps({name: asdict(request) for name, request in asked.items()}),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
        )
    if done.returncode:
        raise Failed(f"inside: {(records.folder / 'log').read_text()[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    folder, slices = Path(sys.argv[1]), int(sys.argv[2])
    os.environ["DATAFOR_TOKEN_CONFIG_DIR"] = str(folder / "config")
    os.environ["DATAFOR_TOKEN_DATA_DIR"] = str(folder / "data")
    os.environ["DATAFOR_TOKEN_TOKENS_MAY_ADMINISTER"] = "true"
    from datafor_token.metrics import files

    # As gunicorn's configuration does.
    files.share(os.environ)
    from datafor_token import create_app
    from tests.bench import baseline

    service = create_app()
    asked = {name: Request(**request) for name, request in json.load(sys.stdin).items()}
    calls = {
        name: prepared(baseline.app if name == "B" else service, request)
        for name, request in asked.items()
        if name != "update"
    }
    result: dict[str, Any] = in_slices(calls, slices)
    change = prepared(service, asked["update"])
    change()
    applications = folder / "data" / "applications"
    record = (applications / "system-000001.json").read_bytes()
    result |= in_slices({"bare write": lambda: bare_write(applications, record), "update": change}, slices // 10, 10)
    json.dump(result, sys.stdout)


def in_slices(calls: dict[str, Callable[[], object]], slices: int, size: int = _CALLS) -> dict[str, dict[str, float]]:
    """The least and the median of the slices, in microseconds per call, and the median of what each is to the first."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(size):
            call()
    for _ in range(max(slices, 2)):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _ in range(size):
                call()
            taken[name].append((time.perf_counter() - begun) / size * 1e6)
    first = next(iter(taken.values()))
    return {
        name: {
            "least": min(times),
            "median": statistics.median(times),
            "ratio": statistics.median(one / other for one, other in zip(times, first, strict=True)),
            "ratio_of_least": min(times) / min(first),
        }
        for name, times in taken.items()
    }


def prepared(app: Wsgi, request: Request, *, try_it: bool = True) -> Callable[[], object]:
    """Return a call of an application as a server makes it; each time its status is checked. ``try_it``: call once."""
    body = request.body.encode()
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "RAW_URI": request.path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gunicorn",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "40000",
        "HTTP_HOST": "127.0.0.1:8000",
        **headers,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    if body:
        environ |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": environ.pop("HTTP_CONTENT_TYPE")}
    statuses: list[str] = []

    def call() -> bytes:
        response = app({**environ, "wsgi.input": io.BytesIO(body)}, lambda status, _: statuses.append(status))
        data = b"".join(response)
        close = getattr(response, "close", None)
        if close is not None:
            close()
        if statuses.pop() != "200 OK":
            raise Failed(f"{request.path}: {data[:200]!r}")
        return data

    if try_it and not call():
        raise Failed(f"{request.path}: an empty response")
    return call


if __name__ == "__main__":
    main()
