"""Parsing of secrets and private keys."""

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.crypto import algorithms, keys
from datafor_token.errors import RuleError
from tests.support import key_for, need, only_key, private_pem, public_base64, public_pem

ASYMMETRIC = [name for name in algorithms.ALGORITHMS if not algorithms.is_shared(name)]


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
@pytest.mark.parametrize("form", [public_pem, public_base64])
def test_both_forms_of_a_public_key(algorithm: str, form: Callable[[Any], str]) -> None:
    """PEM and the bare Base64 of DER give the same key, which verifies what its private key signs."""
    key = key_for(algorithm)
    public = only_key(algorithm, form(key))
    found = keys.signing_key(algorithm, [only_key(algorithm, form(key))], private_pem(key))
    assert found is not None
    signer, _ = found
    assert signer.kid == public.kid
    assert public.kid
    assert public.verify(b"message", signer.sign(b"message"))
    assert not public.verify(b"other", signer.sign(b"message"))


def test_base64_may_be_wrapped() -> None:
    """The Base64 of DER may have line breaks, as openssl writes it."""
    text = public_base64(key_for("RS256"))
    assert only_key("RS256", "\n".join([text[:64], text[64:]])).kid


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_foreign_private_key_is_refused(algorithm: str) -> None:
    """A private key that does not belong to the stored public key signs nothing."""
    assert (
        keys.signing_key(
            algorithm,
            [only_key(algorithm, public_pem(key_for(algorithm)))],
            private_pem(key_for(algorithm, "-other")),
        )
        is None
    )


def test_a_private_key_of_another_type_is_refused() -> None:
    """A private key of another type does not belong to the stored key either."""
    assert (
        keys.signing_key("RS256", [only_key("RS256", public_pem(key_for("RS256")))], private_pem(key_for("ES256")))
        is None
    )


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_shared_keys(algorithm: str) -> None:
    """Every text is a shared key, byte for byte, and differs from every other text."""
    for secret in ("abcd", " abcd ", "ä", "\0", '{"kty":"oct"}', "ssh-rsa AAAA"):
        found = keys.signing_key(algorithm, [only_key(algorithm, secret)], secret)
        assert found is not None
        key, _ = found
        assert key.kid is None
        assert only_key(algorithm, secret).verify(b"m", key.sign(b"m"))
        assert keys.signing_key(algorithm, [only_key(algorithm, secret)], secret + "x") is None
        assert keys.signing_key(algorithm, [only_key(algorithm, secret)], None) is not None


def openssl(tmp_path: Path, *arguments: str) -> str:
    need("openssl")
    return subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("algorithm", "secret", "says"),
    [
        ("HS256", "", "empty"),
        ("RS256", lambda: public_pem(key_for("ES256")), "RSA"),
        ("PS256", lambda: public_pem(key_for("EdDSA")), "RSA"),
        ("ES256", lambda: public_pem(key_for("ES384")), "secp256r1"),
        ("ES512", lambda: public_base64(key_for("ES256")), "secp521r1"),
        ("ES256", lambda: public_pem(ec.generate_private_key(ec.SECP256K1())), "secp256r1"),
        ("EdDSA", lambda: public_pem(ed448.Ed448PrivateKey.generate()), "Ed25519"),
        ("EdDSA", lambda: public_pem(key_for("RS256")), "Ed25519"),
        ("RS256", lambda: private_pem(key_for("RS256")), "private"),
        ("RS256", lambda: private_pem(key_for("RS256"), b"pw"), "encrypted"),
        ("RS256", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "certificate"),
        ("RS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a readable"),
        ("RS256", "abcd", "not a readable"),
        ("RS256", "no base64!", "Base64"),
        ("RS256", lambda: public_base64(key_for("RS256")).replace("+", " ", 1).replace("/", " ", 1), "%2B"),
        ("RS256", "A" * 20_000, "16384"),
    ],
)
def test_keys_that_do_not_fit_the_algorithm(algorithm: str, secret: str | Callable[[], str], says: str) -> None:
    """A text that is not a public key of the right type, curve and size is refused, and named."""
    with pytest.raises(RuleError, match=says):
        only_key(algorithm, secret if isinstance(secret, str) else secret())


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_private_key_in_der_is_never_stored(encrypted: bool) -> None:
    """The Base64 of a private key, encrypted or not, is refused and named."""
    protection = serialization.BestAvailableEncryption(b"pw") if encrypted else serialization.NoEncryption()
    der = key_for("ES256").private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, protection)
    with pytest.raises(RuleError, match="encrypted private" if encrypted else "private"):
        only_key("ES256", base64.b64encode(der).decode())


