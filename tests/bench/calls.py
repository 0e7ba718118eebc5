"""Calls beside their baselines: throughput, latency and CPU."""

import json
from collections.abc import Callable, Sequence

from tests.bench.load import Contender, Failed, Request, Summary, compare
from tests.bench.plan import Plan
from tests.bench.records import (
    DETAIL,
    LOGIN,
    bearer,
    generate,
    generate_with_key,
    signed_rightly,
    token_of,
    update,
    wrong_passwords,
)
from tests.bench.servers import Running
from tests.support import ADMIN_PASSWORD, API, HttpResponse, basic, token_parts

Check = Callable[[HttpResponse], bool]
# The baseline's name, in every comparison.
B, HELLO = "B", "B hello"


def tried(name: str, server: Running, requests: Sequence[Request], check: Check) -> Contender:
    """Return a contender whose responses were checked once before the measurement."""
    for request in (requests[0], requests[-1]):
        response = server.call(request.method, request.path, request.headers, request.body)
        if response.status != 200 or not check(response):
            raise Failed(f"{name}: unexpected response: {response.status} {response.body[:200]!r}")
    return Contender(name, server, requests)


def is_token(response: HttpResponse) -> bool:
    text = response.json["token"]
    return bool(response.json["success"]) and token_parts(text)[1]["loginname"] == "lena"


def is_signed(response: HttpResponse) -> bool:
    return is_token(response) and signed_rightly(response.json["token"], 0)


def lets_through(response: HttpResponse) -> bool:
    return response.headers["Remote-User"] == "person-000000" and "Set-Cookie" not in response.headers


def bare(plan: Plan, *, our_worker: bool = False) -> Contender:
    name = f"{B} under our worker" if our_worker else B
    return tried(name, plan.baseline(our_worker=our_worker), [generate(0, {}, "/generate")], is_signed)


def generate_by_basic(plan: Plan) -> Contender:
    return tried("generate HS256, Basic", plan.product(plan.sizes[0]), [generate(0, basic())], is_signed)


def blocks(plan: Plan) -> list[list[tuple[Contender, str]]]:
    """Return the blocks of contenders that are measured in turns, each with the name of its baseline."""
    server, demo = plan.product(plan.sizes[0]), plan.baseline()
    session = server.call(
        "POST",
        LOGIN,
        {"Content-Type": "application/json"},
        json.dumps({"username": "admin", "password": ADMIN_PASSWORD}),
    ).json["jsessionid"]
    known = token_of(0, "person-000000")
    page = {"X-Original-URI": f"/reports/1?token={known}"}
    # As browsers do: the cookie of the first page is sent with each further request.
    cookie = server.call("GET", "/auth/check", page).headers["Set-Cookie"].partition(";")[0]

    def checked(name: str, headers: dict[str, str]) -> tuple[Contender, str]:
        return tried(name, server, [Request("GET", "/auth/check", headers)], lets_through), B

    def keyed(algorithm: str) -> list[tuple[Contender, str]]:
        name = f"B {algorithm}"
        theirs = [generate_with_key(algorithm, {}, f"/generate/{algorithm}")]
        ours = [generate_with_key(algorithm, basic())]
        return [
            (tried(name, demo, theirs, is_token), name),
            (tried(f"generate {algorithm}, Basic", server, ours, is_token), name),
        ]

    sessions = [generate(0, {"Cookie": f"JSESSIONID={session}"})]
    bearers = [generate(0, bearer(token_of(1, "admin")))]
    return [
        [
            (bare(plan), B),
            (bare(plan, our_worker=True), B),
            (generate_by_basic(plan), B),
            (tried("generate HS256, session", server, sessions, is_signed), B),
            (tried("generate HS256, Bearer", server, bearers, is_signed), B),
        ],
        [
            (bare(plan), B),
            (tried(HELLO, demo, [Request("GET", "/hello")], lambda response: response.body == b"hello"), B),
            checked("auth/check, Bearer", bearer(known)),
            checked("auth/check, cookie", {"Cookie": cookie}),
            checked("auth/check, token in X-Original-URI", {**page, "Cookie": cookie}),
            (
                tried(
                    "user/detail, Bearer",
                    server,
                    [Request("GET", DETAIL, bearer(known))],
                    lambda response: response.json["data"]["user"]["username"] == "person-000000",
                ),
                B,
            ),
        ],
        [*keyed("RS256"), *keyed("ES256")],
    ]


def calls(plan: Plan) -> list[Summary]:
    """Measure each call at each number of connections; a baseline in two blocks is listed once."""
    found: dict[tuple[str, int], Summary] = {}
    prepared = blocks(plan)
    for connections in plan.connections:
        for block in prepared:
            for summary in compare(block, connections, plan.seconds, plan.rounds):
                found.setdefault((summary.name, connections), summary)
    return list(found.values())


def listed(plan: Plan) -> list[Summary]:
    """Measure ``list`` of many applications with one client."""
    size = plan.sizes[1]
    request = Request("GET", f"{API}/list", basic())
    # Two more, with the other algorithms.
    contender = tried(
        f"list of {size:,}", plan.product(size), [request], lambda response: len(response.json["data"]) == size + 2
    )
    return compare([(bare(plan), B), (contender, B)], 1, plan.seconds, plan.rounds)


def beside(plan: Plan) -> list[Summary]:
    """Measure the same calls alone, beside a client that guesses passwords, and beside a writer in a loop."""
    alone = generate_by_basic(plan)
    guesser = Contender("guesser", alone.server, wrong_passwords(), refused=True)
    writer = Contender("writer", alone.server, [update(plan.sizes[0] - 1)])
    contenders = [
        Contender("alone", alone.server, alone.requests),
        Contender("beside a client with wrong passwords", alone.server, alone.requests, beside=guesser),
        Contender("beside a writer in a closed loop", alone.server, alone.requests, beside=writer),
    ]
    return compare([(contender, "alone") for contender in contenders], 16, plan.seconds, plan.rounds)


def attacked(plan: Plan) -> list[Summary]:
    """Measure a signed-in user on one connection, alone and beside 24 connections that guess passwords."""
    server = plan.product(plan.sizes[0])
    body = json.dumps({"username": "admin", "password": ADMIN_PASSWORD})
    session = server.call("POST", LOGIN, {"Content-Type": "application/json"}, body).json["jsessionid"]
    signed_in = tried(
        "signed in, alone",
        server,
        [Request("GET", DETAIL, {"Cookie": f"JSESSIONID={session}"})],
        lambda response: response.json["data"]["user"]["username"] == "admin",
    )
    attacks = {
        "signed in, beside guesses for random names": wrong_passwords(),
        "signed in, beside guesses for one name": [Request("GET", DETAIL, basic("somebody", "wrong"))],
    }
    contenders = [signed_in]
    for name, requests in attacks.items():
        attack = Contender(f"attack ({name})", server, requests, refused=True)
        contenders.append(Contender(name, server, signed_in.requests, beside=attack, beside_connections=24))
    return compare([(contender, signed_in.name) for contender in contenders], 1, plan.seconds, plan.rounds)
