"""The hourly removal of what has expired."""

from pathlib import Path

from datafor_token.store.files.store import FileStore
from datafor_token.store.sweeping import Sweeper
from tests.support import Clock


def test_a_clock_that_was_set_back_delays_no_sweep(tmp_path: Path, clock: Clock) -> None:
    """A sweep is due an hour after the last one, and at once if the last one was with a clock far ahead."""
    store = FileStore(tmp_path, ("users",), 5)
    sweeper = Sweeper(store, "users", clock, lambda _: True)
    for seconds, left in ((0, []), (3599, ["lena"]), (1, []), (-86400, []), (60, ["lena"])):
        store.put("users", {"name": "lena"})
        clock.advance(seconds)
        sweeper.sweep_if_due()
        assert store.names("users") == left
