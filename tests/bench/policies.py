"""``python -m tests.bench.policies``: what a trust policy with every field costs, for known and for unseen tokens.

WSGI calls in one process, of an application without a policy and of one with each field, in turns.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datafor_token import create_app
from datafor_token.settings import Settings
from tests.bench.inside import prepared
from tests.bench.load import Request
from tests.bench.records import DETAIL, bearer
from tests.handmade_tokens import token
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, application, basic

ISSUER = "https://id.example.com"
POLICY: dict[str, Any] = {
    "audience": ["portal", "intranet"],
    "issuer": ISSUER,
    "require": {"tenant": ["a", "b"], "/realm_access/roles": "staff"},
    "token_types": ["JWT", "at+jwt"],
    "max_lifetime": 86400,
    "networks": ["10.0.0.0/8", "192.168.0.0/16", "127.0.0.0/8"],
    "users": "own",
    "sync": ["name", "email", "roles"],
    "roles_claim": "/realm_access/roles",
    "roles_map": {"staff": "Staff", "sales": "Sales"},
}
_ROUNDS, _CALLS = 60, 50


def claims(number: int) -> dict[str, Any]:
    """Return the claims of a token that every policy accepts."""
    now = int(time.time())
    return {
        "loginname": "lena",
        "name": "Lena",
        "email": "lena@example.com",
        "iss": ISSUER,
        "tenant": "a",
        "realm_access": {"roles": ["staff"]},
        "iat": now,
        "exp": now + 3600,
        "number": number,
    }


def main() -> None:
    """Print the median time of a call with and without a policy, and the median of their ratios."""
    sys.stdout.write(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {_ROUNDS} rounds of {_CALLS} calls\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DATAFOR_TOKEN_ADMIN_PASSWORD"] = ADMIN_PASSWORD
        service = create_app(Settings(config_dir=folder / "config", data_dir=folder / "data", log_level="ERROR"))
        for kind, policy in (("plain", {}), ("policy", POLICY)):
            fields = application(name=kind, secret=STRONG_SECRET + kind, **policy)
            saved = service.test_client().post(f"{API}/update", json=fields, headers=basic())
            assert saved.status_code == 200, saved.text

        def call(kind: str, number: int) -> Callable[[], object]:
            audience = {"aud": "portal"} if kind == "policy" else {}
            user = {"loginname": f"user-of-{kind}"}
            text = token({**claims(number), **audience, **user}, STRONG_SECRET + kind)
            return prepared(service, Request("GET", DETAIL, bearer(text)), try_it=False)

        known = {kind: call(kind, -1) for kind in ("plain", "policy")}
        _print("known token", lambda kind, _: known[kind])
        _print("unseen token", call)


def _print(what: str, call: Callable[[str, int], Callable[[], object]]) -> None:
    ratios, taken = [], []
    for number in range(_ROUNDS + 2):
        means = {}
        # Which one begins alternates.
        for kind in ("plain", "policy") if number % 2 else ("policy", "plain"):
            calls = [call(kind, number * _CALLS + one) for one in range(_CALLS)]
            begun = time.process_time()
            for one in calls:
                one()
            means[kind] = (time.process_time() - begun) / _CALLS * 1e6
        # The first rounds fill caches.
        if number >= 2:
            ratios.append(means["policy"] / means["plain"])
            taken.append(means)
    medians = {kind: statistics.median(one[kind] for one in taken) for kind in ("plain", "policy")}
    sys.stdout.write(
        f"{what:14} {medians['plain']:.0f} us of CPU, with a policy {medians['policy']:.0f} us,"
        f" median ratio {statistics.median(ratios):.3f}\n"
    )


if __name__ == "__main__":
    main()
