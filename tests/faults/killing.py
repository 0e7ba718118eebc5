"""Killed processes: writers at random times, workers under load, a stopped holder of the lock."""

import contextlib
import http.client
import json
import os
import random
import select
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from datafor_token.errors import LockTimeout
from tests.faults.tracing import Outcome
from tests.faults.variants import Whole, make_store
from tests.support import ADMIN_PASSWORD, Server, application

WRITERS = 4
LOGIN = "/plugin/datafor/api/extension/auth/login"


def check_random_kills(variant: str = "whole", kills: int = 1000) -> Outcome:
    """S3: of four writers that are killed at random, no acknowledged write is lost or torn."""
    folder = Path(tempfile.mkdtemp(prefix="faults-")) / "data"
    make_store(folder, "whole")
    chance = random.Random(7)  # noqa: S311 - to be repeated
    acknowledged, own = 0, dict.fromkeys(range(WRITERS), 0)
    running = {number: start_writer(folder, variant, number) for number in range(WRITERS)}
    for _ in range(kills):
        time.sleep(chance.uniform(0.005, 0.03))
        number = chance.randrange(WRITERS)
        process, pipe = running[number]
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        acknowledged, own[number] = tally(pipe, acknowledged, own[number])
        running[number] = start_writer(folder, variant, number)
        for other, (_, full) in running.items():
            acknowledged, own[other] = tally(full, acknowledged, own[other], close=False)
    for number, (process, pipe) in running.items():
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        acknowledged, own[number] = tally(pipe, acknowledged, own[number])
    violations = compare(folder, acknowledged, own, kills + WRITERS)
    shutil.rmtree(folder.parent)
    return Outcome(kills, violations)


def compare(folder: Path, acknowledged: int, own: dict[int, int], killed: int) -> list[str]:
    """Return the acknowledged writes that are missing; each kill may leave one write stored but not acknowledged."""
    store, violations = make_store(folder, "whole"), []
    store.sweep()
    names = {path.name for path in (folder / "records").iterdir()}
    if extra := names - {".lock", "shared.json", *(f"own{number}.json" for number in own)}:
        violations.append(f"files are left: {sorted(extra)}")
    shared = (store.get("records", "shared") or {"value": 0})["value"]
    if not acknowledged <= shared <= acknowledged + killed:
        violations.append(f"{acknowledged} increments were acknowledged, {shared} are stored")
    for number, value in own.items():
        found = (store.get("records", f"own{number}") or {"value": 0})["value"]
        if not value <= found <= value + killed:
            violations.append(f"writer {number}: {value} was acknowledged, {found} is stored")
    return violations


def start_writer(folder: Path, variant: str, number: int) -> tuple[int, int]:
    """Fork a writer; return its process ID and the pipe on which it acknowledges."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            store = make_store(folder, variant)
            while True:
                for name in ("shared", f"own{number}"):
                    value = store.update("records", name, lambda old, name=name: plus_one(old, name))["value"]  # type: ignore[misc]
                    os.write(writing, f"{name} {value}\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    return process, reading


def plus_one(document: dict[str, Any] | None, name: str) -> dict[str, Any]:
    return {"name": name, "value": (document or {"value": 0})["value"] + 1, "text": "x" * 3000}


def tally(pipe: int, acknowledged: int, own: int, *, close: bool = True) -> tuple[int, int]:
    """Read a writer's acknowledgements; return the increments of the shared counter and its own last value."""
    while select.select([pipe], [], [], 0)[0]:
        data = os.read(pipe, 65536)
        if not data:
            break
        # A line is written by one system call, so it is never cut.
        for line in data.decode().split("\n"):
            name, _, value = line.partition(" ")
            if name == "shared":
                acknowledged += 1
            elif name:
                own = int(value)
    if close:
        os.close(pipe)
    return acknowledged, own


