"""Tests of the benchmark itself, not of any speed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.bench import peers
from tests.bench.load import Contender, Failed, Request, one_round
from tests.bench.plan import Plan
from tests.bench.servers import Running
from tests.support import ROOT, Server, need


def run(*options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *options],
        cwd=ROOT,
        env=None if path is None else {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.alone
def test_a_run_in_small(tmp_path: Path) -> None:
    """A run checks the responses, and has a figure for each call and a table for each section."""
    need("wrk")
    output = tmp_path / "results.json"
    small = ("--quick", "--seconds=0.1", "--rounds=1", "--connections=4", "--sizes=3,20,40", "--samples=10")
    sections = "calls,list,sizes,unseen,writes,beside,floods,attacked,inside"
    done = run(*small, f"--sections={sections}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    assert {*sections.split(","), "memory", "machine"} <= results.keys()
    assert {one["name"] for one in results["calls"]} == {
        "B",
        "B under our worker",
        "B hello",
        "B RS256",
        "B ES256",
        *(f"generate HS256, {caller}" for caller in ("Basic", "session", "Bearer")),
        *(f"generate {algorithm}, Basic" for algorithm in ("RS256", "ES256")),
        *(f"auth/check, {what}" for what in ("Bearer", "cookie", "token in X-Original-URI")),
        "user/detail, Bearer",
    }
    for one in (*results["calls"], *results["list"], *results["beside"], *results["attacked"]):
        assert one["requests"] > 0
        assert one["rate"] > 0
        assert one["ratios"]["rate"][0] > 0
        assert one["name"] in done.stdout
    assert "| generate HS256, Basic |" in done.stdout
    assert all(one["ratio"] > 0 for one in results["floods"]["beside"].values())
    assert "| 10 probes a second |" in done.stdout


def test_a_refusal_stops_the_benchmark(server: Server) -> None:
    """A round with an unexpected response has no figures, but the number of such responses."""
    need("wrk")
    known = Running.__new__(Running)
    known.port = server.port
    known.process = cast("Any", server.process)
    with pytest.raises(Failed, match=r"of which [1-9]"):
        one_round(Contender("lost", known, [Request("GET", "/healthz"), Request("GET", "/nowhere")]), 2, 0.2)


def test_without_wrk_it_says_what_to_install() -> None:
    """Without wrk, the run fails with a sentence that states how to install it."""
    done = run(path="")
    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_peer_that_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that is not installed is listed as not run, with its make command, and nothing is started."""
    assert peers.report(Plan(tmp_path, 0.1, 1, (1,), (3, 3, 3), 1, ()), peers.PEERS, tmp_path)
    said = capsys.readouterr().out
    for peer in peers.PEERS:
        assert f"{peer.name}: not run, as it is not installed: {peer.install()}\n" in said
        known = subprocess.run(["make", "-n", *peer.install().split()[1:]], cwd=ROOT, capture_output=True, check=False)
        assert known.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that does not start is listed with its output, and the run fails."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "installed").touch()
    broken = peers.Peer("broken", ("sh", "-c", "echo no such thing; exit 1"), "/", ())
    assert not peers.report(Plan(tmp_path / "here", 0.1, 1, (1,), (3, 3, 3), 1, ()), [broken], tmp_path)
    assert "broken: failed: broken did not start: no such thing" in capsys.readouterr().out
