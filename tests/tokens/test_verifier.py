"""Strict parsing and verification of tokens, also with the Wycheproof signature vectors."""

import base64
import collections
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.applications.record import Application
from datafor_token.applications.signing import Signer
from datafor_token.crypto import algorithms, keys, vetting
from datafor_token.errors import InvalidInput, RuleError
from datafor_token.tokens import claim_checks, issuer, verifier
from tests.handmade_tokens import NOW, SHARED_HEADER, base64url, claims, part, token
from tests.support import SAMPLE_APPLICATION, application, key_for, only_key, private_pem, public_pem
from tests.validation.test_strict_json import REFUSED as REFUSED_JSON

ERP = Application.from_document(SAMPLE_APPLICATION)
INSTANT = verifier.Instant(NOW, 30)


def signer_of(read: verifier.Token, app: Application) -> Signer | None:
    """Return the key of the application that signed the token, or None."""
    return app.signer(read.signing_input, read.signature, read.kid, NOW)


def reason(text: str, app: Application = ERP) -> str | None:
    """Return why one application refuses the token, or None."""
    try:
        read = verifier.read(text)
        if read.algorithm != app.algorithm:
            return "algorithm"
        signer = signer_of(read, app)
        if signer is None:
            return "signature"
        claim_checks.check_claims(read, app, signer, INSTANT)
    except verifier.Refused as refused:
        assert refused.step.detail
        assert not refused.step.ok
        return refused.reason
    return None


GOOD = token(claims())


def test_a_good_token_is_accepted() -> None:
    """A plain token is accepted, with its user name and expiry."""
    assert reason(GOOD) is None
    read = verifier.read(GOOD)
    signer = signer_of(read, ERP)
    assert signer is not None
    verified, steps = claim_checks.check_claims(read, ERP, signer, INSTANT)
    assert (verified.username, verified.expires, verified.signer.is_previous) == ("lena", NOW + 3600, False)
    assert all(step.ok for step in steps)


HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
MALFORMED = {
    "nothing": "",
    "one part": "abc",
    "two parts": f"{HEADER}.{PAYLOAD}",
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "four parts": GOOD + ".x",
    "a space": GOOD + " ",
    "a line break": GOOD + "\n",
    "padding": GOOD + "=",
    "standard Base64": GOOD[:-1] + "+",
    "not ASCII": GOOD[:-1] + "é",
    "a NUL": GOOD + "\0",
    "too long": token({**claims(), "x": "y" * 9000}),
    "a part of a length that none has": f"{HEADER}.{PAYLOAD}.A",
    "a payload that is a list": token([claims()]),
    "a payload that is text": token("lena"),
    "a header that is a number": token(claims(), header=5),
    "a byte order mark": token(b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
    "UTF-16": token(json.dumps(claims()).encode("utf-16")),
    "a doubled claim": token(f'{{"loginname":"lena","loginname":"admin","exp":{NOW + 9}}}'),
    "a doubled alg": token(claims(), header='{"alg":"none","alg":"HS256"}'),
    "NaN": token('{"loginname":"lena","exp":NaN}'),
    "Infinity": token('{"loginname":"lena","exp":Infinity}'),
    "1e999": token('{"loginname":"lena","exp":1e999}'),
    "a huge integer": token('{"loginname":"lena","exp":' + "9" * 400 + "}"),
    **{f"payload: {name}": token(text) for name, text in REFUSED_JSON.items() if len(text) < 5000},
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_tokens(text: str) -> None:
    """A text that is not exactly one token is malformed, even if its signature fits."""
    assert reason(text) == "malformed"


HEADERS: list[dict[str, Any]] = [
    {"typ": "JWT"},
    {"typ": "JWT", "alg": None},
    {"typ": "JWT", "alg": ["HS256"]},
    {"typ": "JOSE", "alg": "HS256"},
    {"typ": 5, "alg": "HS256"},
    {"typ": None, "alg": "HS256"},
    *[{**SHARED_HEADER, name: value} for name, value in (
        ("crit", []), ("crit", ["exp"]), ("b64", False), ("b64", True), ("b64", None), ("enc", "A128GCM"),
        ("zip", "DEF"), ("cty", "JWT"),
    )],
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_refused_headers(header: dict[str, Any]) -> None:
    """A header without alg, of another type, or that changes how to read the token is refused."""
    assert reason(token(claims(), header=header)) == "header"


@pytest.mark.parametrize(
    "header",
    [{"alg": "HS256"}, {"alg": "HS256", "typ": "jwt"}, {**SHARED_HEADER, "kid": "../../etc/passwd"},
     {**SHARED_HEADER, "jku": "https://evil.example", "x5u": "x", "x5c": ["x"], "jwk": {"kty": "oct", "k": "eA"}}],
)  # fmt: skip
def test_ignored_headers(header: dict[str, Any]) -> None:
    """Headers that refer to a key are ignored: only the stored secret verifies."""
    assert reason(token(claims(), header=header)) is None
    assert reason(token(claims(), secret="x", header=header)) == "signature"


@pytest.mark.parametrize("algorithm", ["none", "None", "hs256", "HS512", "RS256", "ES256", "", "HS256 "])
def test_the_token_does_not_choose_the_algorithm(algorithm: str) -> None:
    """Only the stored algorithm is used, whatever alg the token has."""
    for digest in ("sha256", "sha512"):
        header = {"typ": "JWT", "alg": algorithm}
        assert reason(token(claims(), header=header, digest=digest)) == "algorithm"


def test_a_public_key_is_not_a_shared_secret() -> None:
    """A token signed with the public key as a shared secret is refused (confusion of RS256 and HS256)."""
    pem = public_pem(key_for("RS256"))
    rs256 = Application.from_document(application(algorithm="RS256", secret=pem))
    assert reason(token(claims(), secret=pem), rs256) == "algorithm"
    assert reason(token(claims(), secret=pem, header={"alg": "RS256"}), rs256) == "signature"


NO_TIMES: list[Any] = ["1", "", True, False, [], [1], {}, -1, 253402300800, 1e300, str(NOW + 9)]
TIMES: list[tuple[dict[str, Any], str | None]] = [
    ({"exp": NOW - 29}, None),
    ({"exp": NOW - 30}, "expired"),
    ({"exp": NOW - 29.5}, None),
    ({"exp": 0}, "expired"),
    ({"exp": None}, "no_expiry"),
    ({"exp": 253402300799}, None),
    *[({"exp": value}, "invalid_time") for value in NO_TIMES],
    ({"nbf": NOW + 30}, None),
    ({"nbf": NOW + 31}, "not_yet_valid"),
    ({"iat": NOW + 30}, None),
    ({"iat": NOW + 31}, "not_yet_valid"),
    *[({claim: value}, "invalid_time") for claim in ("nbf", "iat") for value in NO_TIMES],
]


@pytest.mark.parametrize(("change", "expected"), TIMES)
def test_times(change: dict[str, Any], expected: str | None) -> None:
    """Times are JSON numbers within the years 1970 to 9999, with one leeway for all; exp is required."""
    assert reason(token(claims(**change))) == expected


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_time_that_is_null_is_invalid(claim: str) -> None:
    """A null instead of a time is not treated as a missing claim."""
    assert reason(token({**claims(), claim: None})) == "invalid_time"


NO_NAMES: list[Any] = ["", " lena", "a:b", "x" * 129, "a\nb", 5, ["lena"], {}, True]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"loginname": None, "username": "lena"}, "no_username"),
        *[({"loginname": name}, "invalid_username") for name in NO_NAMES],
        ({"loginname": "LENA", "iss": 5, "sub": {}, "jti": [1]}, None),
    ],
)  # fmt: skip
def test_user_names(change: dict[str, Any], expected: str | None) -> None:
    """The mapped claim must hold a user name; iss without a policy and unknown claims are ignored."""
    assert reason(token(claims(**change))) == expected