def check_stopped_holder(variant: str = "whole", runs: int = 3) -> Outcome:
    """S7: while the holder of the lock is stopped, writes fail after the timeout and reads work; then writes work."""
    violations = []
    for _ in range(runs):
        folder = Path(tempfile.mkdtemp(prefix="faults-")) / "data"
        make_store(folder, "whole").put("records", {"name": "counter", "value": 1})
        reading, writing = os.pipe()
        holder = os.fork()
        if holder == 0:
            with Whole(folder, ("records",), 5).locked("records"):
                os.write(writing, b"held")
                time.sleep(600)
            os._exit(0)
        os.read(reading, 4)
        os.kill(holder, signal.SIGSTOP)
        store = make_store(folder, variant)
        try:
            store.update("records", "counter", lambda _: {"name": "counter", "value": 2}, wait=0.3)
            violations.append("a write went through while another process had the lock")
        except LockTimeout:
            pass
        if store.get("records", "counter") != {"name": "counter", "value": 1}:
            violations.append("the record changed, or could not be read")
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        store.put("records", {"name": "counter", "value": 3})
        os.close(reading)
        os.close(writing)
        shutil.rmtree(folder.parent)
    return Outcome(runs, violations)


def check_workers(variant: str = "whole", kills: int = 60) -> Outcome:
    """S9: after workers are killed under load, every write with a successful response is stored."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    server = Server(folder, FAULTS_VARIANT=variant)
    server.application = "wsgi:app" if variant == "whole" else "tests.faults.broken_wsgi:app"
    server.start()
    acknowledged: dict[int, int] = {}
    done = threading.Event()
    # With a session: sign-ins of killed workers count as failed, and would soon be refused.
    login = {"username": "admin", "password": ADMIN_PASSWORD}
    time.sleep(0.5)  # until the variant that writes late has stored the user
    cookie = str(server.request("POST", LOGIN, login, {}).headers["Set-Cookie"]).partition(";")[0]

    arguments = [(server, cookie, number, acknowledged, done) for number in range(4)]
    clients = [threading.Thread(target=load, args=one) for one in arguments]
    for client in clients:
        client.start()
    violations = []
    chance = random.Random(7)  # noqa: S311 - to be repeated
    for _ in range(kills):
        if not all_acknowledged(dict(acknowledged), acknowledged, len(clients)):
            violations.append("a client no longer receives a response")
            break
        time.sleep(chance.uniform(0.0, 0.2))
        workers = children(server.process.pid)
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
        # At once, before the client's next write hides a lost one.
        violations += lost(folder, acknowledged)
    done.set()
    for client in clients:
        client.join()
    server.stop(signal.SIGKILL)
    violations += lost(folder, acknowledged)
    shutil.rmtree(folder)
    return Outcome(kills, violations)


def all_acknowledged(before: dict[int, int], acknowledged: dict[int, int], number: int) -> bool:
    """Wait until each client has a new acknowledgement; on a busy machine this takes a while."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        now = list(acknowledged.items())
        if len(now) == number and all(value > before.get(client, 0) for client, value in now):
            return True
        time.sleep(0.005)
    return False


def lost(folder: Path, acknowledged: dict[int, int]) -> list[str]:
    """Return the acknowledged numbers that are not stored, or not yet."""
    violations = []
    for number, value in list(acknowledged.items()):
        found = expire_of(folder / "data" / "applications" / f"app{number}.json")
        if found < value:
            violations.append(f"app{number}: {value} was acknowledged, {found} is stored")
    return violations


def load(server: Server, cookie: str, number: int, acknowledged: dict[int, int], done: threading.Event) -> None:
    """Raise the number of an application until ``done``, and note each acknowledged one."""
    headers = {"Cookie": cookie}
    value = 0
    while not done.is_set():
        value += 1
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.post("update", application(name=f"app{number}", expire=value), headers).status == 200:
                acknowledged[number] = value


def expire_of(path: Path) -> int:
    """Return the number in the application's record, or -1 if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return int(json.loads(path.read_bytes())["expire"])
    return -1


def children(parent: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
