"""Suspicious secrets: warnings, repairs named by a 403, near misses named by explain, undone rotations."""

import base64
import io
import json
from typing import Any

import jwt
import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.tokens import signin
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.crypto.test_damaged_secrets import DAMAGE
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record
from tests.support import STRONG_SECRET, Clock, application, key_for, private_pem, public_base64, public_pem, record_of

RIGHT = "q1Zr+8sV0b/YxkUe3m5G7TnAa9LhJcDf2WoPiR4t+6MvKyEwXz1BQgHjSuNlC0dO+5p8Tq2F"
FORM = "name=ERP&expire=60&algorithm=HS256&enable=1&inituser=1&initroles=SYS_Reader&fieldmap.username=loginname"
ROTATED = "2024-08-06T07:31:56Z"


def stored(settings: Settings) -> dict[str, Any]:
    return record_of(settings.config_dir, settings.data_dir, "erp")


def explained(caller: Caller, text: str, **more: str) -> str:
    """Return the sentence of the last step, the reason for the refusal."""
    response = caller.post("explain", {"token": text, **more}).json
    assert not response["accepted"]
    detail: str = [step for step in response["steps"] if step["step"] != "damaged"][-1]["detail"]
    return detail


class TestSuspicious:
    """``update`` and ``rotate`` with a suspicious secret."""

    @pytest.mark.parametrize("kind", DAMAGE)
    @pytest.mark.parametrize("call", ["update", "rotate"])
    def test_it_is_stored_as_sent_with_a_warning(
        self, caller: Caller, settings: Settings, log: io.StringIO, call: str, kind: str
    ) -> None:
        """A suspicious secret is stored unchanged; warnings and log name the suspicion, not the secret."""
        damage, says, _ = DAMAGE[kind]
        caller.post("update", application(secret=STRONG_SECRET))
        log.seek(0)
        body = application(secret=damage(RIGHT)) if call == "update" else {"name": "ERP", "secret": damage(RIGHT)}
        response = caller.post(call, body)
        assert response.status_code == 200
        assert stored(settings)["secret"] == damage(RIGHT)
        assert any(says in warning for warning in response.json["warnings"])
        assert 'event="suspicious secret" application=ERP' in log.getvalue()
        for text in (json.dumps(response.json), log.getvalue()):
            assert RIGHT[:8] not in text

    def test_a_plus_in_a_form(self, caller: Caller, settings: Settings) -> None:
        """A '+' that was not sent as %2B has a warning with the remedy; one sent as %2B has none."""
        form = f"{FORM}&fieldmap.name=name&fieldmap.email=email&secret="
        response = caller.post("update", f"{form}{RIGHT}")
        assert "send '+' as %2B" in response.json["warnings"][0]
        assert stored(settings)["secret"] == RIGHT.replace("+", " ")
        assert "%2B" in str(caller.post("update", f"{form}ab+cd").json["warnings"])
        response = caller.post("update", form + RIGHT.replace("+", "%2B"))
        assert response.json == {"success": True, "msg": "success"}
        assert stored(settings)["secret"] == RIGHT

    def test_a_stored_one_is_warned_about_until_it_is_changed(self, caller: Caller) -> None:
        """An update that keeps a suspicious secret has the same warning."""
        first = caller.post("update", application(secret=f"{RIGHT}\n")).json["warnings"]
        assert caller.post("update", application(secret=None, expire=60)).json["warnings"] == first
        assert "warnings" not in caller.post("update", application(secret=RIGHT)).json


