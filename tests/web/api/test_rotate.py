"""Changing a secret without an outage, revoking tokens, public keys, introspection."""

import base64
import json
import warnings
from dataclasses import replace
from typing import Any

import jwt
import pytest
from flask import Flask

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
    def test_the_service_makes_a_secret(self, caller: Caller, algorithm: str, length: int) -> None:
        """Left out, the secret is random, of the algorithm's full length, base64url, and answered this once."""
        caller.post("update", application(algorithm=algorithm))
        answer = caller.post("rotate", {"name": "erp"}).json
        assert list(answer) == ["success", "secret", "previous"]
        assert len(base64.urlsafe_b64decode(answer["secret"] + "==")) == length
        assert answer["previous"] == {"until": (NOW + 3600) * 1000}
        assert answer["secret"] not in json.dumps(content(caller))

    def test_a_given_secret_is_not_answered(self, caller: Caller) -> None:
        """A secret that was sent is not sent back; a weak one is warned about."""
        answer = caller.post("rotate", "name=ERP&secret=other&grace=60").json
        assert list(answer) == ["success", "previous", "warnings"]
        assert answer["previous"] == {"until": (NOW + 60) * 1000}
        answer = caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET}).json
        assert list(answer) == ["success", "previous"]

    def test_both_secrets_are_accepted_in_the_grace_time(self, caller: Caller, clock: Clock) -> None:
        """Tokens and privateKeys of the old secret go on until the grace time is over; the new secret signs."""
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
        """With grace 0 the old secret ends at once, and no previous one is kept or shown."""
        caller.post("rotate", {"name": "ERP", "secret": "new-one", "grace": 0})
        assert not accepted(caller, token(claims()))
        assert "previous" not in content(caller)

    def test_only_one_previous_secret(self, caller: Caller) -> None:
        """A second rotation ends the first one's grace time."""
        caller.post("rotate", {"name": "ERP", "secret": "second"})
        caller.post("rotate", {"name": "ERP", "secret": "third"})
        assert not accepted(caller, token(claims()))
        assert accepted(caller, token(claims(), "second"))
        assert accepted(caller, token(claims(), "third"))

    def test_when_the_old_secret_was_last_used(self, caller: Caller, clock: Clock) -> None:
        """List and content show until when the old one counts and when it was last used, to within a minute."""
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

    def test_explain_and_refusals_are_no_use(self, caller: Caller) -> None:
        """Explaining a token of the old secret, or refusing one, does not count as its use."""
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})
        answer = caller.post("explain", {"token": token(claims())}).json
        assert answer["accepted"]
        assert "previous secret" in json.dumps(answer)
        assert not accepted(caller, token(claims(exp=1)))
        assert content(caller)["previous"]["lastUsed"] is None

    def test_a_last_use_that_cannot_be_kept_stops_nobody(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a disk that cannot be written, tokens of the old secret of known users are accepted."""
        assert accepted(caller, token(claims()))
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        assert accepted(caller, token(claims()))

    @pytest.mark.file_store
    def test_a_stuck_lock_holds_nobody_up(self, caller: Caller, app: Flask) -> None:
        """While another process sits on the lock, a token of the old secret is accepted without waiting for it."""
        assert accepted(caller, token(claims()))
        caller.post("rotate", {"name": "ERP", "secret": "new-one"})
        with app.app_context():
            store: Any = services().store
        store._lock_timeout = 600
        with store.locked("applications"):
            assert accepted(caller, token(claims()))

    def test_update_ends_the_grace_time(self, caller: Caller) -> None:
        """A secret or algorithm that is changed by update ends a grace time; other changes leave it running."""
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
        """A wrong field is 400 and named, and the secret stays."""
        answer = caller.post("rotate", body)
        assert answer.status_code == 400
        assert answer.json["msg"].startswith(f"{field} ")
        assert accepted(caller, token(claims()))

    def test_an_unknown_application(self, caller: Caller) -> None:
        """Rotating what is not there is 404."""
        assert caller.post("rotate", {"name": "nobody"}).json["msg"] == "name does not exist"

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_public_keys(self, caller: Caller, clock: Clock, algorithm: str) -> None:
        """A public key must be sent; in the grace time both private keys sign, each under its own kid."""
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

    def test_a_revoked_token_counts_no_more(self, caller: Caller) -> None:
        """The revoked token is refused, every other one is not; twice is no error."""
        first, second = token(claims()), token(claims(n=2))
        for _ in range(2):
            assert caller.post("revoke", {"token": first}).json == {"success": True, "msg": "success"}
            assert not accepted(caller, first)
            assert accepted(caller, second)

    @pytest.mark.parametrize("text", ["", "x", "a.b.c", "ä", token(claims(), "other"), token(claims(exp=1))])
    def test_unknown_tokens_are_no_error(self, caller: Caller, settings: Settings, text: str) -> None:
        """An unknown, invalid or expired token is a success and leaves nothing on the disk."""
        body = {"token": text, "token_type_hint": "access_token"}
        assert caller.post("revoke", body).json == {"success": True, "msg": "success"}
        assert records_in(settings.data_dir, "revocations") == []
        assert caller.post("revoke", {}).json["msg"] == "token is missing"

    def test_no_other_spelling_revives_a_token(self, caller: Caller) -> None:
        """An ECDSA token signed anew over the same claims stays revoked: what is signed counts, not the signature."""
        key = key_for("ES256")
        caller.post("update", application(algorithm="ES256", secret=public_pem(key)))
        texts = [jwt.encode(claims(), key, algorithm="ES256") for _ in range(2)]
        assert texts[0] != texts[1]
        caller.post("revoke", {"token": texts[0]})
        assert not accepted(caller, texts[1])

    def test_another_applications_token_is_not_hit(self, caller: Caller) -> None:
        """Of two tokens with the same claims only the revoked one is refused; with the same secret they are one."""
        caller.post("update", application(name="Other", secret="other"))
        caller.post("update", application(name="Twin"))
        caller.post("revoke", {"token": token(claims())})
        assert not accepted(caller, token(claims()))
        assert accepted(caller, token(claims(), "other"))
        caller.post("delete", {"name": "ERP"})
        assert not accepted(caller, token(claims()))

    def test_another_spelling_of_a_public_key_revives_nothing(self, caller: Caller) -> None:
        """A token stays revoked when the same public key is stored in its other form."""
        key = key_for("ES256")
        caller.post("update", application(algorithm="ES256", secret=public_pem(key)))
        text = jwt.encode(claims(), key, algorithm="ES256")
        caller.post("revoke", {"token": text})
        caller.post("update", application(algorithm="ES256", secret=public_base64(key)))
        assert not accepted(caller, text)

    def test_a_damaged_application_may_be_the_tokens(self, caller: Caller, settings: Settings) -> None:
        """When the token can be the one of a record that cannot be read, revoking it is 503, and explain says so."""
        text = token(claims())
        path = Record(settings.data_dir, "applications", "erp")
        whole = path.read_text()
        caller.post("update", application(name="Other", secret="other"))
        path.write_text("{")
        assert caller.post("revoke", {"token": text}).status_code == 503
        assert caller.post("revoke", {"token": token(claims(), "other")}).status_code == 200
        answer = caller.post("explain", {"token": text}).json
        assert answer["reason"] == "signature"
        assert "erp" in answer["steps"][-1]["detail"]
        path.write_text(whole)
        assert accepted(caller, text)

    def test_what_a_clipboard_adds(self, caller: Caller) -> None:
        """A line break behind a token does not save it from being revoked; explain says what is around it."""
        text = token(claims())
        for around in (f"{text}\n", f'"{text}"', f"Bearer {text}"):
            detail = caller.post("explain", {"token": around}).json["steps"][-1]["detail"]
            assert "white space, quotes or the word Bearer" in detail
        assert caller.post("introspect", {"token": f" {text}\n"}).json["active"]
        caller.post("revoke", {"token": f"{text}\n"})
        assert not accepted(caller, text)

    def test_who_may_revoke(self, caller: Caller) -> None:
        """An Administrator any token, a user their own, by any way of signing in; a stranger none."""
        lenas, pauls = token(claims()), token(claims(loginname="PAUL"))
        assert caller.post("revoke", {"token": lenas}, basic("paul", "pw")).json["msg"] == "no permission"
        assert caller.post("revoke", {"token": lenas}, {}).json["msg"] == "not logged in"
        assert accepted(caller, lenas)
        assert caller.post("revoke", {"token": pauls}, basic("paul", "pw")).status_code == 200
        assert not accepted(caller, pauls)
        assert caller.post("revoke", {"token": lenas}, bearer(lenas)).status_code == 200
        assert not accepted(caller, lenas)

    def test_tokens_that_do_not_count_yet(self, caller: Caller, clock: Clock) -> None:
        """A token of a disabled application, and one whose time has not come, can be revoked beforehand."""
        later, disabled = token(claims(nbf=NOW + 600)), token(claims(n=1))
        caller.post("revoke", {"token": later})
        caller.post("update", application(enable="0"))
        caller.post("revoke", {"token": disabled})
        caller.post("update", application())
        clock.advance(700)
        assert not accepted(caller, later)
        assert not accepted(caller, disabled)

    def test_revocations_are_swept(self, caller: Caller, app: Flask, settings: Settings, clock: Clock) -> None:
        """The record holds no token, and goes once exp and the leeway have passed."""
        text = token(claims(exp=NOW + 100))
        caller.post("revoke", {"token": text})
        (path,) = records_in(settings.data_dir, "revocations")
        assert text not in path.read_text()
        assert text.split(".")[2] not in path.read_text()
        Record(settings.data_dir, "revocations", "bad").write_text("{")
        with app.app_context():
            for seconds, there in ((129, True), (1, False)):
                clock.advance(seconds)
                services().revocations.sweep()
                assert path.exists() is there
        assert not accepted(caller, text)

    def test_introspect(self, caller: Caller) -> None:
        """RFC 7662 members for a token that would be accepted, only active false for any other."""
        answer = caller.post("introspect", {"token": token(claims(loginname="LENA")), "token_type_hint": "x"})
        assert answer.json == {
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

    def test_the_public_keys_of_enabled_applications(self, caller: Caller) -> None:
        """Each public key once, with kid, alg and use, and nothing private; shared and disabled ones are not there."""
        caller.post("update", application(secret="marked-secret"))
        for algorithm in ("RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"):
            body = application(name=algorithm, algorithm=algorithm, secret=public_pem(key_for(algorithm)))
            caller.post("update", body)
        caller.post("update", application(name="Again", algorithm="ES256", secret=public_base64(key_for("ES256"))))
        caller.post(
            "update",
            application(name="Off", algorithm="ES256", secret=public_pem(key_for("ES256", "-other")), enable="0"),
        )
        answer = caller.get(JWKS, {}).json
        assert list(answer) == ["success", "keys"]
        assert sorted(key["alg"] for key in answer["keys"]) == ["ES256", "ES384", "ES512", "EdDSA", "PS384", "RS256"]
        assert "marked" not in json.dumps(answer)
        for key in answer["keys"]:
            assert key["use"] == "sig"
            assert key.keys() <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}

    def test_others_find_our_keys_there(self, caller: Caller) -> None:
        """PyJWT's own client picks the key by the token's kid and verifies the token with it."""
        for algorithm in ("RS256", "ES512", "EdDSA"):
            key = key_for(algorithm)
            caller.post("update", application(name="ERP", algorithm=algorithm, secret=public_pem(key)))
            text = caller.post("generate", {"name": "ERP", "privateKey": private_pem(key)}).json["token"]
            keys = jwt.PyJWKSet.from_dict({"keys": caller.get(JWKS, {}).json["keys"]})
            found = keys[token_parts(text)[0]["kid"]]
            assert (
                jwt.decode(text, found, algorithms=[algorithm], options={"verify_exp": False})["loginname"] == "admin"
            )

    def test_a_damaged_record_stops_no_key(self, caller: Caller, settings: Settings) -> None:
        """With no application, or a damaged one, the call is a success."""
        assert caller.get(JWKS, {}).json == {"success": True, "keys": []}
        Record(settings.data_dir, "applications", "bad").write_text("{")
        assert caller.get(JWKS, {}).json == {"success": True, "keys": []}