def hidden(text: str) -> str:
    """Return PEM texts of a private key that a careless search overlooks."""
    return text.replace("-----", "----")


@pytest.mark.parametrize(
    "around",
    [
        lambda public, private: public + "".join(private.splitlines()[1:-1]),
        lambda public, private: "".join(private.splitlines()[1:-1]) + "\n" + public,
        lambda public, private: public + hidden(private),
        lambda public, private: public + private.replace("PRIVATE", "private"),
        lambda public, _: public + public,
        lambda public, _: public + "hello",
        lambda public, _: public + "\0",
        lambda public, _: public.replace("BEGIN PUBLIC", "BEGIN RSA PUBLIC"),
    ],
)
def test_a_public_key_stands_alone(around: Callable[[str, str], str]) -> None:
    """A text with more in it than one public key is refused: a private key could be stored with it."""
    key = key_for("RS256")
    with pytest.raises(RuleError):
        only_key("RS256", around(public_pem(key), private_pem(key)))


def test_a_pss_key_signs_pss_only(tmp_path: Path) -> None:
    """A key that is declared for RSASSA-PSS is refused for RS*, since other libraries would not accept the tokens."""
    (tmp_path / "key.pem").write_text(
        openssl(tmp_path, "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")
    )
    public = openssl(tmp_path, "pkey", "-in", "key.pem", "-pubout")
    for secret in (public, "".join(public.splitlines()[1:-1])):
        assert only_key("PS256", secret)
        with pytest.raises(RuleError, match="RSASSA-PSS"):
            only_key("RS256", secret)


def test_a_certificate_is_refused_in_both_forms(tmp_path: Path) -> None:
    """A certificate is not accepted as a key."""
    openssl(
        tmp_path, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=x",
    )  # fmt: skip
    pem = (tmp_path / "cert.pem").read_text()
    bare = "".join(pem.splitlines()[1:-1])
    for secret in (pem, bare):
        with pytest.raises(RuleError, match="certificate"):
            only_key("ES256", secret)


@pytest.mark.parametrize(
    ("algorithm", "command"),
    [
        ("RS256", ["genrsa", "-traditional", "2048"]),
        ("ES256", ["ecparam", "-name", "prime256v1", "-genkey"]),
        ("EdDSA", ["genpkey", "-algorithm", "ed25519"]),
    ],
)
def test_keys_as_openssl_writes_them(tmp_path: Path, algorithm: str, command: list[str]) -> None:
    """The files of common openssl commands are accepted unchanged."""
    private = openssl(tmp_path, *command)
    (tmp_path / "key.pem").write_text(private)
    public = openssl(tmp_path, "pkey", "-in", "key.pem", "-pubout")
    assert keys.signing_key(algorithm, [only_key(algorithm, public)], private) is not None


@pytest.mark.parametrize(
    ("private", "says"),
    [
        (None, "missing"),
        ("abcd", "in PEM"),
        (lambda: private_pem(key_for("RS256"), b"pw"), "unencrypted"),
        (lambda: public_pem(key_for("RS256")), "this is something else"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "not a readable"),
        ("-----BEGIN PRIVATE KEY-----" + "A" * 20_000, "in PEM"),
    ],
)
def test_texts_that_are_not_private_keys(private: str | Callable[[], str] | None, says: str) -> None:
    """A text that is not an unencrypted private key in PEM is refused, and named."""
    text = private if isinstance(private, str) or private is None else private()
    with pytest.raises(RuleError, match=says):
        keys.signing_key("RS256", [only_key("RS256", public_pem(key_for("RS256")))], text)


@given(algorithm=st.sampled_from(algorithms.ALGORITHMS), text=st.text() | st.binary().map(lambda data: data.hex()))
def test_any_text_is_a_key_or_a_rule_error(algorithm: str, text: str) -> None:
    """Every text is a key or raises RuleError."""
    for private in (None, text):
        try:
            keys.signing_key(algorithm, [only_key(algorithm, text)], private)
        except RuleError as error:
            assert str(error)


def test_the_thumbprint_of_rfc_7638() -> None:
    """The kid is the thumbprint of RFC 7638, as in its own example."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr"
        "n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    number = int.from_bytes(base64.urlsafe_b64decode(modulus + "=="), "big")
    public = rsa.RSAPublicNumbers(65537, number).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    assert only_key("RS256", pem).kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_no_repr_contains_a_key() -> None:
    """No repr contains a key, shared or private."""
    assert "abcd" not in repr(only_key("HS256", "abcd-marked"))
