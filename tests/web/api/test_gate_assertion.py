"""Signed identities of ``auth/check``, and the set of keys that verifies them."""

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jwt
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.crypto.keys import Key
from datafor_token.errors import StartError
from datafor_token.settings import Settings
from datafor_token.settings_sources import load_settings
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, put_user
from tests.providers.idp import Provider, response, running
from tests.support import (
    ADMIN_PASSWORD,
    API,
    STRONG_SECRET,
    Clock,
    application,
    basic,
    key_for,
    private_pem,
    public_pem,
    token_parts,
)
from tests.web.api.test_gate import check, gate_of, signed

PUBLIC_URL = "https://intra.example"
HEADER = "X-Datafor-Assertion"
JWKS, OTHER_JWKS = "/.well-known/gate-jwks.json", "/.well-known/jwks.json"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, gate_assertion=True, public_url=PUBLIC_URL)


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    assert (
        caller.post("update", application(secret=STRONG_SECRET, initroles=["SYS_Reader", "Sales"])).status_code == 200
    )


def assertion(app: Flask, query: str = "?aud=reports", user: str = "lena", **headers: str) -> str:
    """Return the assertion of an accepted check."""
    found = check(app, f"/?token={signed(loginname=user)}", query, **headers)
    assert found.status_code == 200
    return found.headers[HEADER]


