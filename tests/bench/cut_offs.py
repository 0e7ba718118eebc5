"""``python -m tests.bench.cut_offs``: what none, one and 10,000 cut-offs cost ``auth/check``.

WSGI calls in one process, of three services with known tokens, in turns.
"""

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.tokens.cut_offs import COLLECTION, CutOff
from tests.bench.inside import prepared
from tests.bench.load import Request
from tests.bench.policies import claims
from tests.bench.records import bearer
from tests.conftest import services_in
from tests.handmade_tokens import token
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, application, basic

_NUMBERS = (0, 1, 10_000)
_ROUNDS, _CALLS = 60, 200


def main() -> None:
    """Print the median time of a check for each number of cut-offs, and of a check after a new one."""
    sys.stdout.write(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {_ROUNDS} rounds of {_CALLS} calls\n")
    with tempfile.TemporaryDirectory() as name:
        checks = {number: _service(Path(name) / str(number), number) for number in _NUMBERS}
        taken: dict[int, list[float]] = {number: [] for number in _NUMBERS}
        for turn in range(_ROUNDS):
            # Which one begins alternates.
            for number in _NUMBERS[turn % 3 :] + _NUMBERS[: turn % 3]:
                taken[number].append(_time(checks[number], _CALLS))
        for number, times in taken.items():
            ratio = statistics.median(one / none for one, none in zip(times, taken[0], strict=True))
            sys.stdout.write(
                f"{number:6} cut-offs {statistics.median(times):.0f} us of CPU, median ratio {ratio:.3f}\n"
            )


def _time(call: Callable[[], object], number: int) -> float:
    begun = time.process_time()
    for _ in range(number):
        call()
    return (time.process_time() - begun) / number * 1e6


def _service(folder: Path, number: int) -> Callable[[], object]:
    """Return a check of a known token by a service with so many cut-offs, of others."""
    os.environ["DATAFOR_TOKEN_ADMIN_PASSWORD"] = ADMIN_PASSWORD
    app = create_app(Settings(config_dir=folder / "config", data_dir=folder / "data", log_level="ERROR"))
    fields = application(name="ERP", secret=STRONG_SECRET)
    assert app.test_client().post(f"{API}/update", json=fields, headers=basic()).status_code == 200
    services = services_in(app)
    if number:
        one = services.cut_offs.set("other", None, None)
        for index in range(1, number):
            services.store.put(COLLECTION, CutOff(**{**dataclasses.asdict(one), "user": f"other{index}"}).to_document())
    check = prepared(app, Request("GET", "/auth/check", bearer(token(claims(0), STRONG_SECRET))), try_it=True)
    begun = time.process_time()
    check()
    first = time.process_time() - begun
    if number:
        services.cut_offs.set("one more", None, None)
        begun = time.process_time()
        check()
        first = time.process_time() - begun
        sys.stdout.write(f"{number:6} cut-offs: the first check after a new one took {first * 1000:.1f} ms of CPU\n")
    time.sleep(0.1)
    check()
    return check


if __name__ == "__main__":
    main()
