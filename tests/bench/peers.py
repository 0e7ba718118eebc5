"""``make bench-peers``: ``generate`` beside the calls for a token of other servers, each in turns with it (P5).

Each peer is set up by tests/bench/peers_of/ to do as little as it can. Only one runs at a time, beside ours.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.bench.__main__ import machine, progress, say
from tests.bench.calls import generate_by_basic, is_token, tried
from tests.bench.load import Contender, Failed, Request, Summary, compare, is_there, one_round
from tests.bench.plan import Plan, workplace
from tests.bench.records import bearer, generate_with_key, secret_of
from tests.bench.report import table, times
from tests.bench.servers import Foreign, Running
from tests.support import ROOT, HttpResponse, basic, token_parts

INSTALLED = ROOT / ".peers"
SERVERS = ROOT / "tests" / "bench" / "peers_of"
_CLIENT = ("reports", "a-secret-of-the-benchmark-which-peers-find-in-their-environment")
_MANY, _ONE = 16, 1
_WARM_UP = 3  # times the length of a round


@dataclass(frozen=True)
class Call:
    """A peer's call for a token. ``goal``: our requests per second, times its; ``p99``: ours at one connection."""

    name: str
    request: Callable[[Running], Request]
    check: Callable[[HttpResponse], bool]
    goal: str = ""
    p99: str = ""
    algorithm: str = "HS256"  # ours


@dataclass(frozen=True)
class Peer:
    """A server to compare with. ``command`` is run in ``SERVERS``, its first word found where the peer is installed."""

    name: str
    command: Sequence[str]
    probe: str
    calls: Sequence[Call]

    def install(self) -> str:
        return f"make .peers/{self.name}/installed"

    def is_installed(self, installed: Path) -> bool:
        return (installed / self.name / "installed").exists()

    def start(self, installed: Path, folder: Path) -> Running:
        own = installed / self.name
        program = own / "bin" / self.command[0]
        return Foreign(
            folder / self.name,
            [str(program) if program.exists() else self.command[0], *self.command[1:]],
            SERVERS,
            self.probe,
            CLIENT_ID=_CLIENT[0],
            CLIENT_SECRET=_CLIENT[1],
            SIGNING_SECRET=secret_of(0),
            SUPERSET_HOME=str(own),
            NODE_ENV="production",
            AUTHLIB_INSECURE_TRANSPORT="1",  # as its client has no TLS here
        )


def _credentials(**more: str) -> Callable[[Running], Request]:
    """OAuth's client_credentials, the client known by Basic."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", **basic(*_CLIENT)}
    body = urlencode({"grant_type": "client_credentials", **more})
    return lambda _: Request("POST", "/token", headers, body)


def _guest(server: Running) -> Request:
    """Superset's call, by a token of its administrator."""
    kind = {"Content-Type": "application/json"}
    who = {"username": "admin", "password": "bench", "provider": "db"}
    found = server.call("POST", "/api/v1/security/login", kind, json.dumps(who)).json
    # No dashboard, as each is looked up.
    wanted = {"user": {"username": "lena"}, "resources": [], "rls": []}
    headers = {**kind, **bearer(found["access_token"])}
    return Request("POST", "/api/v1/security/guest_token/", headers, json.dumps(wanted))


def _signed(algorithm: str, name: str = "access_token") -> Callable[[HttpResponse], bool]:
    return lambda response: token_parts(response.json[name])[0]["alg"] == algorithm


def _opaque(response: HttpResponse) -> bool:
    return len(response.json["access_token"]) >= 30


def _gunicorn(application: str) -> tuple[str, ...]:
    return ("python", "-m", "gunicorn", "-c", "gunicorn.conf.py", application)


PEERS = (
    Peer(
        "oidc-provider",
        ("node", "oidc_provider.mjs"),
        "/.well-known/openid-configuration",
        (
            Call("oidc-provider, HS256", _credentials(resource="urn:bench:HS256"), _signed("HS256"), "0.9", "0.4"),
            Call("oidc-provider, RS256", _credentials(resource="urn:bench:RS256"), _signed("RS256"), algorithm="RS256"),
        ),
    ),
    Peer(
        "authlib",
        _gunicorn("authlib_server:app"),
        "/hello",
        (Call("authlib", _credentials(), _signed("HS256"), "1.2"),),
    ),
    Peer(
        "django-oauth-toolkit",
        _gunicorn("django_server:app"),
        "/hello",
        (Call("django-oauth-toolkit", _credentials(), _opaque, "4"),),
    ),
    Peer(
        "superset",
        _gunicorn("superset.app:create_app()"),
        "/health",
        (Call("superset, guest token", _guest, _signed("HS256", "token"), "20"),),
    ),
)


