"""Failovers of PostgreSQL under load: servers and nodes are killed, paused and separated, and a ledger is kept.

The ledger has every acknowledged write, and every token whose revocation was acknowledged. A write that is missing
afterwards, and a revoked token that any node accepts, is a violation.
"""

import contextlib
import http.client
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.tracing import Outcome
from tests.store.failover import Replicated, replicated
from tests.support import API, STRONG_SECRET, Server, application

_DETAIL = "/plugin/datafor-modeler/api/user/detail"
_NODES = 2
_TRIES = 6  # calls to a node with each token; both workers serve some of them
_PAUSE = 0.05  # seconds between two calls of a client, which leave time for the calls of others
_LONGEST = 60.0  # seconds until a site serves again
_Event = Callable[["_Site"], None]


def check_failovers(variant: str = "whole", rounds: int = 2) -> Outcome:
    """S10: with a synchronous standby, no acknowledged write is lost, and no revoked token is accepted again.

    Broken variants: ``asynchronous`` replication, and a service that is ``unfenced``.
    """
    folder, chance = Path(tempfile.mkdtemp(prefix="faults-")), random.Random(7)  # noqa: S311 - to be repeated
    violations: list[str] = []
    runs = 0
    try:
        with replicated() as databases, _Site(folder, databases, variant) as site:
            for number in range(rounds):
                events = _CATCHING.get(variant, _EVENTS)
                for event in chance.sample(events, len(events)):
                    runs += 1
                    site.epoch += 1
                    event(site)
                    site.wait_until_it_serves()
                    violations += [f"round {number}, {event.__name__}: {one}" for one in site.violations()]
                if violations:
                    break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(runs, violations)