def test_a_user_name_that_is_null_is_invalid() -> None:
    """A null instead of a user name is not treated as a missing claim."""
    assert reason(token({**claims(), "loginname": None})) == "invalid_username"


def test_every_alteration_of_a_good_token_is_refused() -> None:
    """A token with any one character changed, inserted or deleted is refused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n"
    tried = 0
    for place in range(len(GOOD) + 1):
        altered = {GOOD[:place] + GOOD[place + 1 :]} if place < len(GOOD) else set()
        for letter in alphabet:
            altered |= {GOOD[:place] + letter + GOOD[place:], GOOD[:place] + letter + GOOD[place + 1 :]}
        for text in altered - {GOOD}:
            assert reason(text) is not None, text
            tried += 1
    assert tried > 15_000


@given(
    text=st.text(max_size=100) | st.lists(st.binary(max_size=40).map(base64url), min_size=3, max_size=3).map(".".join)
)
def test_text_of_any_kind(text: str) -> None:
    """Any text is refused with a reason, and raises no other error."""
    assert reason(text) in ("malformed", "header", "algorithm", "signature")


@given(
    header=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(0, 9)), body=st.binary(max_size=60)
)
def test_signed_nonsense(header: dict[str, Any], body: bytes) -> None:
    """Any signed content is refused with a reason, and raises no other error."""
    assert reason(token(body, header={"alg": "HS256", **header})) is not None


def wycheproof() -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "wycheproof_jws.json").read_bytes())
    return [vector for vector in vectors if vector["cls"] == "scored"]


def accepts(vector: dict[str, Any]) -> bool:
    """Run the signature step alone, with a key that could be stored where strong secrets are required.

    Only its length is checked: these vectors do not concern keys that can be guessed.
    """
    text, algorithm = vector["token"], vector["alg"]
    if not re.fullmatch(r"[\w-]+\.[\w-]*\.[\w-]+", text, flags=re.ASCII):
        return False
    try:
        header, payload, signature = text.split(".")
        if json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] != algorithm:
            return False
        verifier._check_header(verifier.json_part("header", header))
        proof = verifier._decoded("signature", signature)
        verifier._decoded("payload", payload)
    except (verifier.Refused, ValueError):
        return False
    if vector["key_format"] == "base64url-secret":
        material = base64.urlsafe_b64decode(vector["key"] + "==")
        if len(material) < algorithms.HMAC_LENGTHS.get(algorithm, sys.maxsize):
            return False
        key = keys.Key(algorithm, material)
    else:
        try:
            vetting.check(algorithm, vector["key"])
            key = only_key(algorithm, vector["key"])
        except RuleError:
            return False
    return key.verify(f"{header}.{payload}".encode(), proof)


def test_the_vectors_of_wycheproof() -> None:
    """All 418 scored vectors are accepted or refused as expected."""
    vectors = wycheproof()
    assert len(vectors) == 418
    wrong = [
        (vector["file"], vector["tcId"], vector["expect"])
        for vector in vectors
        if accepts(vector) is not (vector["expect"] == "accept")
    ]
    assert wrong == []


def test_a_huge_token_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of more than 8,192 characters is refused before anything is decoded."""
    monkeypatch.setattr(verifier, "_decoded", lambda *_: pytest.fail("was decoded"))
    assert reason("A" * 1_000_000 + "." + "B" * 40_000 + ".C") == "malformed"