def keys_of(app: Flask, path: str = JWKS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.test_client().get(path).get_json()["keys"]
    return found


def verified(app: Flask, text: str, audience: str | None = "reports") -> dict[str, Any]:
    """Return the claims of an assertion that the published key verifies, whatever its times."""
    kid = jwt.get_unverified_header(text)["kid"]
    (key,) = (jwt.PyJWK(one) for one in keys_of(app) if one["kid"] == kid)
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(text, key, ["ES256"], issuer=PUBLIC_URL, audience=audience, options=options)
    return claims


def test_what_is_signed(app: Flask, clock: Clock) -> None:
    """An assertion is an ES256 JWT with exactly these claims, which the published key verifies."""
    clock.now += 0.75
    put_user(app, "lena", full_name="李娜", email="l@example.com", type="SYS_Creator", roles=("Sales", "Nord-Süd"))
    text = assertion(app)
    header, claims = token_parts(text)
    assert list(header.items()) == [("typ", "JWT"), ("alg", "ES256"), ("kid", keys_of(app)[0]["kid"])]
    assert verified(app, text) == claims
    assert list(claims.items()) == [
        ("iss", PUBLIC_URL),
        ("aud", "reports"),
        ("sub", "lena"),
        ("name", "李娜"),
        ("email", "l@example.com"),
        ("groups", ["SYS_Creator", "Sales", "Nord-Süd"]),
        ("iat", 1722929516),
        ("exp", 1722929576),
    ]


def test_control_characters(app: Flask) -> None:
    """Name and email have no control characters, as in the headers: an application may write them to its log."""
    put_user(app, "lena", full_name="Lena\r\nLi", email="l@example.com\x1b")
    found = check(app, f"/?token={signed()}", "?aud=reports")
    claims = token_parts(found.headers[HEADER])[1]
    assert [claims["name"], claims["email"]] == [found.headers["Remote-Name"], found.headers["Remote-Email"]]


def test_the_audience(app: Flask) -> None:
    """The audience is that of the check's own query; without it there is no claim aud."""
    assert "aud" not in token_parts(assertion(app, ""))[1]
    assert token_parts(assertion(app, "?aud=https%3A%2F%2Fwiki.example%2F"))[1]["aud"] == "https://wiki.example/"
    # The original request's own query is not the check's.
    text = check(app, f"/?aud=other&token={signed()}", "?aud=reports").headers[HEADER]
    assert token_parts(text)[1]["aud"] == "reports"


@pytest.mark.parametrize("way", ["basic", "bearer", "url", "cookie"])
def test_every_way_to_sign_in(app: Flask, way: str) -> None:
    """An accepted check has an assertion, whatever credential the request has."""
    cookie = gate_of(check(app, f"/?token={signed()}"))
    headers = {
        "basic": basic(),
        "bearer": {"Authorization": f"Bearer {signed()}"},
        "url": {},
        "cookie": {"Cookie": cookie},
    }[way]
    found = check(app, f"/?token={signed()}" if way == "url" else "/", "?aud=reports", **headers)
    assert verified(app, found.headers[HEADER])["sub"] == ("admin" if way == "basic" else "lena")


def test_only_an_accepted_check_has_one(app: Flask) -> None:
    """A refused check, and any other call, has no assertion."""
    for found in (check(app), check(app, f"/?token={signed()}", "?role=Board"), app.test_client().get(JWKS)):
        assert HEADER not in found.headers
    assert HEADER not in check(app, f"/?token={signed()}", "?audience=reports").headers


def test_the_header_of_a_client_is_never_repeated(app: Flask) -> None:
    """A client's own header changes nothing."""
    assert token_parts(assertion(app, X_Datafor_Assertion="forged"))[1]["sub"] == "lena"


class TestSignedOnce:
    """Signing at most once in 30 s."""

    @pytest.fixture
    def signatures(self) -> Iterator[mock.Mock]:
        with mock.patch.object(Key, "sign", autospec=True, side_effect=Key.sign) as sign:
            yield sign

    def test_once_per_identity_audience_and_half_a_minute(
        self, app: Flask, clock: Clock, signatures: mock.Mock
    ) -> None:
        """An assertion is sent again for at most 30 s, to the same user for the same audience only."""
        first = assertion(app)
        clock.advance(30)
        assert (assertion(app), signatures.call_count) == (first, 1)
        assert {assertion(app, "?aud=wiki"), assertion(app, ""), assertion(app, user="otto")}.isdisjoint({first})
        assert signatures.call_count == 4
        clock.advance(1)
        assert assertion(app) != first
        assert signatures.call_count == 5

    def test_at_least_half_of_its_life_is_left(self, app: Flask, clock: Clock) -> None:
        """Every assertion that is sent is valid for at least 30 s, also when it was signed late in its second."""
        clock.now += 0.9
        for _ in range(200):
            clock.advance(0.7)
            assert 30 <= token_parts(assertion(app))[1]["exp"] - clock.now <= 60

    def test_a_clock_that_is_set_back(self, app: Flask, clock: Clock) -> None:
        """After the clock was set back, no assertion from the future is sent."""
        assertion(app)
        clock.advance(-100)
        assert token_parts(assertion(app))[1]["iat"] == int(clock.now)

    @pytest.mark.parametrize(
        ("change", "claim", "value"),
        [
            ({"full_name": "Lena Li"}, "name", "Lena Li"),
            ({"email": "l@example.com"}, "email", "l@example.com"),
            ({"roles": ("North",)}, "groups", ["SYS_Reader", "North"]),
            ({"type": "SYS_Creator"}, "groups", ["SYS_Creator"]),
        ],
    )
    def test_a_changed_user(self, app: Flask, change: dict[str, Any], claim: str, value: object) -> None:
        """A changed name, address, role or type is in the next assertion."""
        put_user(app, "lena")
        before = token_parts(assertion(app))[1]
        put_user(app, "lena", **change)
        after = token_parts(assertion(app))[1]
        assert (after[claim], after | {claim: before[claim]}) == (value, before)


class TestKeys:
    """The set of keys."""

    def test_a_set_of_its_own(self, app: Flask, caller: Caller) -> None:
        """It has the key of assertions and no other; the set of the applications never has that key."""
        rsa = application(name="Portal", algorithm="RS256", secret=public_pem(key_for("RS256")))
        assert caller.post("update", rsa).status_code == 200
        (key,), others = keys_of(app), keys_of(app, OTHER_JWKS)
        assert sorted(key) == ["alg", "crv", "kid", "kty", "use", "x", "y"]
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
        assert [one["kty"] for one in others] == ["RSA"]

    def test_who_may_read_it(self, app: Flask) -> None:
        """Anyone may read the set, whatever credential the request has, with the headers of the other set."""
        for headers in ({}, basic(), basic("admin", "wrong"), {"Authorization": "Bearer x"}):
            found, other = (app.test_client().get(path, headers=headers) for path in (JWKS, OTHER_JWKS))
            assert (found.status_code, list(found.headers.keys())) == (200, list(other.headers.keys()))
            assert found.headers["Cache-Control"] == other.headers["Cache-Control"]

    def test_under_a_prefix(self, settings: Settings, clock: Clock) -> None:
        """The set is under the prefix of all paths."""
        prefixed = dataclasses.replace(settings, url_prefix="/datafor")
        app = create_app(prefixed, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
        assert len(keys_of(app, f"/datafor{JWKS}")) == 1


def test_without_the_setting(settings: Settings, app: Flask, clock: Clock) -> None:
    """With GATE_ASSERTION = false no check has the header, and the set is empty, also after it was true."""
    off = create_app(dataclasses.replace(settings, gate_assertion=False), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    found = check(off, query="?aud=reports", **basic())
    assert (found.status_code, HEADER in found.headers, keys_of(off)) == (200, False, [])
    assert len(keys_of(app)) == 1


def test_without_an_issuer(tmp_path: Any) -> None:
    """GATE_ASSERTION without PUBLIC_URL stops the start with one sentence, beside those about other settings."""
    (tmp_path / "settings.toml").write_text("GATE_ASSERTION = true\nLEEWAY = -1\n")
    with pytest.raises(StartError) as stopped:
        load_settings(tmp_path, {})
    assert [fault.partition(" ")[0] for fault in stopped.value.faults] == ["LEEWAY", "GATE_ASSERTION"]
    assert "needs PUBLIC_URL" in stopped.value.faults[1]
    with pytest.raises(StartError) as stopped:
        load_settings(tmp_path, {"DATAFOR_TOKEN_LEEWAY": "1", "DATAFOR_TOKEN_PUBLIC_URL": "intra.example"})
    assert [fault.partition(" ")[0] for fault in stopped.value.faults] == ["PUBLIC_URL"]
    with pytest.raises(StartError):
        load_settings(tmp_path, {"DATAFOR_TOKEN_LEEWAY": "1", "DATAFOR_TOKEN_PUBLIC_URL": ""})
    environ = {"DATAFOR_TOKEN_LEEWAY": "1", "DATAFOR_TOKEN_PUBLIC_URL": PUBLIC_URL}
    assert load_settings(tmp_path, environ).gate_assertion
    assert not load_settings(
        tmp_path, {"DATAFOR_TOKEN_LEEWAY": "1", "DATAFOR_TOKEN_GATE_ASSERTION": "false"}
    ).public_url


class TestNoToken:
    """An assertion is not a token of an application."""

    def refused(self, app: Flask, text: str) -> None:
        for found in (
            check(app, f"/?token={text}"),
            check(app, Authorization=f"Bearer {text}"),
            app.test_client().get(f"/auth/enter?token={text}&next=/"),
        ):
            assert found.status_code == 401
        explained = app.test_client().post(f"{API}/explain", json={"token": text}, headers=basic()).get_json()
        assert (explained["accepted"], explained["reason"]) == (False, "signature")
        assert "signed identity" in explained["steps"][-1]["detail"]
        introspected: TestResponse = app.test_client().post(f"{API}/introspect", json={"token": text}, headers=basic())
        assert introspected.get_json()["active"] is False

    def test_no_application_accepts_it(self, app: Flask, caller: Caller) -> None:
        """An application with the same algorithm does not accept it."""
        caller.post("update", application(algorithm="ES256", secret=public_pem(key_for("ES256"))))
        body = {"name": "ERP", "username": "lena", "privateKey": private_pem(key_for("ES256"))}
        good = caller.post("generate", body).json["token"]
        text = check(app, f"/?token={good}").headers[HEADER]
        self.refused(app, text)

    def test_an_application_with_our_own_key(self, app: Flask, caller: Caller) -> None:
        """It is refused even by an application whose public key is that of the service."""
        text = assertion(app)
        fields = {"username": "sub", "name": "", "email": ""}
        secret = json.dumps(keys_of(app)[0])
        own = application(name="Own", algorithm="ES256", secret=secret, fieldmap=fields, audience="*")
        assert caller.post("update", own).status_code == 200
        self.refused(app, text)

    def test_a_dropped_key(self, app: Flask, caller: Caller) -> None:
        """A token that a dropped key signed is refused too, even by an application that still has that key."""
        fields = {"username": "sub", "name": "", "email": ""}
        own = application(name="Own", algorithm="ES256", secret=json.dumps(keys_of(app)[0]), fieldmap=fields)
        assert caller.post("update", {**own, "audience": "*"}).status_code == 200
        text = assertion(app)
        for options in (["--at-once"], ["--at-once"], []):
            assert invoke(app, ["gate", "rotate-key", *options]).exit_code == 0
            self.refused(app, text)

    def test_without_the_setting(self, app: Flask, caller: Caller, settings: Settings, clock: Clock) -> None:
        """It is refused also after GATE_ASSERTION was set to false, as those who signed it may still have the key."""
        fields = {"username": "sub", "name": "", "email": ""}
        own = application(name="Own", algorithm="ES256", secret=json.dumps(keys_of(app)[0]), fieldmap=fields)
        assert caller.post("update", {**own, "audience": "*"}).status_code == 200
        text = assertion(app)
        off = dataclasses.replace(settings, gate_assertion=False)
        self.refused(create_app(off, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY), text)

    @pytest.fixture
    def provider(self) -> Iterator[Provider]:
        with running() as provider:
            yield provider

    def test_an_application_with_our_own_set(self, app: Flask, caller: Caller, provider: Provider) -> None:
        """It is refused even by an application whose jwks_uri is the service's own set."""
        provider.pages["/jwks"] = response({"keys": keys_of(app)})
        own = application(
            name="Own",
            secret=None,
            jwks_uri=provider.url("/jwks", "127.0.0.1"),
            issuer=PUBLIC_URL,
            algorithm="ES256",
            audience="*",
            fieldmap={"username": "sub", "name": "", "email": ""},
        )
        assert caller.post("update", own).status_code == 200
        text = assertion(app)
        for _ in range(600):
            if caller.get("content?name=Own").json["keys"]["kids"]:
                break
            time.sleep(0.05)
        self.refused(app, text)


def test_it_is_in_no_log(app: Flask, log: Any) -> None:
    """Neither the assertion nor the private key is logged, or shown by repr."""
    text = assertion(app)
    assert text.rpartition(".")[2] not in log.getvalue()


def test_an_administrator(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user type is the first of the groups, also that of an Administrator."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    assert verified(app, check(app, query="?aud=reports", **basic()).headers[HEADER])["groups"] == ["Administrator"]