class TestRepairs:
    """The 403 of ``generate``."""

    @pytest.mark.parametrize("kind", DAMAGE)
    def test_the_403_names_the_repair(self, caller: Caller, kind: str) -> None:
        """A 403 names the repair that makes the private key match, whichever of the two is damaged."""
        damage, _, repair = DAMAGE[kind]
        begin = "privateKey does not belong to application ERP: "
        for secret, sent, side in ((RIGHT, damage(RIGHT), "it"), (damage(RIGHT), RIGHT, "the stored secret")):
            caller.post("update", application(secret=secret))
            response = caller.post("generate", {"name": "ERP", "privateKey": sent, "username": "lena"})
            assert response.status_code == 403
            assert response.json["msg"].startswith(f"{begin}{side} would match {repair}")
            assert RIGHT[:8] not in response.json["msg"]

    def test_the_plus_of_a_form(self, caller: Caller) -> None:
        """A 403 names %2B if a '+' in a form became a space."""
        caller.post("update", application(secret=RIGHT))
        said = caller.post("generate", f"name=ERP&username=lena&privateKey={RIGHT}").json["msg"]
        assert said.endswith("it would match with '+' instead of the blanks; in a form, send '+' as %2B")

    def test_the_previous_secret_in_its_grace_period(self, caller: Caller, clock: Clock) -> None:
        """A 403 names the repair of the previous secret during its grace period only."""
        caller.post("update", application(secret=RIGHT))
        caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET, "grace": 60})
        body = {"name": "ERP", "privateKey": f"{RIGHT}\n", "username": "lena"}
        assert "line break" in caller.post("generate", body).json["msg"]
        clock.advance(61)
        assert caller.post("generate", body).json["msg"] == "privateKey does not belong to application ERP"

    def test_no_repair_and_another_kind_of_key(self, caller: Caller) -> None:
        """A wrong secret or PEM private key without a repair has the documented message only."""
        caller.post("update", application(secret=RIGHT))
        said = caller.post("generate", {"name": "ERP", "privateKey": RIGHT.lower(), "username": "lena"}).json["msg"]
        assert said == "privateKey does not belong to application ERP"
        key, other = key_for("ES256"), key_for("ES256", "-other")
        caller.post("update", application(algorithm="ES256", secret=public_pem(key)))
        said = caller.post("generate", {"name": "ERP", "privateKey": private_pem(other)}).json["msg"]
        assert said == "privateKey does not belong to application ERP"