def test_ten_thousand_legal_combinations() -> None:
    """Issued tokens are accepted, with any field map, payload, policy, lifetime and algorithm, by clocks 25 s off."""
    chance = random.Random(7)  # noqa: S311 - repeatable, not secret
    words = ["loginname", "名", "a b", "é", "x" * 128, "sub", "aud", "iss", "jti", "https://x/y", '"', "\\", "0"]
    values: list[Any] = ["", "x", 5, -1.5, True, [], ["a", {"b": [1]}], {"a": None}, "\ud83d\ude00", "\u2028"]
    secrets = {
        algorithm: "abcd" if algorithms.is_shared(algorithm) else public_pem(key_for(algorithm))
        for algorithm in algorithms.ALGORITHMS
    }
    private = {
        name: None if algorithms.is_shared(name) else private_pem(key_for(name)) for name in ("RS256", "ES256", "EdDSA")
    }
    refusals: collections.Counter[str] = collections.Counter()
    for number in range(10_000):
        algorithm = chance.choice(["HS256", "HS384", "HS512"] * 10 + list(private)) if number % 10 else "HS256"
        username, name, email = chance.choices([*words, "/sub/name"], k=3)
        fieldmap = {"username": username, "name": name, "email": email}
        lifetime = chance.choice([1, 60, 86400, 315360000])
        body = application(
            algorithm=algorithm, secret=secrets.get(algorithm, "abcd"), fieldmap=fieldmap, expire=lifetime
        )
        # Some old field maps use names that new ones may not.
        app = Application.from_document({**body, **some_policy(chance)}, audience_since=1)
        payload = {key: chance.choice(values) for key in chance.sample(["name", "email", *words], 3)}
        try:
            made = issuer.claims_for(app.fieldmap, chance.choice(["lena", "名前", "a b", "x" * 128]), payload)
        except InvalidInput:
            made = issuer.claims_for(app.fieldmap, "lena", {})
        try:
            issued = issuer.issue(app, private.get(algorithm), made, NOW)
        except InvalidInput as error:
            refusals.update([*error.errors])
            continue
        token_read = verifier.read(issued.token)
        signer = signer_of(token_read, app)
        assert signer is not None
        instant = verifier.Instant(NOW + chance.choice([-25, 0, 25]), 30)
        verified, _ = claim_checks.check_claims(token_read, app, signer, instant)
        assert verified.username == made[username]
    # Few are refused: by a rule for a claim that the payload happens to lack, or for a type that is never issued.
    assert refusals.keys() <= {"require", "token_types", "audience", "issuer", "max_lifetime"}
    assert refusals.total() < 6_000


def some_policy(chance: random.Random) -> dict[str, Any]:
    """Return a trust policy of some fields, each valid."""
    fields: dict[str, list[Any]] = {
        "audience": ["portal", ["portal", "*"], ["*"], []],
        "issuer": ["https://id.example.com"],
        "require": [
            {"sub": ["x", 5]},
            {"/sub/name": "x", "loginname": ["lena", "a b"]},
            {"iss": "https://id.example.com"},
        ],
        "token_types": [["JWT"], "application/jwt", ["at+jwt"], ["at+jwt", "jwt"]],
        "max_lifetime": [315360000],
        "networks": [["10.0.0.0/8"]],
        "users": ["own", "any"],
        "sync": [["name"]],
    }
    chosen = [name for name in fields if chance.random() < 0.2]
    return {name: chance.choice(fields[name]) for name in chosen}


def test_issued_tokens_are_accepted() -> None:
    """Issued tokens are accepted, with every algorithm."""
    for algorithm in algorithms.ALGORITHMS:
        shared = algorithms.is_shared(algorithm)
        secret = "abcd" if shared else public_pem(key_for(algorithm))
        app = Application.from_document(application(algorithm=algorithm, secret=secret))
        private = None if shared else private_pem(key_for(algorithm))
        issued = issuer.issue(app, private, issuer.claims_for(app.fieldmap, "lena", {}), time.time())
        made = verifier.read(issued.token)
        signer = signer_of(made, app)
        assert signer is not None
        assert signer.name == secret
        assert part(dict(made.claims)) == issued.token.split(".")[1]