class _Site:
    """Two nodes that share databases, and clients that use them without pause."""

    def __init__(self, folder: Path, databases: Replicated, variant: str) -> None:
        self.databases, self.variant = databases, variant
        if variant != "asynchronous":
            databases.synchronous()
        self.nodes = [Server(_made(folder / f"node{number}"), **self._environ()) for number in range(_NODES)]
        for number, node in enumerate(self.nodes):
            node.application = "tests.faults.unfenced_wsgi:app" if variant == "unfenced" else "wsgi:app"
            if number:
                shutil.copy(self.nodes[0].config_dir / "secret_key", node.config_dir)
            self._prepare(node)
            assert node.start().port, node.output
        self.acknowledged: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.revoked: list[str] = []
        self.accepted: list[str] = []
        self.tried = 0  # calls with a revoked token that had a response
        self.epoch = 0  # what was written before it began is not replaced by what is written later
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._write, args=(number,)) for number in range(3)]
        self._clients += [threading.Thread(target=self._revoke), threading.Thread(target=self._try_revoked)]

    def _environ(self) -> dict[str, str]:
        return {"DATAFOR_TOKEN_STORE": self.databases.switch.url(), "DATAFOR_TOKEN_STORE_TIMEOUT": "3"}

    def _prepare(self, node: Server) -> None:
        from tests.processes import run

        environ = {"PATH": os.environ["PATH"], "DATAFOR_TOKEN_CONFIG_DIR": str(node.config_dir), **self._environ()}
        done = run("-m", "datafor_token", "store", "init", environ=environ)
        assert done.returncode == 0, done.stderr

    def __enter__(self) -> "_Site":
        assert self._post(0, "update", application(secret=STRONG_SECRET)) == 200
        for client in self._clients:
            client.start()
        self.wait_until_it_serves()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()
        for node in self.nodes:
            node.stop(signal.SIGKILL)

    def _post(self, number: int, call: str, body: dict[str, object]) -> int:
        """Return the status of a call to a node, 0 if the connection broke."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.nodes[number].post(call, body).status
        return 0

    def _write(self, client: int) -> None:
        """Raise the number of some applications through all nodes in turns."""
        number = 0
        while not self._stop.is_set():
            number += 1
            time.sleep(_PAUSE)
            name = f"app{client}-{self.epoch}-{number % 3}"
            self.sent[name] = number
            if self._post(number % _NODES, "update", _other(name, expire=number)) == 200:
                self.acknowledged[name] = number

    def _revoke(self) -> None:
        """Issue tokens, and revoke them on any node."""
        number = 0
        while not self._stop.is_set():
            number += 1
            time.sleep(_PAUSE)
            with contextlib.suppress(OSError, http.client.HTTPException):
                made = self.nodes[0].post("generate", {"name": "ERP", "username": f"user{number % 5}"})
                if made.status != 200 or self._status(number % _NODES, made.json["token"]) != 200:
                    continue
                if self._post(-number % _NODES, "revoke", {"token": made.json["token"]}) == 200:
                    self.revoked.append(made.json["token"])

    def _try_revoked(self) -> None:
        """Call all nodes with revoked tokens, above all with recent ones."""
        number = 0
        while not self._stop.is_set():
            number += 1
            time.sleep(_PAUSE)
            for token in self.revoked[-1 - number % 7 :][:1]:
                status = self._status(number % _NODES, token)
                self.tried += status != 0
                if status == 200:
                    self.accepted.append(token)

    def _status(self, number: int, token: str) -> int:
        with contextlib.suppress(OSError, http.client.HTTPException):
            headers = {"Authorization": f"Bearer {token}"}
            return self.nodes[number].request("GET", _DETAIL, headers=headers).status
        return 0

    def wait_until_it_serves(self) -> None:
        """Wait until each node acknowledges a write, and a token was revoked."""
        until, revoked = time.monotonic() + _LONGEST, len(self.revoked)
        for number, node in enumerate(self.nodes):
            while self._post(number, "update", _other("Serves")) != 200:
                assert time.monotonic() < until, node.output[-3000:]
                time.sleep(0.05)
        while len(self.revoked) < revoked + 2:
            assert time.monotonic() < until, "no token is revoked"
            time.sleep(0.05)

    def wait_for_tries(self) -> None:
        """Wait until each worker has had calls with revoked tokens, whatever their responses are."""
        until, tried = time.monotonic() + _LONGEST, self.tried
        while self.tried < tried + _NODES * 12:
            assert time.monotonic() < until, "calls have no response"
            time.sleep(0.05)

    def violations(self) -> list[str]:
        """Return the acknowledged writes that are missing on any node, and the revoked tokens that are accepted."""
        wrong = [f"{len(self.accepted)} calls with a revoked token were accepted"] if self.accepted else []
        acknowledged, revoked = dict(self.acknowledged), self.revoked[-3:]
        for number, node in enumerate(self.nodes):
            listed = node.request("GET", f"{API}/list")
            assert listed.status == 200, node.output[-3000:]
            stored = {row["name"]: row["expire"] for row in listed.json["data"]}
            wrong += [
                f"{name}: {least} was acknowledged, {stored.get(name)} is stored"
                for name, least in acknowledged.items()
                if not least <= stored.get(name, -1) <= self.sent[name]
            ]
            statuses = [self._status(number, token) for token in revoked for _ in range(_TRIES)]
            if 200 in statuses:
                wrong.append(f"node {number} accepts revoked tokens: {statuses.count(200)} of {len(statuses)} calls")
        return wrong


def primary_killed(site: _Site) -> None:
    """Kill the primary while its standby lags behind, and promote the standby."""
    site.databases.cut_off()
    time.sleep(0.5)
    site.databases.primary.stop(signal.SIGKILL)
    site.epoch += 1
    site.databases.promote()
    site.wait_until_it_serves()
    rebuild(site)


def primary_continued(site: _Site) -> None:
    """Pause the primary, promote the standby, and continue the old one, which clients reach again for a while."""
    databases = site.databases
    databases.primary.signal_all(signal.SIGSTOP)
    databases.promote()
    # From here on, each node knows the new primary.
    site.wait_until_it_serves()
    databases.continue_old()
    databases.switch.target = databases.primary
    databases.switch.cut()
    site.wait_for_tries()
    databases.switch.target = databases.standby
    site.wait_until_it_serves()
    rebuild(site)


def rebuild(site: _Site) -> None:
    """Give the new primary a standby, for which it waits from now on."""
    site.databases.rebuild()
    if site.variant != "asynchronous":
        site.databases.synchronous()


def standby_away(site: _Site) -> None:
    """Separate the standby for a while: writes wait, or are 503."""
    site.databases.cut_off()
    time.sleep(1)
    site.databases.reconnect()


def primary_paused(site: _Site) -> None:
    """Pause the primary for a while, without a failover."""
    site.databases.primary.signal_all(signal.SIGSTOP)
    time.sleep(1)
    site.databases.primary.signal_all(signal.SIGCONT)


def connections_broken(site: _Site) -> None:
    """Break every connection to the primary."""
    site.databases.switch.cut()


def node_killed(site: _Site) -> None:
    """Kill a whole node, and start it again."""
    node = site.nodes[0]
    node.stop(signal.SIGKILL)
    time.sleep(0.2)
    assert node.start().port, node.output


def workers_killed(site: _Site) -> None:
    """Kill one worker of each node."""
    for node in site.nodes:
        for worker in node.workers()[:1]:
            os.kill(worker, signal.SIGKILL)


# Each is caught by one event: there is no need to wait for the others.
_CATCHING: dict[str, tuple[_Event, ...]] = {"asynchronous": (primary_killed,), "unfenced": (primary_continued,)}
BROKEN = tuple(_CATCHING)
_EVENTS: tuple[_Event, ...] = (
    primary_killed,
    primary_continued,
    standby_away,
    primary_paused,
    connections_broken,
    node_killed,
    workers_killed,
)


def _other(name: str, **changes: Any) -> dict[str, Any]:
    """Return an application with a secret of its own: a revoked token is verified with each one that has its secret."""
    return application(name=name, secret=f"{STRONG_SECRET}-{name}", **changes)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
