"""A rehearsal's numbers are those of the change itself."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from datafor_token.applications.record import Application
from datafor_token.operations.services import Services
from datafor_token.rehearsal.records import UserRecord
from datafor_token.rehearsal.rehearsals import Rehearsal
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import ApplicationSchema
from tests.conftest import Caller
from tests.handmade_tokens import NOW, SHARED_HEADER, token
from tests.support import STRONG_SECRET, Clock, application

INSIDE, OUTSIDE = "10.0.0.7", "192.0.2.9"
DETAIL = "/plugin/datafor-modeler/api/user/detail"
BASE = {
    "secret": STRONG_SECRET,
    "inituser": "1",
    "audience": "*",
    "token_types": ["JWT", "at+jwt"],
    "require": {"dept": ["sales", "support"], "/realm/site": ["north", "south"]},
}


class Use(NamedTuple):
    """A token, and the client and time of its use."""

    token: str
    address: str
    time: float


def claims(user: str, **changes: Any) -> dict[str, Any]:
    found = {
        "loginname": user,
        "dept": "sales",
        "realm": {"site": "north"},
        "iss": "portal",
        "aud": ["erp", "crm"],
        "iat": NOW,
        "exp": NOW + 3600,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def traffic() -> list[Use]:
    """Return sign-ins that the base application accepts and that differ in what each rule asks for."""
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, SHARED_HEADER),
        ({"aud": "crm"}, SHARED_HEADER),
        ({"aud": None}, SHARED_HEADER),
        ({"iss": None}, SHARED_HEADER),
        ({"iss": "other"}, SHARED_HEADER),
        ({"dept": "support", "realm": {"site": "south"}}, SHARED_HEADER),
        ({"exp": NOW + 86400}, SHARED_HEADER),
        ({"iat": None}, SHARED_HEADER),
        ({}, {"typ": "at+jwt", "alg": "HS256"}),
        ({"iat": NOW + 20}, SHARED_HEADER),
        ({"azp": "portal"}, SHARED_HEADER),
    ]
    uses = []
    for number, (changes, header) in enumerate(variants):
        text = token(claims(f"user{number % 4}", **changes), STRONG_SECRET, header)
        uses.append(Use(text, INSIDE, NOW))
        if number % 3 == 0:
            uses.append(Use(text, OUTSIDE, NOW + 60))
    late = token(claims("late", exp=NOW + 100), STRONG_SECRET)
    return [*uses, Use(late, INSIDE, NOW), Use(late, INSIDE, NOW + 110)]


def replay(caller: Caller, clock: Clock, uses: list[Use]) -> int:
    """Use the tokens, each at its time; return how many are refused, each once per address."""
    refused = set()
    for use in uses:
        clock.now = use.time
        headers = {"Authorization": f"Bearer {use.token}"}
        response = caller.get(DETAIL, headers, environ_overrides={"REMOTE_ADDR": use.address})
        if response.status_code != 200:
            refused.add((use.token, use.address))
    return len(refused)


def previewed(services: Services, **changes: Any) -> Application:
    wanted = ApplicationSchema().read(Body(application(**{**BASE, **changes}), is_form=False))
    return services.registry.preview(wanted).application


def rehearsed(services: Services, **changes: Any) -> Rehearsal:
    return services.rehearsals.rehearse({"ERP": previewed(services, **changes)})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audience": ["erp"]}, "audience"),
        ({"audience": []}, "audience"),
        ({"issuer": "portal"}, "issuer"),
        ({"require": {"dept": "sales"}}, "claim"),
        ({"require": {"/realm/site": "south"}}, "claim"),
        ({"token_types": ["JWT"]}, "header"),
        ({"token_types": ["at+jwt"]}, "header"),
        ({"max_lifetime": 4000, "expire": 4000}, "too_long_lived"),
        ({"networks": ["10.0.0.0/8"]}, "network"),
        ({"networks": ["192.0.2.9"]}, "network"),
        ({"enable": "0"}, "disabled_application"),
        ({"secret": STRONG_SECRET[::-1]}, "signature"),
        ({"fieldmap": {"username": "azp", "name": "", "email": ""}}, "no_username"),
        ({"algorithm": "HS512", "secret": STRONG_SECRET * 2}, "algorithm"),
    ],
    ids=str,
)
def test_as_in_reality(services: Services, caller: Caller, clock: Clock, changes: dict[str, Any], reason: str) -> None:
    """The rehearsal of a change refuses as many sign-ins as the change itself, and names the rule."""
    uses = traffic()
    assert caller.post("update", application(**BASE)).status_code == 200
    assert replay(caller, clock, uses) == 0
    found = rehearsed(services, **changes)
    assert caller.post("update", application(**{**BASE, **changes})).status_code == 200
    # Of the token with the claim azp, only the name of that claim is kept.
    assert (found.refused, found.unknown) == (replay(caller, clock, uses), "fieldmap" in changes)
    assert [rule.reason for rule in found.rules] == [reason]
    # The two uses of the token that is used late are one sign-in.
    assert found.sign_ins == len(uses) - 1
    assert sum(rule.sign_ins for rule in found.rules) == found.refused


def test_users_and_sources(services: Services, caller: Caller, clock: Clock) -> None:
    """Users and addresses are those of the refused sign-ins, with an example that names the token."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    found = rehearsed(services, networks=[INSIDE])
    outside = [use for use in traffic() if use.address == OUTSIDE]
    assert found.refused == len(outside)
    assert list(found.sources) == [OUTSIDE]
    assert set(found.users) == {"user0", "user1", "user2", "user3"}
    (rule,) = found.rules
    assert (rule.application, rule.sign_ins, rule.sources) == ("ERP", len(outside), 1)
    example = rule.examples[0]
    assert example.address == OUTSIDE
    assert example.detail.startswith("the client's address is 192.0.2.9; ERP accepts tokens only from")
    events = [one for one in services.audit.since(0) if one["target"].get("token") == example.token]
    assert {one["target"]["user"] for one in events} == {example.user}


