"""Load by wrk: short rounds of the servers in turns, so that what the machine does besides hits all of them alike."""

import contextlib
import json
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.servers import Running

# wrk cannot run for parts of a second: SIGINT stops it, and it still reports.
_LONGEST = "600s"
_LONGEST_RESPONSE = 10  # seconds
_WARM_UP = 0.6  # times the length of a round
_SCRIPT = """
local made, next = {}, 0
function init(args)
%s
  -- Not the same requests in each round: too many guesses for one name are refused without a hash.
  math.randomseed(os.time())
  next = math.random(#made)
end
function request()
  next = next %% #made + 1
  return made[next]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%%d,"microseconds":%%d,"refused":%%d,"broken":%%d,',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout))
  io.write(string.format('"p50":%%d,"p99":%%d,"longest":%%d}\\n',
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


class Failed(Exception):
    """The measurement is not valid; the text states why."""


@dataclass(frozen=True)
class Request:
    """One request, for any server."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    def to_lua(self) -> str:
        headers = ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in self.headers.items())
        body = _lua(self.body) if self.body else "nil"
        return f"  made[#made + 1] = wrk.format({_lua(self.method)}, {_lua(self.path)}, {{{headers}}}, {body})"


def _lua(text: str) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'


@dataclass(frozen=True)
class Contender:
    """Requests to a server, sent again and again, to compare with others."""

    name: str
    server: Running
    requests: Sequence[Request]
    beside: "Contender | None" = None  # other requests, sent at the same time
    beside_connections: int = 1
    refused: bool = False  # whether every response is expected to be a refusal


@dataclass(frozen=True)
class Round:
    """One round: latencies in milliseconds, CPU of all processes of the server in microseconds per request."""

    rate: float
    p50: float
    p99: float
    longest: float
    cpu: float
    requests: int


class Wrk:
    """A running wrk that sends the requests of a contender, until ``stop``."""

    def __init__(self, contender: Contender, connections: int, folder: Path) -> None:
        self._contender = contender
        self._script = folder / f"{abs(hash((contender.name, connections)))}.lua"
        self._script.write_text(_SCRIPT % "\n".join(request.to_lua() for request in contender.requests))
        self._cpu = contender.server.cpu_seconds()
        address = f"http://127.0.0.1:{contender.server.port}/"
        self._process = subprocess.Popen(
            ["wrk", "-t1", f"-c{connections}", f"-d{_LONGEST}", "--timeout=30s", f"-s{self._script}", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Before wrk has a handler of its own, the signal of ``stop`` would end it without a result.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 - no threads
        )

    def stop(self) -> Round:
        for _ in range(60):
            # A wrk that has not yet begun its measurement misses the signal.
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                output = self._process.communicate(timeout=1)[0]
                break
        else:
            raise Failed(f"wrk at {self._contender.name} does not end")
        cpu = self._contender.server.cpu_seconds() - self._cpu
        _, mark, line = output.partition("\nRESULT ")
        if not mark:
            raise Failed(f"wrk failed at {self._contender.name}: {output.strip()[-300:]}")
        found = json.loads(line)
        meant = found["requests"] if self._contender.refused else 0
        if found["broken"] or found["refused"] != meant:
            raise Failed(
                f"{self._contender.name}: {found['requests']} responses, of which {found['refused']} were refusals"
                f" (expected: {meant}); {found['broken']} connections broke"
            )
        return Round(
            rate=found["requests"] / found["microseconds"] * 1e6,
            p50=found["p50"] / 1000,
            p99=found["p99"] / 1000,
            longest=found["longest"] / 1000,
            cpu=cpu / max(found["requests"], 1) * 1e6,
            requests=found["requests"],
        )

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def _working(contender: Contender, connections: int, folder: Path) -> Iterator[Wrk]:
    wrk = Wrk(contender, connections, folder)
    try:
        yield wrk
    finally:
        wrk.kill()


def one_round(contender: Contender, connections: int, seconds: float) -> Round:
    """Send requests for so many seconds, with keep-alive; raise ``Failed`` for an unexpected response."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = None
        if contender.beside is not None:
            other = stack.enter_context(_working(contender.beside, contender.beside_connections, folder))
            # Until all of them are there.
            time.sleep(0.1 if contender.beside_connections == 1 else 1)
        wrk = stack.enter_context(_working(contender, connections, folder))
        time.sleep(seconds)
        found = wrk.stop()
        if other is not None:
            other.stop()
            # What it asked for last is still worked on: for each connection it may be a hash.
            time.sleep(0.2 + 0.1 * contender.beside_connections)
    if found.requests:
        return found
    if seconds > _LONGEST_RESPONSE:
        raise Failed(f"{contender.name}: no response within {seconds:.0f} s")
    # On a busy machine, a response can take longer than a round.
    return one_round(contender, connections, seconds * 2)


@dataclass(frozen=True)
class Summary:
    """Medians of the rounds; ``ratios``: median and quartiles of what each round was to the baseline's beside it."""

    name: str
    connections: int
    rate: float
    p50: float
    p99: float
    longest: float
    cpu: float
    requests: int
    rate_quartiles: tuple[float, float]
    slowest: float  # requests per second of the worst round
    against: str
    ratios: Mapping[str, tuple[float, float, float]]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


def compare(
    contenders: Sequence[tuple[Contender, str]], connections: int, seconds: float, rounds: int
) -> list[Summary]:
    """Rounds in turns A B C A B C, after a warm-up of each; with each contender the name of its baseline."""
    for contender, _ in contenders:
        one_round(contender, connections, seconds * _WARM_UP)
    taken: dict[str, list[Round]] = {contender.name: [] for contender, _ in contenders}
    for _ in range(rounds):
        for contender, _ in contenders:
            taken[contender.name].append(one_round(contender, connections, seconds))
    return [
        _summary(contender.name, connections, taken[contender.name], against, taken[against])
        for contender, against in contenders
    ]


def _summary(name: str, connections: int, rounds: Sequence[Round], against: str, others: Sequence[Round]) -> Summary:
    ratios = {}
    for part in ("rate", "p50", "p99", "cpu"):
        low, middle, high = quartiles(
            [getattr(one, part) / getattr(other, part) for one, other in zip(rounds, others, strict=True)]
        )
        ratios[part] = (middle, low, high)
    low, rate, high = quartiles([one.rate for one in rounds])
    return Summary(
        name=name,
        connections=connections,
        rate=rate,
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        longest=max(one.longest for one in rounds),
        cpu=statistics.median(one.cpu for one in rounds),
        requests=sum(one.requests for one in rounds),
        rate_quartiles=(low, high),
        slowest=min(one.rate for one in rounds),
        against=against,
        ratios=ratios,
    )


def is_there() -> bool:
    """Return whether wrk is installed."""
    return shutil.which("wrk") is not None
