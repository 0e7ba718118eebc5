"""Public keys as JWK and JWK Set: which are read, which are ignored, and which are refused with a reason."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.crypto import jwk, keys, vetting
from datafor_token.crypto.algorithms import ALGORITHMS, is_shared
from datafor_token.errors import RuleError
from tests.crypto.test_key_vetting import factor_of, roca_factor, without_small_factors
from tests.support import key_for, only_key, private_pem, public_base64, public_pem
from tests.validation.test_strict_json import JSON_VALUES

ASYMMETRIC = [name for name in ALGORITHMS if not is_shared(name)]
# RFC 7517 appendix A.1.
EC_FOR_ENCRYPTION = {
    "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1",
}  # fmt: skip
RFC_7517_RSA = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV"
    "4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7"
    "d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF4"
    "4-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
}  # fmt: skip
RFC_7517_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # RFC 7638 section 3.1
RFC_8037 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}  # appendix A.2
# RFC 7515 appendix A.3.
RFC_7515_EC = {
    "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}  # fmt: skip


def jwk_of(algorithm: str, other: str = "", /, **members: Any) -> dict[str, Any]:
    """Return the JWK of a test's key, with other or further members; one that is None is left out."""
    public = dict(keys.as_jwk(only_key(algorithm, public_pem(key_for(algorithm, other)))))
    return {name: value for name, value in {**public, **members}.items() if value is not None}


def set_of(*members: object) -> str:
    return json.dumps({"keys": members})


def fault(algorithm: str, secret: str | Mapping[str, object]) -> str:
    """Return why a new secret is refused."""
    with pytest.raises(RuleError) as caught:
        vetting.check(algorithm, secret if isinstance(secret, str) else json.dumps(secret))
    assert len(str(caught.value)) < 250
    return str(caught.value)