class TestNearMisses:
    """The steps ``signature`` and ``algorithm`` of ``explain``."""

    @pytest.mark.parametrize("named", [{}, {"name": "ERP"}])
    @pytest.mark.parametrize("kind", DAMAGE)
    def test_a_damaged_secret_here(self, caller: Caller, kind: str, named: dict[str, str]) -> None:
        """If the stored secret is damaged, explain names the repair."""
        damage, _, repair = DAMAGE[kind]
        caller.post("update", application(secret=damage(RIGHT)))
        said = explained(caller, token(claims(), RIGHT), **named)
        assert said.startswith(f"not signed with the secret of ERP: the secret of ERP fits {repair}")
        assert RIGHT[:8] not in said

    @pytest.mark.parametrize(
        ("used", "says"),
        [
            (f"{RIGHT}\n", "with a line break at its end"),
            (f"{RIGHT}\r\n", "with a line break at its end"),
            (RIGHT.replace("+", " "), "with blanks instead of '+'"),
            (f'"{RIGHT}"', "in quotes"),
            (f"\ufeff{RIGHT}", "with a byte order mark in front"),
            (base64.b64encode(RIGHT.encode()).decode(), "encoded as Base64"),
        ],
    )
    def test_a_damaged_copy_of_the_token_issuer(self, caller: Caller, used: str, says: str) -> None:
        """If the issuer's copy of the secret is damaged, explain names the damage."""
        caller.post("update", application(secret=RIGHT))
        assert explained(caller, token(claims(), used)).endswith(f"the secret of ERP fits {says}")

    @pytest.mark.parametrize(
        ("secret", "says"),
        [
            (base64.b64encode(bytes(range(0, 128, 2))).decode(), "decoded from Base64"),
            (base64.urlsafe_b64encode(bytes(range(255, 205, -1))).decode().rstrip("="), "decoded from base64url"),
            (bytes(range(100, 164)).hex(), "decoded from hexadecimal"),
        ],
    )
    def test_the_decoded_secret(self, caller: Caller, secret: str, says: str) -> None:
        """If the issuer decodes the secret first, explain says to use its text."""
        caller.post("update", application(secret=secret))
        decoded = bytes.fromhex(secret) if "hex" in says else base64.urlsafe_b64decode(secret + "==")
        said = explained(caller, jwt.encode(claims(), decoded, "HS256", headers={"typ": "JWT"}))
        assert f"the secret of ERP fits {says}; the token issuer must use its text as it is" in said

    def test_the_previous_secret_after_its_grace_period(self, caller: Caller, clock: Clock) -> None:
        """Explain names the previous secret after its grace period, or without one."""
        caller.post("update", application(secret=RIGHT))
        caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET, "grace": 60})
        old = token(claims(exp=NOW + 9000), RIGHT)
        clock.advance(61)
        says = "the secret of ERP before its last rotation fits; its grace period is over"
        assert explained(caller, old).endswith(says)
        caller.post("rotate", {"name": "ERP", "secret": f"{STRONG_SECRET}2", "grace": 0})
        assert "fits" not in explained(caller, old)
        assert explained(caller, token(claims(exp=NOW + 9000), STRONG_SECRET)).endswith(says)

    def test_another_applications_secret(self, caller: Caller) -> None:
        """Explain names another application that signed the token, also a disabled one."""
        caller.post("update", application(secret=RIGHT))
        caller.post("update", application(name="CRM", secret=STRONG_SECRET, enable="0"))
        text = token(claims(), STRONG_SECRET)
        assert explained(caller, text, name="ERP").endswith("the secret of CRM fits")
        caller.post("update", application(name="CRM", secret=STRONG_SECRET, algorithm="HS512"))
        assert explained(caller, text).endswith("not signed with the secret of ERP: the secret of CRM fits")

    def test_another_algorithm_of_the_family(self, caller: Caller) -> None:
        """Explain names the algorithm with which the secret verifies the token."""
        caller.post("update", application(secret=RIGHT))
        other = token(claims(), RIGHT, {"typ": "JWT", "alg": "HS512"}, "sha512")
        assert explained(caller, other) == "ERP expects HS256, the token says HS512; the secret of ERP fits"
        foreign = token(claims(), STRONG_SECRET, {"typ": "JWT", "alg": "HS512"}, "sha512")
        assert explained(caller, foreign) == "ERP expects HS256, the token says HS512"
        untrue = token(claims(), RIGHT, digest="sha512")
        assert explained(caller, untrue).endswith("the secret of ERP fits with HS512")

    def test_public_keys(self, caller: Caller) -> None:
        """Near misses are found for public keys too: another application's, the previous one, another algorithm."""
        key, other = key_for("RS256"), key_for("RS256", "-other")
        caller.post("update", application(algorithm="RS256", secret=public_pem(key)))
        pss = jwt.encode(claims(), key, "PS256")
        assert explained(caller, pss) == "ERP expects RS256, the token says PS256; the public key of ERP fits"
        header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"RS256"}').rstrip(b"=").decode()
        message = f"{header}.{pss.split('.')[1]}"
        signature = jwt.get_algorithm_by_name("PS256").sign(message.encode(), key)
        untrue = f"{message}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert explained(caller, untrue).endswith("the public key of ERP fits with PS256")
        foreign = jwt.encode(claims(), other, "RS256")
        assert "fits" not in explained(caller, foreign)
        caller.post("update", application(name="CRM", algorithm="RS384", secret=public_base64(other)))
        assert explained(caller, foreign).endswith("the public key of CRM fits")
        caller.post("rotate", {"name": "ERP", "secret": public_pem(key_for("RS256", "-other")), "grace": 0})
        assert explained(caller, jwt.encode(claims(), key, "RS256"), name="ERP").endswith(
            "the public key of ERP before its last rotation fits; its grace period is over"
        )

    def test_nothing_fits(self, caller: Caller) -> None:
        """Without a near miss the sentence is the plain one; nothing is searched for an unknown algorithm."""
        caller.post("update", application(secret=RIGHT))
        says = "not signed with the secret of ERP: the token was changed, or signed with another secret"
        assert explained(caller, token(claims(), "nobody's")) == says
        assert explained(caller, token(claims(), "x", {"alg": "none"})) == "ERP expects HS256, the token says none"

    def test_how_often_is_searched(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        """Introspection searches no near misses, and sign-in once a second at most, since anyone can call them."""
        caller.post("update", application(secret=RIGHT))
        found: list[object] = []
        monkeypatch.setattr(signin, "near_miss", lambda *of: found.append(of))
        monkeypatch.setattr("datafor_token.tokens.verifier._hint", found.append)
        detail = "/plugin/datafor-modeler/api/user/detail"
        for text in (token(claims(), f"{RIGHT}\n"), token(claims(), RIGHT) + "=", token(claims(), f"{RIGHT}!")):
            assert caller.post("introspect", {"token": text}).json["active"] is False
            assert caller.get(detail, {"Authorization": f"Bearer {text}"}).status_code == 401
            assert len(found) == 1
        caller.post("explain", {"token": text})
        assert len(found) == 2

    def test_the_search_is_bounded(self, caller: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """The search covers a limited number of applications, first those whose user name claim the token has."""
        monkeypatch.setattr("datafor_token.tokens.near_misses._MOST_ASKED", 2)
        monkeypatch.setattr("datafor_token.tokens.near_misses._MOST_OTHERS", 3)
        strange = {"username": "sub", "name": "name", "email": "email"}
        for number in range(4):
            caller.post("update", application(name=f"A{number}", secret=f"{RIGHT}{number}", fieldmap=strange))
        caller.post("update", application(name="Z", secret=f"{STRONG_SECRET}\n"))
        assert explained(caller, token(claims(), STRONG_SECRET)).endswith("the secret of Z fits " + LINE_BREAK)
        assert "fits" not in explained(caller, token(claims(), f"{RIGHT}3\n"))
        with app.app_context():
            assert len(services().registry.index().entries) == 5


LINE_BREAK = "without the line break at its end"


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda text: f"https://portal.example/d/7?orgId=1&token={text}&x=1", "only the value of its parameter token"),
        (lambda text: f"/auth/enter?token={text}", "this one is a URL: send only the value of its parameter token"),
        (lambda text: f"https://portal.example/{text}", "this one is a URL"),
        (lambda text: f"Bearer {text}", "the word Bearer"),
        (lambda text: f"Authorization: bearer {text}", "the word Bearer"),
        (lambda text: f"'{text}'\n", "quotes"),
        (lambda text: "=.".join(text.split(".")) + "==", "padding"),
        (lambda text: text.replace("-", "+").replace("_", "/"), "standard Base64"),
        (lambda text: f"{text[:40]}\n{text[40:80]}\r\n{text[80:]}", "line breaks or blanks inside"),
        (lambda text: f"{text[:40]} {text[40:]}", "line breaks or blanks inside"),
        (lambda text: text.replace(".", "%2E"), "percent-encoded"),
        (lambda text: text.rpartition(".")[0] + ".", "no signature"),
        (lambda text: text + ".x.y", "five parts"),
        (lambda text: json.dumps({"success": True, "token": text}), "JSON object"),
        (lambda text: f"token: {text}", "other text around it"),
    ],
)  # fmt: skip
def test_what_a_token_was_pasted_with_is_named(caller: Caller, wrap: Any, says: str) -> None:
    """Explain names what surrounds a pasted token, or what its encoding has too much."""
    caller.post("update", application())
    text = token(claims(name="\u00ff\u00fe??>>", n=1))
    while "-" not in text.rpartition(".")[2] or "_" not in text:
        text = token(claims(name="\u00ff\u00fe??>>", n=text[-9:]))
    said = explained(caller, wrap(text))
    assert says in said
    assert text.split(".")[2] not in said


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1796000000000, "is 1796000000000: that looks like milliseconds; it must be seconds"),
        (1796000000123.5, "that looks like milliseconds; it must be seconds"),
        (1796000000000000, "that looks like microseconds; it must be seconds"),
        (1796000000000000000, "that looks like nanoseconds; it must be seconds"),
        (10**12 - 1, "must be a number of seconds from 0"),
        (-1796000000000, "must be a number of seconds from 0"),
        ("1796000000000", "must be a number of seconds from 0"),
        (True, "must be a number of seconds from 0"),
    ],
)
def test_times_in_another_unit(caller: Caller, claim: str, value: Any, says: str) -> None:
    """Explain names the unit of a time in milliseconds."""
    caller.post("update", application())
    said = explained(caller, token(claims(**{claim: value})))
    assert said.startswith(claim)
    assert says in said


