"""The rate of an application over both workers of a real server."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import STRONG_SECRET, Server, application


def statuses(server: Server, name: str, number: int) -> list[int]:
    """Return the statuses of so many requests for a token, sixteen at once."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: server.post("generate", {"name": name}).status, range(number)))


def test_exactly_so_many_are_issued(server: Server) -> None:
    """Of 120 requests at once in both workers, the rate of 50 a day lets 50 through; the others get 429."""
    server.post("update", application(name="Rate", secret=STRONG_SECRET, rate="50/day"))
    found = statuses(server, "Rate", 120)
    assert (found.count(200), found.count(429)) == (50, 70)
    events = server.request(
        "GET", "/plugin/datafor-modeler/api/token/audit?event=token_generated&application=Rate&limit=100"
    )
    assert len(events.json["data"]) == 50


def test_a_restart_and_a_kill_forget_nothing(tmp_path: Path) -> None:
    """After a kill in the middle of issuing, what was issued is still counted."""
    server = Server(tmp_path).start()
    try:
        server.post("update", application(name="Rate", secret=STRONG_SECRET, rate="50/day"))
        assert set(statuses(server, "Rate", 40)) == {200}
        server.stop(signal.SIGKILL)
        server = Server(tmp_path).start()
        assert statuses(server, "Rate", 20).count(200) == 10
    finally:
        server.stop()
