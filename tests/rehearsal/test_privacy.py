"""Kept members of a token: no part of the token, and no value that no rule mentions."""

import base64
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from datafor_token.operations.services import Services
from datafor_token.rehearsal import records
from datafor_token.rehearsal.records import Circumstances
from datafor_token.settings import Settings
from tests.conftest import Caller
from tests.handmade_tokens import NOW, token
from tests.stores import Record
from tests.support import STRONG_SECRET, application

DETAIL = "/plugin/datafor-modeler/api/user/detail"
INSIDE = token({"loginname": "inside", "exp": NOW + 60}, STRONG_SECRET)
HEADER = {"typ": "JWT", "alg": "HS256"}


def kept_of(
    services: Services, caller: Caller, claims: dict[str, Any], *, header: dict[str, str] | None = None, **rules: Any
) -> Circumstances:
    """Sign in with a token of these claims; return what is stored of it."""
    assert caller.post("update", application(secret=STRONG_SECRET, audience="*", **rules)).status_code == 200
    text = token({"loginname": "lena", "exp": NOW + 3600, **claims}, STRONG_SECRET, header or HEADER)
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200
    (record,) = services.history.every(0, services.users.get)
    (found,) = record.sign_ins.values()
    return found.circumstances


def test_values_of_other_claims(services: Services, caller: Caller, settings: Settings) -> None:
    """Only values of aud, iss, the times and the claims in the policy are kept, and of other claims the names."""
    claims = {"dept": "sales", "aud": "erp", "iss": "portal", "iat": NOW, "phone": "marked-value", "iban": 77700777}
    found = kept_of(services, caller, claims, require={"dept": "sales"})
    assert found.values == {"aud": "erp", "iss": "portal", "dept": "sales"}
    assert set(found.claims) == {*claims, "loginname", "exp"}
    assert not found.further
    stored = Record(settings.data_dir, records.COLLECTION, "lena").read_text()
    assert all(text not in stored for text in ("marked-value", "77700777"))


@pytest.mark.parametrize(
    "value",
    [
        INSIDE,
        [INSIDE],
        {"access_token": INSIDE},
        [[{"deep": [INSIDE]}]],
        f"Bearer {INSIDE}",
        f"https://portal.example/?token={INSIDE}",
        INSIDE.rpartition(".")[0],
        INSIDE.split(".")[0],
        INSIDE.split("."),
        "\n".join(INSIDE.split(".")),
        INSIDE.replace("eyJ", "xyJ", 1),
        "x" * 511,
        ["x" * 100] * 6,
    ],
)
def test_a_token_in_a_claim(services: Services, caller: Caller, settings: Settings, value: Any) -> None:
    """A value with a token or a part of one inside, or a long one, is not kept, though the policy names the claim."""
    claims = {"dept": value, "aud": value, "iss": value}
    found = kept_of(services, caller, claims, require={"dept": "x"}, report=["require"])
    assert found.values == {}
    assert found.missing == ()
    stored = Record(settings.data_dir, records.COLLECTION, "lena").read_text()
    assert not any(part in stored for part in (*INSIDE.split("."), "x" * 100))


@pytest.mark.parametrize("value", ["api.example.com", "https://login.example.com/realms/portal", "urn:example:erp", 7])
def test_usual_values(services: Services, caller: Caller, value: Any) -> None:
    """Host names, URLs, URNs and numbers are kept."""
    assert kept_of(services, caller, {"aud": value}).values["aud"] == value


@pytest.mark.parametrize("names", [[INSIDE], [INSIDE.split(".")[0]], [f"claim {one}" for one in range(200)]])
def test_names_of_claims(services: Services, caller: Caller, settings: Settings, names: Sequence[str]) -> None:
    """Names of claims that are long or have a token inside are not kept, and a rule about another one is unknown."""
    found = kept_of(services, caller, {"aud": "erp", **dict.fromkeys(names, 1)})
    assert found.further
    assert set(found.claims) == {"aud", "exp"}
    stored = Record(settings.data_dir, records.COLLECTION, "lena").read_text()
    assert not any(name in stored for name in names)
    present = services.registry.get("ERP")
    assert present is not None
    changed = dataclasses.replace(present, require={"dept": ("x",)})
    assert services.rehearsals.rehearse({"ERP": changed}).unknown == 1


@pytest.mark.parametrize("kind", [INSIDE, INSIDE.split(".")[0], "x" * 200, "a type"])
def test_types_that_no_policy_can_name(services: Services, caller: Caller, settings: Settings, kind: str) -> None:
    """A type that is only reported is not kept if no policy could name it."""
    found = kept_of(services, caller, {}, header={"typ": kind, "alg": "HS256"}, report=["token_types"])
    assert found.typ == "(not kept)"
    assert kind not in Record(settings.data_dir, records.COLLECTION, "lena").read_text()


@pytest.mark.parametrize("kind", ["JWT", "application/at+jwt", "at+JWT", "application/" + "a" * 64 + "/" + "b" * 64])
def test_types(services: Services, caller: Caller, kind: str) -> None:
    """A type that a policy can name is kept."""
    header = {"typ": kind, "alg": "HS256"}
    assert kept_of(services, caller, {}, header=header, report=["token_types"]).typ == kind


@pytest.mark.parametrize("name", ["\0", "\x1b[31m", "\u2028", "\U0001f600", '"', "", "\u202e"])
def test_unusual_characters(services: Services, caller: Caller, name: str) -> None:
    """Each character that a token can have is stored and found again."""
    found = kept_of(services, caller, {name: 1, "dept": name, "iss": name}, require={"dept": "-"}, report=["require"])
    assert name in found.claims
    assert found.values == {"dept": name, "iss": name}


def guesses(secrets: Sequence[str], texts: Sequence[str]) -> Iterator[bytes]:
    """Yield fingerprints of the key and the token that anybody could compute."""
    for text in (*secrets, *texts):
        for name in ("md5", "sha1", "sha256", "sha512"):
            yield hashlib.new(name, text.encode()).digest()
            yield hashlib.new(name, b"HS256\0" + text.encode()).digest()
            for key in (b"", b"HS256", b"ERP", b"lena", b"fingerprints", b"datafor_token", *map(str.encode, secrets)):
                yield hmac.digest(key, text.encode(), name)
                yield hmac.digest(key, b"HS256\0" + text.encode(), name)


def test_no_guess_can_be_checked(services: Services, caller: Caller, settings: Settings) -> None:
    """The fingerprints of key and token are not those that somebody without the key of the service can compute."""
    caller.post("update", application(secret=STRONG_SECRET, audience="*"))
    text = token({"loginname": "lena", "exp": NOW + 3600}, STRONG_SECRET)
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200
    services.history.flush()
    stored = Record(settings.data_dir, records.COLLECTION, "lena").read_text()
    document = json.loads(stored)
    assert document["circumstances"][0]["key"]
    assert document["sign_ins"][0]["token"]
    signed, _, signature = text.rpartition(".")
    searched = [text, signed, signature, *text.split("."), STRONG_SECRET]
    for guess in guesses([STRONG_SECRET, settings.data_dir.name], [text, signed, signature, *text.split(".")]):
        searched += [
            guess.hex()[:24],
            base64.b64encode(guess).decode()[:16],
            base64.urlsafe_b64encode(guess).decode()[:16],
        ]
    assert [found for found in searched if found in stored] == []