def encoded(number: int, size: int | None = None) -> str:
    data = number.to_bytes(size or max(1, (number.bit_length() + 7) // 8), "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signer(source: keys.KeySource, kid: str | None, private: Any, algorithm: str) -> keys.Key | None:
    found = keys.Key(algorithm, private).sign(b"message")
    return source.signer(b"message", found, kid)


# --- what is read ---


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_every_form_is_the_same_key(algorithm: str) -> None:
    """PEM, Base64 of DER, a JWK and a set of one are the same key, whose private key signs."""
    pem, member = public_pem(key_for(algorithm)), jwk_of(algorithm)
    bare = {name: member[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in member}
    for form in (public_base64(key_for(algorithm)), json.dumps(member), json.dumps(bare, indent=2), set_of(member)):
        vetting.check(algorithm, form)
        assert keys.is_same(algorithm, form, pem)
        assert not keys.is_same(algorithm, form, public_pem(key_for(algorithm, "-other")))
        found = keys.signing_key(
            algorithm, keys.verification_key(algorithm, form).all(), private_pem(key_for(algorithm))
        )
        assert found is not None
        assert found[0].kid == only_key(algorithm, pem).kid
        assert signer(keys.verification_key(algorithm, form), None, key_for(algorithm), algorithm)


def test_a_parsed_secret_is_cached() -> None:
    """A secret is parsed once."""
    text = set_of(jwk_of("RS256"))
    assert keys.verification_key("RS256", text) is keys.verification_key("RS256", text)


def test_the_set_of_rfc_7517() -> None:
    """From the set of RFC 7517 appendix A.1, the key for signatures is read, and the one for encryption ignored."""
    text = set_of(EC_FOR_ENCRYPTION, RFC_7517_RSA)
    vetting.check("RS256", text)
    assert only_key("RS256", text).kid == RFC_7517_THUMBPRINT
    assert fault("ES256", text) == "has no key for ES256, but kty=EC crv=P-256 use=enc, kty=RSA alg=RS256"


def test_the_key_and_signature_of_rfc_8037() -> None:
    """The Ed25519 key of RFC 8037 has the thumbprint of appendix A.3, and verifies the token of A.4."""
    vetting.check("EdDSA", json.dumps(RFC_8037))
    key = only_key("EdDSA", json.dumps(RFC_8037))
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    assert key.verify(message, base64.urlsafe_b64decode(signature + "=="))


def test_the_key_and_signature_of_rfc_7515() -> None:
    """The P-256 key of RFC 7515 appendix A.3 verifies the token there."""
    vetting.check("ES256", json.dumps(RFC_7515_EC))
    signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    message = (
        b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
        b"cnVlfQ"
    )
    assert only_key("ES256", json.dumps(RFC_7515_EC)).verify(message, base64.urlsafe_b64decode(signature + "=="))


@pytest.mark.parametrize(
    "ignored",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"kty": "EC"},
        {"kty": "DSA"},
        {"kty": None},
        {"kty": ["RSA"]},
        {"alg": "RS512"},
        {"alg": "RSA-OAEP"},
        {"alg": 1},
        {"use": "enc", "n": "!", "kid": 1},
    ],
    ids=str,
)
def test_keys_of_a_set_for_something_else(ignored: dict[str, Any]) -> None:
    """Keys of a set with another type, use or algorithm are ignored, whatever else they have; alone they are errors."""
    other = jwk_of("RS256", "-other", **ignored)
    vetting.check("RS256", set_of(other, jwk_of("RS256")))
    assert only_key("RS256", set_of(other, jwk_of("RS256"))).kid == jwk_of("RS256")["kid"]
    assert "must be a JWK" in fault("RS256", other)
    assert "has no key for RS256, but " in fault("RS256", set_of(other))


def test_a_curve_belongs_to_one_algorithm() -> None:
    """Of a set with all curves, the key on the curve of the algorithm is read."""
    everything = [jwk_of(algorithm, use=None, alg=None) for algorithm in ("ES256", "ES384", "ES512", "EdDSA", "RS256")]
    for algorithm in ("ES256", "ES384", "ES512", "EdDSA", "PS512"):
        kid = only_key(algorithm, public_pem(key_for(algorithm))).kid
        assert only_key(algorithm, set_of(*everything)).kid == kid
    assert fault("ES256", everything[1]) == "must be a JWK with the crv P-256 for ES256, not P-384"
    assert fault("EdDSA", {**RFC_8037, "crv": "Ed448"}) == "must be a JWK with the crv Ed25519 for EdDSA, not Ed448"


@pytest.mark.parametrize(
    "members",
    [
        {"use": None, "alg": None, "kid": None},
        {"key_ops": ["verify"]},
        {"key_ops": ["verify", "encrypt"]},
        {"x5c": ["MIIB"], "x5t": "abcd", "x5t#S256": "abcd", "x5u": "https://issuer.example/cert"},
        {"ext": True, "exp": 1, "iat": "x", "custom": {"nested": [1, None]}},
        {"kid": ""},
        {"kid": "k" * 256},
    ],
    ids=str,
)
def test_members_beside_the_key(members: dict[str, Any]) -> None:
    """Certificates and unknown members are ignored, and use, alg, key_ops and kid may be left out."""
    for text in (json.dumps(jwk_of("ES256", **members)), set_of(jwk_of("ES256", **members))):
        vetting.check("ES256", text)
        assert only_key("ES256", text).kid == jwk_of("ES256")["kid"]


def test_a_member_that_is_null_is_left_out() -> None:
    """A member that is null counts as left out, as some libraries write private members of public keys."""
    text = json.dumps(
        {**jwk_of("RS256"), "d": None, "use": None, "alg": None, "key_ops": None, "kid": None, "x5c": None}
    )
    vetting.check("RS256", text)
    vetting.check("RS256", set_of(json.loads(text)))


def test_the_algorithm_may_be_named_after_the_curve() -> None:
    """A key for EdDSA may have the alg Ed25519 of RFC 9864."""
    vetting.check("EdDSA", json.dumps({**RFC_8037, "alg": "Ed25519"}))
    assert "alg EdDSA" in fault("EdDSA", {**RFC_8037, "alg": "Ed448"})


# --- choice by kid ---


def test_the_kid_of_a_token_chooses() -> None:
    """The kid of a JWK or its thumbprint chooses the key, and only that one is tried; without a kid, each is."""
    first, second = jwk_of("RS256", kid="a"), jwk_of("RS256", "-other", kid="b")
    source = keys.verification_key("RS256", set_of(first, second))
    thumbprint = jwk_of("RS256", "-other")["kid"]
    for kid in ("b", thumbprint, None):
        found = signer(source, kid, key_for("RS256", "-other"), "RS256")
        assert found is not None
        assert found.kid == thumbprint
    assert signer(source, "a", key_for("RS256", "-other"), "RS256") is None


def test_an_unknown_kid() -> None:
    """For an unknown kid, each key of the set is tried."""
    named, unnamed = jwk_of("RS256", kid="a"), jwk_of("RS256", "-other", kid=None)
    source = keys.verification_key("RS256", set_of(named, unnamed))
    assert signer(source, "unknown", key_for("RS256", "-other"), "RS256") is not None
    assert signer(source, "unknown", key_for("RS256"), "RS256") is not None


def test_a_single_jwk_needs_no_kid() -> None:
    """The kid of a token does not matter where the secret is one JWK."""
    source = keys.verification_key("RS256", json.dumps(jwk_of("RS256", kid="a")))
    assert signer(source, "b", key_for("RS256"), "RS256") is not None


def test_a_kid_that_several_keys_have() -> None:
    """Keys with the same kid are each tried, also if it is the thumbprint of another key."""
    thumbprint = jwk_of("RS256")["kid"]
    for kid in ("same", thumbprint):
        text = set_of(jwk_of("RS256", kid=kid), jwk_of("RS256", "-other", kid=kid))
        vetting.check("RS256", text)
        for other in ("", "-other"):
            found = signer(keys.verification_key("RS256", text), kid, key_for("RS256", other), "RS256")
            assert found is not None
            assert found.kid == jwk_of("RS256", other)["kid"]


def test_sets_with_the_same_keys_are_the_same() -> None:
    """Two sets are the same secret if they have the same keys, in any order and under any kid."""
    first, second = jwk_of("RS256"), jwk_of("RS256", "-other")
    assert keys.is_same("RS256", set_of(first, second), set_of({**second, "kid": "x"}, first, first))
    assert not keys.is_same("RS256", set_of(first, second), set_of(first))
    assert not keys.is_same("RS256", set_of(first), "{}")


# --- what is refused ---


@pytest.mark.parametrize(
    "private",
    [
        {"d": "AQAB"},
        {"p": "AQAB"},
        {"qi": ""},
        {"oth": []},
        {"k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"},
        {"priv": "AQAB"},
        {"custom": {"d": "AQAB"}},
        {"custom": [[{"kty": "oct"}]]},
        {"custom": "-----BEGIN PRIVATE KEY-----"},
    ],
    ids=str,
)
def test_private_keys_are_refused(private: dict[str, Any]) -> None:
    """A private or shared key is refused anywhere in the text, also in a key that would be ignored."""
    public = jwk_of("RS256")
    for text in (
        json.dumps({**public, **private}),
        set_of(public, {**public, **private}),
        set_of(public, {**public, "use": "enc", **private}),
        json.dumps({"keys": [public], **private}),
        json.dumps(private),
    ):
        assert "public keys only: there is a private or shared one" in fault("RS256", text)


def test_a_shared_key_in_a_set() -> None:
    """The set of RFC 7517 appendix A.3, which has shared keys, is refused."""
    assert "public keys only" in fault("RS256", set_of({"kty": "oct", "alg": "A128KW", "k": "GawgguFyGrWKav7AX4VKUg"}))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_no_shared_secret_is_a_jwk_set(algorithm: str) -> None:
    """A JWK Set is no shared secret, public or not."""
    assert "JWK" in fault(algorithm, set_of(jwk_of("RS256"), jwk_of("ES256")))
    assert "JWK" in fault(algorithm, set_of({"kty": "oct", "k": "GawgguFyGrWKav7AX4VKUg"}))


def test_how_many_keys_a_set_has() -> None:
    """A set has 1 to 32 keys, and 32 RSA keys of 8192 bits fit, also written in lines."""
    vetting.check("ES256", set_of(*[jwk_of("ES256")] * 32))
    assert "1 to 32 keys" in fault("ES256", set_of(*[jwk_of("ES256")] * 33))
    for wrong in ("[]", "{}", '"x"', "null", "1"):
        assert "1 to 32 keys" in fault("ES256", f'{{"keys": {wrong}}}')
    largest = [{**jwk_of("RS256", kid=str(number)), "n": encoded((1 << 8191) + 2 * number + 1)} for number in range(32)]
    assert len(keys.verification_key("RS256", json.dumps({"keys": largest}, indent=2)).all()) == 32
    assert "65536" in fault("ES256", json.dumps({**jwk_of("ES256"), "custom": "x" * 65_536}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("{}", "has the member kty"),
        ('{"kty": "EC", "kty": "RSA"}', "given twice"),
        ('{"keys": [{"kid": "a", "kid": "b"}]}', "given twice"),
        ('{"keys": [{"kty": NaN}]}', "NaN"),
        ('{"keys": ' + "[" * 40 + "]" * 40 + "}", "deeper"),
        ('{"keys": ' + "[" * 20_000 + "]" * 20_000 + "}", "deeper"),
        ('{"x": ' * 10_000, "deeper"),
        ('{"kty": 1' + "0" * 5_000 + "}", "64 bits"),
        ('{"kty": "\\ud800"}', "surrogate"),
        ('{"kty": "RSA"} x', "not valid JSON"),
        ('{"keys": [1]}', "key 1 must be an object"),
        ("[]", "must be a public key, as PEM"),
        ('"x"', "must be a public key, as PEM"),
        ('{"access_token": "x"}', "has the member kty"),
    ],
)
def test_texts_that_are_no_jwk(text: str, says: str) -> None:
    """JSON that can be read in two ways, and JSON that is something else, is refused with the reason."""
    assert says in fault("RS256", text)


# The algorithm, the changed members of a good key, and a part of the message.
WRONG: Mapping[str, tuple[str, dict[str, object], str]] = {
    "no n": ("RS256", {"n": None}, "member n in base64url"),
    "empty n": ("RS256", {"n": ""}, "member n in base64url"),
    "n of another type": ("RS256", {"n": 65537}, "member n in base64url"),
    "n with padding": ("RS256", {"n": RFC_7517_RSA["n"] + "=="}, "without padding"),
    "n in the alphabet of Base64": ("RS256", {"n": "+/" + RFC_7517_RSA["n"]}, "member n in base64url"),
    "n with a line break": ("RS256", {"n": RFC_7517_RSA["n"] + "\n"}, "member n in base64url"),
    "n in digits of another script": ("RS256", {"n": "\u0661" * 342}, "member n in base64url"),
    "n of a length that Base64 cannot have": ("RS256", {"n": "A" * 341}, "member n in base64url"),
    "n of zero": ("RS256", {"n": "AA"}, "1024 to 16384 bits"),
    "huge n": ("RS256", {"n": "_" * 40_000}, "1024 to 16384 bits"),
    "even e": ("RS256", {"e": encoded(65536)}, "an RSA key"),
    "e of one": ("RS256", {"e": encoded(1)}, "an RSA key"),
    "e of three": ("RS256", {"e": encoded(3)}, "65537"),
    "huge e": ("RS256", {"e": "_" * 40_000}, "an RSA key"),
    "tiny n": ("PS512", {"n": encoded(1 << 1022 | 1)}, "1024 to 16384 bits"),
    "small n": ("RS256", {"n": encoded(1 << 1023 | 1)}, "2048 to 8192 bits"),
    "large n": ("PS256", {"n": encoded(1 << 9000 | 1)}, "2048 to 8192 bits"),
    "n with a small factor": ("PS256", {"n": encoded((1 << 2048) - 1)}, "small factor"),
    "no y": ("ES256", {"y": None}, "member y in base64url"),
    "short x": ("ES256", {"x": encoded(1, 31)}, "member x with 32 bytes"),
    "long x": ("ES384", {"x": encoded(1, 49)}, "member x with 48 bytes"),
    "long y": ("ES512", {"y": encoded(1, 67)}, "member y with 66 bytes"),
    "zero point": ("ES256", {"x": encoded(0, 32), "y": encoded(0, 32)}, "point of the curve P-256"),
    "point off the curve": ("ES256", {"y": RFC_7515_EC["y"]}, "point of the curve P-256"),
    "x over the field": ("ES256", {"x": encoded((1 << 256) - 1)}, "point of the curve P-256"),
    "short Ed25519 key": ("EdDSA", {"x": encoded(9, 31)}, "member x with 32 bytes"),
    "Ed25519 key of small order": ("EdDSA", {"x": encoded(0, 32)}, "small order"),
    "Ed25519 key off the curve": ("EdDSA", {"x": encoded(2 << 248)}, "point"),
    "kid of another type": ("RS256", {"kid": 1}, "kid that is a text of at most 256"),
    "long kid": ("ES256", {"kid": "k" * 257}, "kid that is a text of at most 256"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_numbers(wrong: str) -> None:
    """A key with wrong numbers is refused with the reason, and in a set with its place in it."""
    algorithm, members, says = WRONG[wrong]
    member = jwk_of(algorithm, **members)
    assert says in fault(algorithm, member)
    found = fault(algorithm, set_of(EC_FOR_ENCRYPTION, jwk_of(algorithm), member))
    assert found.startswith("has a key that is not accepted: key 3 must ") or "key 3 is not" in found
    assert says in found


def test_keys_that_are_known_to_be_broken() -> None:
    """RSA keys of the kind ROCA and with close primes are refused in a set too."""
    factor = factor_of(1024)
    roca, close = roca_factor(1024) * roca_factor(1024), factor * without_small_factors(factor + 2)
    for modulus, says in ((roca, "ROCA"), (close, "close together")):
        assert says in fault("RS256", jwk_of("RS256", n=encoded(modulus)))
        assert "key 2 must not be" in fault("RS256", set_of(jwk_of("RS256"), jwk_of("RS256", n=encoded(modulus))))


def test_leading_zero_bytes_change_nothing() -> None:
    """A modulus with leading zero bytes, as some libraries write it, is the same key (RFC 7518 section 6.3.1.1)."""
    modulus = key_for("RS256").public_key().public_numbers().n
    text = json.dumps(jwk_of("RS256", n=encoded(modulus, 260), e=encoded(65537, 4)))
    vetting.check("RS256", text)
    assert keys.is_same("RS256", text, public_pem(key_for("RS256")))


def test_the_first_byte_of_a_coordinate_may_be_zero() -> None:
    """A coordinate that begins with a zero byte is read at its full length only (RFC 7518 section 6.2.1.2)."""
    numbers = next(
        numbers
        for scalar in range(1, 10_000)
        if (numbers := ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()).x >> 248 == 0
    )
    member = {"kty": "EC", "crv": "P-256", "x": encoded(numbers.x, 32), "y": encoded(numbers.y, 32)}
    vetting.check("ES256", json.dumps(member))
    assert "32 bytes" in fault("ES256", {**member, "x": encoded(numbers.x)})


def test_a_stored_key_is_read_and_not_vetted() -> None:
    """A stored JWK or set that vetting would refuse still verifies."""
    weak = rsa.generate_private_key(65537, 1024)
    member = {"kty": "RSA", "n": encoded(weak.public_key().public_numbers().n), "e": "AQAB"}
    for text in (json.dumps(member), set_of(member)):
        assert signer(keys.verification_key("RS256", text), None, weak, "RS256") is not None
        assert "2048" in fault("RS256", text)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "PS512"])
def test_every_modulus_that_is_read_verifies(algorithm: str) -> None:
    """With the smallest and the largest modulus that is read, even an even one, no signature raises an error."""
    for bits in (1024, 1025, 16_383, 16_384):
        for modulus in (1 << (bits - 1) | 1, 1 << (bits - 1) | 6):
            key = only_key(algorithm, json.dumps({"kty": "RSA", "n": encoded(modulus), "e": "AQAB"}))
            for signature in (bytes(bits // 8), b"\xff" * (bits // 8), b"\x01" * (bits // 8), b"short"):
                assert not key.verify(b"message", signature)


def test_no_message_repeats_a_value() -> None:
    """No message repeats a value of the text, not even of members that are not secret."""
    mark = "MARKEDvalue"
    for member in ("kty", "crv", "use", "alg", "kid", "n", "e", "x", "y", "key_ops", mark):
        for algorithm in ("RS256", "ES256", "EdDSA"):
            for value in (mark, [mark], {mark: mark}, mark * 30):
                text = jwk_of(algorithm, **{member: value})
                for secret in (json.dumps(text), set_of(text), json.dumps({mark: text}), json.dumps(text) + mark):
                    said = vetting.fault(algorithm, secret)
                    assert mark not in str(said)


def test_a_certificate_says_how_to_get_its_key() -> None:
    """The error about a certificate shows the command that prints its key."""
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert "openssl x509 -pubkey -noout -in cert.pem" in fault("RS256", pem)


# --- fetched sets ---


def test_usable_keys_of_a_fetched_set() -> None:
    """Keys of a fetched set that are for something else or cannot be read are left out; the others are not vetted."""
    weak = jwk_of("RS256", n=encoded(1 << 1023 | 1), kid="weak")
    members = [
        1,
        None,
        EC_FOR_ENCRYPTION,
        jwk_of("RS256", n="!"),
        jwk_of("RS256", kid=7),
        weak,
        jwk_of("RS256", kid="a"),
    ]
    found = keys.usable_keys("RS256", members)
    assert [kid for _, kid in found] == ["weak", "a"]
    assert [vetting.key_fault(key) is None for key, _ in found] == [False, True]
    assert keys.usable_keys("RS256", [jwk_of("RS256", kid=None)])[0][1] is None


# --- any input ---

MEMBERS = st.sampled_from(["kty", "crv", "use", "alg", "kid", "n", "e", "x", "y", "key_ops", "d", "keys", "x5c"])
TEXTS = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "P-256", "P-521", "Ed25519", "sig", "enc", "verify", "AQAB", "AA", "", "_" * 43, "="]
)


@given(
    algorithm=st.sampled_from(ASYMMETRIC),
    changes=st.dictionaries(MEMBERS, TEXTS | JSON_VALUES | st.binary().map(lambda data: data.hex()), max_size=4),
    outside=st.dictionaries(MEMBERS, TEXTS | JSON_VALUES, max_size=2),
    others=st.lists(JSON_VALUES, max_size=3),
)
def test_any_json_is_a_key_or_a_rule_error(
    algorithm: str, changes: dict[str, Any], outside: dict[str, Any], others: list[Any]
) -> None:
    """Every JSON value is a key, which verifies without an error, or raises RuleError."""
    member = {**jwk_of(algorithm), **changes}
    for text in (json.dumps(member), json.dumps({"keys": [*others, member], **outside}), json.dumps(others)):
        try:
            vetting.fault(algorithm, text)
            source = keys.verification_key(algorithm, text)
        except RuleError as error:
            assert str(error)
        else:
            for signature in (b"", bytes(64), bytes(256)):
                source.signer(b"message", signature, "kid")
    keys.usable_keys(algorithm, [*others, member])


@given(st.sampled_from(ASYMMETRIC), st.text().map(lambda text: "{" + text))
def test_any_text_is_a_key_or_a_rule_error(algorithm: str, text: str) -> None:
    """Every text that begins like a JWK raises RuleError, unless it is a key."""
    assert jwk.is_jwk(text)
    assert vetting.fault(algorithm, text)
