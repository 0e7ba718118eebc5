"""``token/rotate``, ``token/revoke``, ``token/introspect`` and the public keys."""

import base64
import json
import warnings
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from flask import Flask

from datafor_token.crypto.keys import as_jwk
from datafor_token.settings import Settings
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record, records_in
from tests.support import (
    STRONG_SECRET,
    Clock,
    application,
    basic,
    key_for,
    only_key,
    private_pem,
    public_base64,
    public_pem,
    token_parts,
)

DETAIL = "/plugin/datafor-modeler/api/user/detail"
JWKS = "/.well-known/jwks.json"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def accepted(caller: Caller, text: str) -> bool:
    status = caller.get(DETAIL, bearer(text)).status_code
    assert status in (200, 401)
    return status == 200


def content(caller: Caller) -> Any:
    return caller.get("content?name=ERP").json


NO_GRACE: list[Any] = [-1, 2592001, 1.5, "60", True, []]


class TestRotate:
    """``token/rotate``."""

    @pytest.fixture(autouse=True)
    def _erp(self, caller: Caller) -> None:
        caller.post("update", application())

    @pytest.mark.parametrize(("algorithm", "length"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
    def test_the_service_generates_a_secret(self, caller: Caller, algorithm: str, length: int) -> None:
        """A generated secret is random base64url of the algorithm's full length, and is returned once."""
        caller.post("update", application(algorithm=algorithm))
        response = caller.post("rotate", {"name": "erp"}).json
        assert list(response) == ["success", "secret", "previous"]
        assert len(base64.urlsafe_b64decode(response["secret"] + "==")) == length
        assert response["previous"] == {"until": (NOW + 3600) * 1000}
        assert response["secret"] not in json.dumps(content(caller))

    def test_a_secret_that_was_sent_is_not_returned(self, caller: Caller) -> None:
        """A secret that was sent is not returned; a weak one has a warning."""
        response = caller.post("rotate", "name=ERP&secret=other&grace=60").json
        assert list(response) == ["success", "previous", "warnings"]
        assert response["previous"] == {"until": (NOW + 60) * 1000}
        response = caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET}).json
        assert list(response) == ["success", "previous"]

    def test_both_secrets_are_accepted_in_the_grace_period(self, caller: Caller, clock: Clock) -> None:
        """The old secret remains valid for tokens and as privateKey until the grace period ends; the new one signs."""
        old = token(claims(exp=NOW + 90_000))
        caller.post("rotate", {"name": "ERP", "secret": "new-one", "grace": 600})
        new = token(claims(exp=NOW + 90_000), "new-one")
        for seconds, both in ((0, True), (599.9, True), (0.1, False)):
            clock.advance(seconds)
            assert accepted(caller, new)
            assert accepted(caller, old) is both
            issued = caller.post("generate", {"name": "ERP", "privateKey": "abcd", "username": "lena"})
            assert issued.status_code == (200 if both else 403)
            if both:
                assert jwt_verifies(issued.json["token"], "new-one")
            for key in ("new-one", None):
                body = {"name": "ERP", "username": "lena", **({"privateKey": key} if key else {})}
                assert jwt_verifies(caller.post("generate", body).json["token"], "new-one")

    def test_no_grace(self, caller: Caller) -> None:
        """With grace 0 the old secret is invalid at once, and no previous one is shown."""
        caller.post("rotate", {"name": "ERP", "secret": "new-one", "grace": 0})
        assert not accepted(caller, token(claims()))
        assert "previous" not in content(caller)

    def test_only_one_previous_secret(self, caller: Caller) -> None:
        """A second rotation ends the grace period of the first."""
        caller.post("rotate", {"name": "ERP", "secret": "second"})
        caller.post("rotate", {"name": "ERP", "secret": "third"})
        assert not accepted(caller, token(claims()))
        assert accepted(caller, token(claims(), "second"))
        assert accepted(caller, token(claims(), "third"))

    def test_when_the_old_secret_was_last_used(self, caller: Caller, clock: Clock) -> None:
        """List and content show until when the old secret is valid, and when it was last used within a minute."""
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})
        assert content(caller)["previous"] == {"until": (NOW + 3600) * 1000, "lastUsed": None}
        caller.get(DETAIL, bearer(token(claims(), "new-one")))
        assert content(caller)["previous"]["lastUsed"] is None
        clock.advance(10)
        assert accepted(caller, token(claims()))
        assert content(caller)["previous"]["lastUsed"] == (NOW + 10) * 1000
        clock.advance(30)
        accepted(caller, token(claims()))
        assert content(caller)["previous"]["lastUsed"] == (NOW + 10) * 1000
        clock.advance(30)
        caller.post("generate", {"name": "ERP", "privateKey": "abcd"})
        assert caller.get("list").json["data"][0]["previous"]["lastUsed"] == (NOW + 70) * 1000
        clock.advance(3600)
        assert "previous" not in content(caller)

    def test_explain_and_refusals_are_not_uses(self, caller: Caller) -> None:
        """An explained or refused token of the old secret is not a use of it."""
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})
        response = caller.post("explain", {"token": token(claims())}).json
        assert response["accepted"]
        assert "previous secret" in json.dumps(response)
        assert not accepted(caller, token(claims(exp=1)))
        assert content(caller)["previous"]["lastUsed"] is None

    def test_a_last_use_that_cannot_be_stored(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a read-only disk, tokens of the old secret of known users are accepted."""
        assert accepted(caller, token(claims()))
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        assert accepted(caller, token(claims()))

    @pytest.mark.file_store
    def test_a_held_lock_delays_nobody(self, caller: Caller, app: Flask) -> None:
        """A token of the old secret is accepted without waiting for a lock that another process holds."""
        assert accepted(caller, token(claims()))
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})
        with app.app_context():
            store: Any = services().store
        store._lock_timeout = 600
        with store.locked("applications"):
            assert accepted(caller, token(claims()))

    def test_update_ends_the_grace_period(self, caller: Caller) -> None:
        """An update of secret or algorithm ends a grace period; other updates do not."""
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})
        caller.post("update", application(secret="************", expire=60))
        caller.post("update", application(secret=None, expire=61))
        caller.post("update", application(secret="new-one", expire=62))
        assert accepted(caller, token(claims()))
        caller.post("update", application(secret="changed"))
        assert not accepted(caller, token(claims()))
        caller.post("rotate", {"name": "ERP", "secret": "again"})
        caller.post("update", application(secret=None, algorithm="HS384"))
        assert "previous" not in content(caller)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"), ({"name": ""}, "name"), ({"name": "ERP", "secret": ""}, "secret"),
            ({"name": "ERP", "secret": 5}, "secret"), ({"name": "ERP", "secret": "abcd"}, "secret"),
            ({"name": "ERP", "secret": "************"}, "secret"), ({"name": "ERP", "graze": 1}, "graze"),
            *[({"name": "ERP", "grace": grace}, "grace") for grace in NO_GRACE],
            ("name=ERP&grace=1h", "grace"), ("name=ERP&grace=-1", "grace"),
            ({"name": "ERP", "secret": "-----BEGIN PUBLIC KEY-----"}, "secret"),
        ],
    )  # fmt: skip
    def test_a_wrong_value_is_named(self, caller: Caller, body: Any, field: str) -> None:
        """An invalid field is 400 and named, and the secret is kept."""
        response = caller.post("rotate", body)
        assert response.status_code == 400
        assert response.json["msg"].startswith(f"{field} ")
        assert accepted(caller, token(claims()))

    def test_an_unknown_application(self, caller: Caller) -> None:
        """Rotating an unknown application is 404."""
        assert caller.post("rotate", {"name": "nobody"}).json["msg"] == "name does not exist"

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_public_keys(self, caller: Caller, clock: Clock, algorithm: str) -> None:
        """A public key must be sent; in the grace period both private keys sign, each with its own kid."""
        old, new = key_for(algorithm), key_for(algorithm, "-other")
        caller.post("update", application(algorithm=algorithm, secret=public_pem(old)))
        assert caller.post("rotate", {"name": "ERP"}).json["msg"].startswith("secret is missing")
        assert caller.post("rotate", {"name": "ERP", "secret": private_pem(new)}).status_code == 400
        assert caller.post("rotate", {"name": "ERP", "secret": public_base64(new)}).status_code == 200
        kids = {key["kid"] for key in caller.get(JWKS, {}).json["keys"]}
        found = set()
        for key in (old, new):
            issued = caller.post("generate", {"name": "ERP", "privateKey": private_pem(key), "username": "lena"})
            found.add(token_parts(issued.json["token"])[0]["kid"])
            assert accepted(caller, issued.json["token"])
        assert found == kids
        assert len(kids) == 2
        clock.advance(3600)
        assert len(caller.get(JWKS, {}).json["keys"]) == 1
        assert caller.post("generate", {"name": "ERP", "privateKey": private_pem(old)}).status_code == 403

    def test_strong_secrets_can_be_required(self, caller: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """With REQUIRE_STRONG_SECRETS a rotation to a weak secret is 400."""
        with app.app_context():
            strict = replace(services().settings, require_strong_secrets=True)
            monkeypatch.setattr(services().registry, "_settings", strict)
        assert caller.post("rotate", {"name": "ERP", "secret": "weak"}).json["msg"].startswith("secret is weak")
        assert caller.post("rotate", {"name": "ERP"}).status_code == 200


def jwt_verifies(text: str, secret: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            jwt.decode(text, secret, algorithms=["HS256"], options={"verify_exp": False})
        except jwt.InvalidSignatureError:
            return False
        return True


class TestRevoke:
    """``token/revoke`` and ``token/introspect``."""

    @pytest.fixture(autouse=True)
    def _erp(self, caller: Caller, app: Flask) -> None:
        caller.post("update", application())
        with app.app_context():
            password = CHEAP_FOR_TESTS_ONLY.hash("pw")
            for name in ("lena", "paul"):
                services().store.put("users", User(name=name, password=password).to_document())

    def test_a_revoked_token_is_refused(self, caller: Caller) -> None:
        """Only the revoked token is refused; revoking it again is not an error."""
        first, second = token(claims()), token(claims(n=2))
        for _ in range(2):
            assert caller.post("revoke", {"token": first}).json == {"success": True, "msg": "success"}
            assert not accepted(caller, first)
            assert accepted(caller, second)

    @pytest.mark.parametrize("text", ["x", "a.b.c", "ä", token(claims(), "other"), token(claims(exp=1))])
    def test_unknown_tokens_are_no_error(self, caller: Caller, settings: Settings, text: str) -> None:
        """Revoking an unknown, invalid or expired token succeeds and stores nothing."""
        body = {"token": text, "token_type_hint": "access_token"}
        assert caller.post("revoke", body).json == {"success": True, "msg": "success"}
        assert records_in(settings.data_dir, "revocations") == []

    def test_an_empty_token_is_an_error(self, caller: Caller) -> None:
        """No token, or an empty one, such as a shell variable that is not set, is 400."""
        assert caller.post("revoke", {}).json["msg"].startswith("token is missing: send token; or id; ")
        assert caller.post("revoke", {"token": ""}).json["msg"] == "token can not be empty"

    def test_no_other_spelling_revives_a_token(self, caller: Caller) -> None:
        """A revoked ECDSA token stays revoked with another signature over the same claims."""
        key = key_for("ES256")
        caller.post("update", application(algorithm="ES256", secret=public_pem(key)))
        texts = [jwt.encode(claims(), key, algorithm="ES256") for _ in range(2)]
        assert texts[0] != texts[1]
        caller.post("revoke", {"token": texts[0]})
        assert not accepted(caller, texts[1])

    def test_another_applications_token_is_not_revoked(self, caller: Caller) -> None:
        """Of two tokens with the same claims but different secrets, only the revoked one is refused."""
        caller.post("update", application(name="Other", secret="other"))
        caller.post("update", application(name="Twin"))
        caller.post("revoke", {"token": token(claims())})
        assert not accepted(caller, token(claims()))
        assert accepted(caller, token(claims(), "other"))
        caller.post("delete", {"name": "ERP"})
        assert not accepted(caller, token(claims()))

    def test_another_spelling_of_a_public_key_revives_nothing(self, caller: Caller) -> None:
        """A token stays revoked if the same public key is stored in another encoding."""
        key = key_for("ES256")
        caller.post("update", application(algorithm="ES256", secret=public_pem(key)))
        text = jwt.encode(claims(), key, algorithm="ES256")
        caller.post("revoke", {"token": text})
        caller.post("update", application(algorithm="ES256", secret=public_base64(key)))
        assert not accepted(caller, text)

    def test_a_damaged_application_may_be_the_tokens(self, caller: Caller, settings: Settings) -> None:
        """If the token may belong to an unreadable record, revoking it is 503, and explain names the record."""
        text = token(claims())
        path = Record(settings.data_dir, "applications", "erp")
        whole = path.read_text()
        caller.post("update", application(name="Other", secret="other"))
        path.write_text("{")
        assert caller.post("revoke", {"token": text}).status_code == 503
        assert caller.post("revoke", {"token": token(claims(), "other")}).status_code == 200
        response = caller.post("explain", {"token": text}).json
        assert response["reason"] == "signature"
        assert "erp" in response["steps"][-1]["detail"]
        path.write_text(whole)
        assert accepted(caller, text)

    def test_what_a_clipboard_adds(self, caller: Caller) -> None:
        """A token with a line break at its end can be revoked; explain names what surrounds it."""
        text = token(claims())
        for around in (f"{text}\n", f'"{text}"', f"Bearer {text}"):
            detail = caller.post("explain", {"token": around}).json["steps"][-1]["detail"]
            assert "white space, quotes or the word Bearer" in detail
        assert caller.post("introspect", {"token": f" {text}\n"}).json["active"]
        caller.post("revoke", {"token": f"{text}\n"})
        assert not accepted(caller, text)

    def test_who_may_revoke(self, caller: Caller) -> None:
        """Administrators may revoke any token, users their own, and others none."""
        lenas, pauls = token(claims()), token(claims(loginname="PAUL"))
        assert caller.post("revoke", {"token": lenas}, basic("paul", "pw")).json["msg"] == "no permission"
        assert caller.post("revoke", {"token": lenas}, {}).json["msg"] == "not logged in"
        assert accepted(caller, lenas)
        assert caller.post("revoke", {"token": pauls}, basic("paul", "pw")).status_code == 200
        assert not accepted(caller, pauls)
        assert caller.post("revoke", {"token": lenas}, bearer(lenas)).status_code == 200
        assert not accepted(caller, lenas)

    def test_tokens_that_are_not_yet_valid(self, caller: Caller, clock: Clock) -> None:
        """A token of a disabled application, or one that is not yet valid, can be revoked."""
        later, disabled = token(claims(nbf=NOW + 600)), token(claims(n=1))
        caller.post("revoke", {"token": later})
        caller.post("update", application(enable="0"))
        caller.post("revoke", {"token": disabled})
        caller.post("update", application())
        clock.advance(700)
        assert not accepted(caller, later)
        assert not accepted(caller, disabled)

    def test_revocations_are_swept(self, caller: Caller, app: Flask, settings: Settings, clock: Clock) -> None:
        """The record does not have the token, and is removed a day after exp and leeway."""
        text = token(claims(exp=NOW + 100))
        caller.post("revoke", {"token": text})
        (path,) = records_in(settings.data_dir, "revocations")
        assert text not in path.read_text()
        assert text.split(".")[2] not in path.read_text()
        Record(settings.data_dir, "revocations", "bad").write_text("{")
        with app.app_context():
            for seconds, there in ((129 + 86400, True), (1, False)):
                clock.advance(seconds)
                services().revocations.sweep()
                assert path.exists() is there
        assert not accepted(caller, text)

    def test_introspect(self, caller: Caller) -> None:
        """An acceptable token has the members of RFC 7662, any other only active false."""
        response = caller.post("introspect", {"token": token(claims(loginname="LENA")), "token_type_hint": "x"})
        assert response.json == {
            "success": True,
            "active": True,
            "username": "LENA",
            "client_id": "ERP",
            "exp": NOW + 3600,
            "token_type": "Bearer",
        }
        for text in ("", "x", token(claims(exp=1)), token(claims(), "other"), token(claims(loginname="admin"))):
            assert caller.post("introspect", {"token": text}).json == {"success": True, "active": False}
        assert caller.post("introspect", "token=x").json["active"] is False


class TestKeys:
    """``/.well-known/jwks.json``."""

    @pytest.mark.parametrize("as_form", [False, True])
    def test_the_keys_of_a_jwk_set(self, caller: Caller, *, as_form: bool) -> None:
        """A JWK Set is stored as JSON text, in a form too, and each of its keys is published under its thumbprint."""
        found = [as_jwk(only_key("ES256", public_pem(key_for("ES256", other)))) for other in ("", "-other")]
        secret = json.dumps({"keys": [{**key, "kid": str(number)} for number, key in enumerate(found)]})
        body = application(algorithm="ES256", secret=secret)
        fieldmap, roles = json.dumps(body["fieldmap"]), json.dumps(body["initroles"])
        form = urlencode({**body, "fieldmap": fieldmap, "initroles": roles})
        assert caller.post("update", form if as_form else body).json["success"]
        assert caller.get(JWKS, {}).json["keys"] == found
        bad = json.dumps({"keys": [found[0], {**found[1], "d": "AQAB"}]})
        response = caller.post("update", {**body, "secret": bad})
        assert response.status_code == 400
        assert response.json["msg"] == "secret must have public keys only: there is a private or shared one"

    def test_the_public_keys_of_enabled_applications(self, caller: Caller) -> None:
        """The set has each public key of enabled applications once, with kid, alg and use, and no secrets."""
        caller.post("update", application(secret="marked-secret"))
        for algorithm in ("RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"):
            body = application(name=algorithm, algorithm=algorithm, secret=public_pem(key_for(algorithm)))
            caller.post("update", body)
        caller.post("update", application(name="Again", algorithm="ES256", secret=public_base64(key_for("ES256"))))
        caller.post(
            "update",
            application(name="Off", algorithm="ES256", secret=public_pem(key_for("ES256", "-other")), enable="0"),
        )
        response = caller.get(JWKS, {}).json
        assert list(response) == ["success", "keys"]
        assert sorted(key["alg"] for key in response["keys"]) == ["ES256", "ES384", "ES512", "EdDSA", "PS384", "RS256"]
        assert "marked" not in json.dumps(response)
        for key in response["keys"]:
            assert key["use"] == "sig"
            assert key.keys() <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}

    def test_others_find_our_keys_there(self, caller: Caller) -> None:
        """PyJWT's client finds the key by the token's kid and verifies the token."""
        for algorithm in ("RS256", "ES512", "EdDSA"):
            key = key_for(algorithm)
            caller.post("update", application(name="ERP", algorithm=algorithm, secret=public_pem(key)))
            text = caller.post("generate", {"name": "ERP", "privateKey": private_pem(key)}).json["token"]
            keys = jwt.PyJWKSet.from_dict({"keys": caller.get(JWKS, {}).json["keys"]})
            found = keys[token_parts(text)[0]["kid"]]
            assert (
                jwt.decode(text, found, algorithms=[algorithm], options={"verify_exp": False})["loginname"] == "admin"
            )

    def test_a_damaged_record_hides_no_other_key(self, caller: Caller, settings: Settings) -> None:
        """Without an application, or with a damaged one, the call succeeds."""
        assert caller.get(JWKS, {}).json == {"success": True, "keys": []}
        Record(settings.data_dir, "applications", "bad").write_text("{")
        assert caller.get(JWKS, {}).json == {"success": True, "keys": []}