def ours(plan: Plan, algorithm: str) -> Contender:
    """``generate`` by Basic, signed as the peer's tokens are."""
    if algorithm == "HS256":
        return generate_by_basic(plan)
    request = generate_with_key(algorithm, basic())
    return tried(f"generate {algorithm}, Basic", plan.product(plan.sizes[0]), [request], is_token)


@contextlib.contextmanager
def _started(peer: Peer, installed: Path, folder: Path) -> Iterator[Running]:
    try:
        server = peer.start(installed, folder)
    except RuntimeError as failure:
        raise Failed(str(failure)) from failure
    try:
        yield server
    finally:
        server.stop()


def measured(plan: Plan, peer: Peer, installed: Path) -> list[tuple[str, ...]]:
    """The peer's lines of the table: one for each call and number of connections."""
    rows = []
    with _started(peer, installed, plan.folder) as server:
        for call in peer.calls:
            theirs = tried(call.name, server, [call.request(server)], call.check)
            own = ours(plan, call.algorithm)
            # A compiler at run time, as in Node.js, is through with its work only after some thousand requests.
            for one in (own, theirs):
                one_round(one, _MANY, plan.seconds * _WARM_UP)
            for connections in plan.connections:
                found = compare([(own, call.name), (theirs, call.name)], connections, plan.seconds, plan.rounds)
                rows.append(_row(call, *found))
    return rows


def _row(call: Call, own: Summary, theirs: Summary) -> tuple[str, ...]:
    goal = {_MANY: call.goal and f"rate {call.goal}", _ONE: call.p99 and f"p99 {call.p99}"}.get(theirs.connections, "")
    figures = [(f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.cpu:,.0f}") for one in (theirs, own)]
    ratios = (times(own.ratios["rate"]), times(own.ratios["p99"]))
    return (call.name, str(theirs.connections), *figures[0], " / ".join(figures[1]), *ratios, goal)


HEAD = (
    "peer",
    "connections",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "CPU us",
    "ours: the same four",
    "our rate x",
    "our p99 x",
    "goal of ours",
)


def report(plan: Plan, peers: Sequence[Peer], installed: Path) -> bool:
    """Print the table, and of each peer that has no lines in it why; whether all that are installed have."""
    rows: list[tuple[str, ...]] = []
    absent, failed = [], []
    for peer in peers:
        if not peer.is_installed(installed):
            absent.append(f"{peer.name}: not run, as it is not installed: {peer.install()}")
            continue
        progress(peer.name)
        try:
            rows += measured(plan, peer, installed)
        except Failed as failure:
            failed.append(f"{peer.name}: failed: {failure}")
    say(table(HEAD, rows))
    for line in (*absent, *failed):
        say(line)
    return not failed


def main() -> None:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers", description="Measures generate beside other servers' calls for tokens."
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"only these of {', '.join(names)}")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(names):
        sys.exit(f"No such peer: {', '.join(sorted(unknown))}; there are {', '.join(names)}.")
    if not is_there():
        sys.exit("The benchmark needs wrk, and it is not installed: apt-get install wrk (Debian, Ubuntu).")
    # So that the servers are stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    shape, load = machine(), os.getloadavg()[0]
    with workplace() as folder:
        plan = Plan(Path(folder), options.seconds, options.rounds, (_MANY, _ONE), (10, 10, 10), 1, ())
        try:
            wanted = [peer for peer in PEERS if peer.name in options.peers or not options.peers]
            complete = report(plan, wanted, INSTALLED)
        finally:
            plan.stop()
    say(
        f"{shape['cores']} cores ({shape['processor']}), Python {shape['python']}, {shape['wrk']};"
        f" {options.rounds} rounds of {options.seconds:g} s; load average before {load:.1f}"
    )
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