def test_what_is_not_known(services: Services, caller: Caller, clock: Clock) -> None:
    """Of a claim that no rule named, only a token without it is known to be refused."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    found = rehearsed(services, require={"azp": "portal"})
    assert found.unknown == 1
    assert found.refused == len(traffic()) - 2
    (why,) = found.unknown_because
    assert why == "ERP asks for values of claims that are not kept: azp"


def test_the_leeway(services: Services, caller: Caller, clock: Clock) -> None:
    """A smaller leeway refuses tokens that were used before their begin or after their end."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    settings = dataclasses.replace(services.settings, leeway=5.0)
    found = services.rehearsals.rehearse({}, settings)
    assert {rule.reason: rule.sign_ins for rule in found.rules} == {"not_yet_valid": 1, "expired": 1}


def test_an_application_that_accepts_them_too(services: Services, caller: Caller, clock: Clock) -> None:
    """A sign-in that another application with the same key accepts is not refused."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    caller.post("update", application(**{**BASE, "name": "Other", "audience": ["crm"]}))
    found = services.rehearsals.rehearse({"erp": None})
    assert 0 < found.refused < found.sign_ins
    assert {rule.reason for rule in found.rules} == {"audience"}


def test_already_refused(services: Services, caller: Caller, clock: Clock) -> None:
    """A sign-in that the present rules refuse too does not count as refused by the change."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    caller.post("update", application(**{**BASE, "token_types": ["JWT"]}))
    found = rehearsed(services, token_types=["JWT"], networks=["10.0.0.0/8"])
    assert found.already_refused == 1
    assert {rule.reason for rule in found.rules} == {"network"}


def test_a_deleted_user(services: Services, caller: Caller, clock: Clock) -> None:
    """The sign-ins of a user go with the user, also those that are not stored yet."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    services.history.flush()
    replay(caller, clock, traffic()[:1])
    caller.post("/plugin/datafor-modeler/api/user/delete", {"username": "user0"})
    assert services.store.get("sign_ins", "user0") is None
    assert "user0" not in {record.name for record in services.history.every(0, services.users.get)}
    services.history.flush()
    assert services.store.get("sign_ins", "user0") is None


def test_one_at_a_time(services: Services, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process runs one rehearsal at a time: another one waits, and is 503 if that takes too long."""
    caller.post("update", application(**BASE))
    replay(caller, clock, traffic())
    every = services.history.every
    begun, may_end = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Iterator[UserRecord]:
        begun.set()
        assert may_end.wait(60)
        yield from every(*arguments)

    monkeypatch.setattr(services.history, "every", slow)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(caller.post, "rehearse", {"leeway": 0})
        assert begun.wait(60)
        with monkeypatch.context() as soon:
            soon.setattr("datafor_token.rehearsal.rehearsals._LONGEST_WAIT", 0.01)
            refused = caller.post("update", {**application(**BASE), "dry_run": "1"})
        second = threads.submit(caller.post, "rehearse", {"leeway": 0})
        may_end.set()
        assert first.result(60).json["rehearsal"]["refused"] == second.result(60).json["rehearsal"]["refused"] > 0
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json["msg"] == "another rehearsal has not ended yet: try again later"
