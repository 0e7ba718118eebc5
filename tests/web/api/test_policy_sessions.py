"""Gate sessions and one-time links of an application whose trust policy or keys change."""

import io
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from flask import Flask

from datafor_token.settings import Settings
from tests.conftest import Caller, put_user, services_in
from tests.handmade_tokens import NOW
from tests.providers.idp import Provider, running
from tests.stores import Record, records_in
from tests.support import STRONG_SECRET, Clock, application, key_for, public_pem
from tests.web.api.test_gate import check, enter, gate_of, signed, ticket_of
from tests.web.api.test_provider_keys import jwk, publish, register, token

# Keeps all rules of POLICIES.
CLAIMS = {"aud": "reports", "iss": "portal", "iat": NOW, "exp": NOW + 3600, "dept": ["sales", "north"]}
POLICIES: dict[str, tuple[Any, ...]] = {
    "audience": ("reports", ["reports", "other"], "*"),
    "issuer": ("portal", ""),
    "require": ({"dept": "sales"}, {"dept": ["sales", "south"]}, {}),
    "token_types": (["JWT", "at+jwt"], ["JWT"], []),
    "max_lifetime": (7200, 3600, ""),
    "users": ("own", "any"),
}


def store(caller: Caller, **changes: Any) -> None:
    """Store the application ERP; without an audience in ``changes``, it accepts any."""
    body = {**application(secret=STRONG_SECRET, expire=3600), "audience": "*", **changes}
    response = caller.post("update", body)
    assert response.status_code == 200, response.json


def opened(app: Flask, **changes: Any) -> str:
    """Return the cookie of a session that a token opens."""
    cookie = gate_of(check(app, f"/?token={signed(**{**CLAIMS, **changes})}"))
    assert cookie
    return cookie


def by_ticket(app: Flask, caller: Caller) -> str:
    """Return the cookie of a session that a one-time link opens."""
    response = enter(app, f"ticket={ticket_of(caller)}")
    assert response.status_code == 303
    return gate_of(response)


def status(app: Flask, cookie: str) -> int:
    return check(app, Cookie=cookie).status_code


@pytest.fixture(autouse=True)
def _lena(app: Flask) -> None:
    put_user(app, "lena", application="ERP")


@pytest.mark.parametrize("field", POLICIES)
def test_a_changed_rule_ends_sessions(app: Flask, caller: Caller, field: str) -> None:
    """A rule that is set, changed or cleared ends the sessions opened before, also those of links."""
    store(caller)
    for value in POLICIES[field]:
        before = [opened(app), by_ticket(app, caller)]
        assert [status(app, one) for one in before] == [200, 200]
        store(caller, **{field: value})
        assert [status(app, one) for one in before] == [401, 401]


def test_a_session_that_ended_does_not_return(app: Flask, caller: Caller, settings: Settings) -> None:
    """The former policy does not make an ended session valid again; its token opens another one."""
    store(caller)
    cookie = opened(app)
    store(caller, issuer="portal")
    assert status(app, cookie) == 401
    assert records_in(settings.data_dir, "sessions") == []
    store(caller, issuer="")
    assert status(app, cookie) == 401
    again = opened(app)
    assert again != cookie
    assert status(app, again) == 200


def test_what_ends_no_session(app: Flask, caller: Caller) -> None:
    """The same policy again, other fields, and what only changes users leave the sessions alone."""
    rules = {"audience": "reports", "issuer": "portal", "require": {"dept": "sales"}, "max_lifetime": 7200}
    store(caller, **rules)
    cookies = [opened(app), by_ticket(app, caller)]
    for changes in (
        {},
        {**rules, "audience": ["reports"], "require": {"dept": ["sales"]}},
        {"expire": 1800, "initroles": ["Sales"], "fieldmap": {"username": "loginname", "name": "", "email": ""}},
        {"fieldmap": {"username": "loginname", "name": "name", "email": "email"}, "sync": ["name", "email"]},
        {"sync": ["roles"], "roles_claim": "groups", "roles_map": {"a": "Sales"}},
        {"users": "any"},
    ):
        store(caller, **{"audience": "reports", **changes})
        assert [status(app, one) for one in cookies] == [200, 200]


def test_sessions_of_before(app: Flask, caller: Caller, settings: Settings) -> None:
    """A session without a policy counts as opened without one: the first rule ends it."""
    store(caller)
    cookie = opened(app)
    (record,) = records_in(settings.data_dir, "sessions")
    document = json.loads(record.read_text())
    del document["grant"]["policy"]
    record.write_text(json.dumps(document))
    store(caller, expire=1800)
    assert status(app, cookie) == 200
    store(caller, audience="reports")
    assert status(app, cookie) == 401


def test_an_application_from_before_the_rule_of_audiences(app: Flask, caller: Caller, settings: Settings) -> None:
    """The audience that such an application counts as having may be stored without ending sessions."""
    store(caller)
    record = Record(settings.data_dir, "applications", "ERP")
    document = json.loads(record.read_text())
    del document["audience"]
    record.write_text(json.dumps({**document, "createdDate": 1}))
    cookie = opened(app)
    store(caller)
    assert status(app, cookie) == 200
    for _ in range(2):
        # Cleared, it does not count as any audience again.
        store(caller, audience=[])
        assert status(app, cookie) == 401
        assert check(app, f"/?token={signed(**CLAIMS)}").status_code == 401