class TestUndoneRotations:
    """``update`` with the secret before the last rotation."""

    @pytest.fixture(autouse=True)
    def _rotated(self, caller: Caller) -> None:
        caller.post("update", application(secret=RIGHT))
        caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET, "grace": 60})

    def test_update_with_the_previous_secret(self, caller: Caller, settings: Settings, clock: Clock) -> None:
        """It is 409 with the time of the rotation, during and after the grace period, and changes nothing."""
        before = stored(settings)
        for _ in range(2):
            for algorithm in ("HS256", "HS512"):
                response = caller.post("update", application(secret=RIGHT, algorithm=algorithm, expire=5))
                assert response.status_code == 409
                assert response.json == {
                    "success": False, "code": "409",
                    "msg": f"this is the secret before the rotation of {ROTATED}; leave `secret` out to keep the new"
                    " one",
                }  # fmt: skip
            assert stored(settings) == before
            clock.advance(10**6)

    @pytest.mark.parametrize("damage", ["{}\n", "{}\r\n", " {}", '"{}"', "\ufeff{}", "SECRET={}"])
    def test_update_with_the_previous_secret_damaged(self, caller: Caller, settings: Settings, damage: str) -> None:
        """A damaged copy of the previous secret is 409 too."""
        before = stored(settings)
        assert caller.post("update", application(secret=damage.format(RIGHT))).status_code == 409
        assert stored(settings) == before

    @pytest.mark.parametrize("secret", [None, "************", STRONG_SECRET])
    def test_update_that_keeps_the_new_secret(self, caller: Caller, settings: Settings, secret: str | None) -> None:
        """An update without a secret, with the mask or the new secret keeps the secret and the grace period."""
        response = caller.post("update", application(secret=secret, expire=5))
        assert response.json == {"success": True, "msg": "success"}
        assert (stored(settings)["secret"], stored(settings)["expire"]) == (STRONG_SECRET, 5)
        assert caller.get("content?name=ERP").json["previous"]["until"] == (NOW + 60) * 1000

    def test_a_new_application_needs_a_secret(self, caller: Caller) -> None:
        """A new application without a secret is 400, and the field is named."""
        response = caller.post("update", application(name="New", secret=None))
        assert response.status_code == 400
        assert list(response.json["errors"]) == ["secret"]

    def test_it_stays_stored_until_the_next_rotation(self, caller: Caller, settings: Settings) -> None:
        """An update ends the grace period; the previous secret is stored until the next rotation."""
        caller.post("update", application(secret=f"{STRONG_SECRET}3"))
        assert caller.post("generate", {"name": "ERP", "privateKey": RIGHT}).status_code == 403
        assert "previous" not in caller.get("content?name=ERP").json
        assert caller.post("update", application(secret=RIGHT)).status_code == 409
        caller.post("update", application(secret=None, algorithm="HS384"))
        assert caller.post("update", application(secret=RIGHT, algorithm="HS384")).status_code == 409
        caller.post("rotate", {"name": "ERP"})
        assert stored(settings)["previous"]["secret"] == f"{STRONG_SECRET}3"
        assert caller.post("update", application(secret=RIGHT)).status_code == 200

    def test_without_a_grace_period(self, caller: Caller, settings: Settings, clock: Clock) -> None:
        """A secret that was rotated without grace is stored encrypted, and accepted at no time."""
        caller.post("rotate", {"name": "ERP", "secret": f"{STRONG_SECRET}3", "grace": 0})
        assert stored(settings)["previous"]["secret"] == STRONG_SECRET
        assert STRONG_SECRET not in Record(settings.data_dir, "applications", "erp").read_text()
        clock.advance(-600)
        assert caller.post("generate", {"name": "ERP", "privateKey": STRONG_SECRET}).status_code == 403
        assert "fits; its grace period is over" in explained(caller, token(claims(), STRONG_SECRET))
        assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 409

    def test_back_on_purpose(self, caller: Caller, settings: Settings) -> None:
        """``rotate`` can restore the previous secret; the other one becomes the previous one."""
        assert caller.post("rotate", {"name": "ERP", "secret": RIGHT}).status_code == 200
        assert stored(settings)["secret"] == RIGHT
        assert caller.post("update", application(secret=RIGHT)).status_code == 200
        assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 409
        assert caller.post("rotate", {"name": "ERP", "secret": RIGHT}).status_code == 400

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_public_keys_in_another_encoding(self, caller: Caller, algorithm: str) -> None:
        """The previous public key is recognised in any encoding; the current one in another is not a change."""
        old, new = key_for(algorithm), key_for(algorithm, "-other")
        caller.post("update", application(name="Keys", algorithm=algorithm, secret=public_pem(old)))
        caller.post("rotate", {"name": "Keys", "secret": public_pem(new), "grace": 60})
        for text in (public_pem(old), public_base64(old), public_pem(old).replace("\n", "\r\n")):
            response = caller.post("update", application(name="Keys", algorithm=algorithm, secret=text))
            assert response.status_code == 409
            assert ROTATED in response.json["msg"]
        response = caller.post("rotate", {"name": "Keys", "secret": public_base64(new)})
        assert response.json["msg"] == "secret is the present one already"
        response = caller.post("update", application(name="Keys", algorithm=algorithm, secret=public_base64(new)))
        assert response.status_code == 200
        assert caller.get("content?name=Keys").json["previous"]["until"] == (NOW + 60) * 1000
        assert caller.post("generate", {"name": "Keys", "privateKey": private_pem(old)}).status_code == 200

    def test_a_secret_of_another_kind_is_not_kept(self, caller: Caller, settings: Settings) -> None:
        """A previous secret that does not suit the new algorithm is removed from the record."""
        caller.post("update", application(algorithm="ES256", secret=public_pem(key_for("ES256"))))
        assert "previous" not in stored(settings)
        assert caller.get("content?name=ERP").json["algorithm"] == "ES256"

    def test_records_of_other_versions(self, caller: Caller, settings: Settings) -> None:
        """A record without the time of its rotation works, and its unknown members are kept."""
        record = stored(settings)
        del record["previous"]["rotatedDate"]
        record["previous"]["colour"] = "red"
        Record(settings.data_dir, "applications", "erp").write_text(json.dumps(record))
        response = caller.post("update", application(secret=RIGHT))
        assert (
            response.json["msg"]
            == "this is the secret before the last rotation; leave `secret` out to keep the new one"
        )
        caller.post("update", application(secret=None, expire=5))
        assert caller.post("generate", {"name": "ERP", "privateKey": RIGHT}).status_code == 200
        assert stored(settings)["previous"].items() >= {"colour": "red", "lastUsed": NOW * 1000}.items()
        for odd in (2**63 - 1, 253402300800000):
            record["previous"]["rotatedDate"] = odd
            Record(settings.data_dir, "applications", "erp").write_text(json.dumps(record))
            assert caller.post("update", application(secret=RIGHT)).status_code == 409

    def test_the_version_before_reads_the_record(self, caller: Caller, settings: Settings) -> None:
        """The previous version can read the record: it has the same members with plain numbers, and one more."""
        caller.post("rotate", {"name": "ERP", "secret": RIGHT, "grace": 0})
        assert stored(settings)["previous"] == {
            "secret": STRONG_SECRET, "until": 0, "lastUsed": None, "rotatedDate": NOW * 1000,
        }  # fmt: skip
        assert stored(settings)["format"] == 1