def test_links_and_the_rules_about_claims(app: Flask, caller: Caller, clock: Clock) -> None:
    """A link that was created before a rule about claims still signs in, and its session has the new policy."""
    store(caller)
    ticket = ticket_of(caller)
    store(caller, audience="reports", issuer="portal", require={"dept": "sales"}, max_lifetime=3600)
    clock.advance(5)
    response = enter(app, f"ticket={ticket}")
    assert response.status_code == 303
    assert status(app, gate_of(response)) == 200


@pytest.mark.parametrize("change", [{"enable": "0"}, {"users": "own"}, {"networks": ["192.0.2.0/24"]}, "deleted"])
def test_what_holds_when_a_link_is_redeemed(app: Flask, caller: Caller, clock: Clock, change: Any) -> None:
    """A disabled application, own users, networks and a deleted application hold when a link is redeemed."""
    store(caller)
    if "users" in change:
        put_user(app, "lena", application="CRM")
    ticket = ticket_of(caller)
    clock.advance(1)
    if change == "deleted":
        caller.post("delete", {"name": "ERP"})
        store(caller)
    else:
        store(caller, **change)
    assert enter(app, f"ticket={ticket}").status_code == 401


class TestKeys:
    """Sessions of an application with a set of keys."""

    def body(self, *keys: dict[str, Any]) -> dict[str, Any]:
        secret = json.dumps({"keys": list(keys)})
        return {"algorithm": "ES256", "secret": secret, "fieldmap": {"username": "sub", "name": "", "email": ""}}

    def signed(self, kid: str, other: str = "") -> str:
        return jwt.encode({"sub": "lena", "exp": NOW + 3600}, key_for("ES256", other), "ES256", headers={"kid": kid})

    def test_a_set_in_the_secret(self, app: Flask, caller: Caller) -> None:
        """A key that is removed from the set ends its sessions; an added or renamed one ends none."""
        one, two = jwk("a"), jwk("b", other="-other")
        store(caller, **self.body(one, two))
        first = gate_of(check(app, f"/?token={self.signed('a')}"))
        second = gate_of(check(app, f"/?token={self.signed('b', '-other')}"))
        assert (status(app, first), status(app, second)) == (200, 200)
        store(caller, **self.body(two, {**one, "kid": "renamed"}))
        assert (status(app, first), status(app, second)) == (200, 200)
        store(caller, **self.body(two, two))
        assert (status(app, first), status(app, second)) == (401, 200)
        store(caller, **self.body(one, two))
        assert (status(app, first), status(app, second)) == (401, 200)

    def test_a_single_key_replaced_by_a_set(self, app: Flask, caller: Caller) -> None:
        """A PEM that is replaced by a set ends its sessions, also if the set has the key."""
        store(caller, **{**self.body(jwk("a")), "secret": public_pem(key_for("ES256"))})
        cookie = gate_of(check(app, f"/?token={self.signed('a')}"))
        assert status(app, cookie) == 200
        store(caller, **self.body(jwk("a"), jwk("b", other="-other")))
        assert status(app, cookie) == 401


class TestProvider:
    """Sessions of an application whose keys come from a provider."""

    @pytest.fixture
    def provider(self) -> Iterator[Provider]:
        with running() as provider:
            yield provider

    def test_a_removed_key(self, app: Flask, caller: Caller, provider: Provider, clock: Clock) -> None:
        """A key that the provider no longer publishes ends its sessions after the next fetch."""
        publish(provider, jwk("a"), jwk("b", other="-other"))
        register(caller, provider)
        first = gate_of(check(app, f"/?token={token('a')}"))
        second = gate_of(check(app, f"/?token={token('b', '-other')}"))
        assert (status(app, first), status(app, second)) == (200, 200)
        publish(provider, jwk("b", other="-other"))
        clock.advance(601)
        with app.app_context():
            services_in(app).key_sets.refresh()
        assert (status(app, first), status(app, second)) == (401, 200)

    def test_keys_that_are_unknown_for_a_while(
        self, app: Flask, caller: Caller, provider: Provider, settings: Settings, log: io.StringIO
    ) -> None:
        """Without keys, sessions and links are refused, and valid again with the keys."""
        publish(provider, jwk("a"))
        register(caller, provider)
        cookie = gate_of(check(app, f"/?token={token('a')}"))
        ticket = ticket_of(caller, name="Portal")
        kept = [(one, one.read_text()) for one in records_in(settings.data_dir, "key_sets")]
        for one, _ in kept:
            one.unlink()
        assert status(app, cookie) == 401
        assert "reason=keys_unavailable" in log.getvalue()
        assert enter(app, f"ticket={ticket}").status_code == 401
        for one, text in kept:
            one.write_text(text)
        assert status(app, cookie) == 200
        assert enter(app, f"ticket={ticket}").status_code == 303
