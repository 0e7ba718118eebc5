"""Vetting of new keys: public and broken keys are refused with a message that names the reason."""

import base64
import datetime as dt
import functools
import json
import math
import re
import secrets
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.crypto import algorithms, key_material, keys, vetting
from datafor_token.crypto import pem as key_text
from datafor_token.errors import RuleError
from tests.support import key_for, need, only_key, private_pem, public_base64, public_pem

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI, PKCS1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1
PKCS8, OLD = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
OPENSSH = serialization.PrivateFormat.OpenSSH
PLAIN, LOCKED = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"pw")
KINDS = ("RS256", "ES256", "ES384", "ES512", "EdDSA")


@functools.cache
def certificate(kind: str) -> x509.Certificate:
    key = key_for(kind)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer.example")])
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 77, begin, begin.replace(year=2030))
    return builder.sign(key, None if kind == "EdDSA" else hashes.SHA256())


@functools.cache
def structures(kind: str) -> list[tuple[str, bytes, bytes | None]]:
    return list(_structures(kind))


def _structures(kind: str) -> Iterator[tuple[str, bytes, bytes | None]]:
    """A form of a key: its description, its DER, and its text if it has one of its own."""
    key, public = key_for(kind), key_for(kind).public_key()
    yield "public", public.public_bytes(DER, SPKI), public.public_bytes(PEM, SPKI)
    yield "private", key.private_bytes(DER, PKCS8, PLAIN), key.private_bytes(PEM, PKCS8, PLAIN)
    yield "private", key.private_bytes(DER, PKCS8, LOCKED), key.private_bytes(PEM, PKCS8, LOCKED)
    one = certificate(kind)
    yield "certificate", one.public_bytes(DER), one.public_bytes(PEM)
    yield "certificate", pkcs7.serialize_certificates([one], DER), pkcs7.serialize_certificates([one], PEM)
    if kind != "EdDSA":
        yield "private", key.private_bytes(DER, OLD, PLAIN), key.private_bytes(PEM, OLD, PLAIN)
        yield "private", key.private_bytes(DER, PKCS8, PLAIN), key.private_bytes(PEM, OLD, LOCKED)
    yield "private", pkcs12.serialize_key_and_certificates(b"x", key, one, None, LOCKED), None
    if kind == "RS256":
        yield "public", public.public_bytes(DER, PKCS1), public.public_bytes(PEM, PKCS1)
    if kind.startswith("ES"):
        point = serialization.PublicFormat.UncompressedPoint
        yield "public", public.public_bytes(serialization.Encoding.X962, point), None
    ssh = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    yield "public", base64.b64decode(ssh.split()[1]), ssh + b" anna@host"
    ssh = key.private_bytes(PEM, OPENSSH, PLAIN)
    yield "private", base64.b64decode(b"".join(ssh.splitlines()[1:-1])), ssh


ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "Base64": lambda data: base64.b64encode(data).decode(),
    "Base64 in lines": lambda data: base64.encodebytes(data).decode(),
    "Base64 in lines of Windows": lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"),
    "Base64 in one line with blanks": lambda data: base64.encodebytes(data).decode().replace("\n", " "),
    "Base64 with line breaks as text": lambda data: base64.encodebytes(data).decode().replace("\n", "\\n"),
    "Base64 without padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "Base64 through a form": lambda data: base64.b64encode(data).decode().replace("+", " "),
    "Base64 in quotes": lambda data: f'"{base64.b64encode(data).decode()}"',
    "Base64 behind a BOM": lambda data: f"\ufeff{base64.b64encode(data).decode()}\n",
    "Base64 behind a word": lambda data: f"key = {base64.b64encode(data).decode()}",
    "base64url": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "base64url in blocks": lambda data: " ".join(textwrap.wrap(base64.urlsafe_b64encode(data).decode(), 8)),
    "Base64 of Base64": lambda data: base64.b64encode(base64.b64encode(data)).decode(),
    "hex": lambda data: data.hex(),
    "HEX": lambda data: data.hex().upper(),
    "hex with blanks": lambda data: data.hex(" "),
    "hex with colons": lambda data: data.hex(":"),
    "hex with dashes": lambda data: data.hex("-").upper(),
    "hex in lines": lambda data: "\n".join(textwrap.wrap(data.hex(), 60)),
    "hex with 0x": lambda data: "0x" + data.hex(),
    "hex as C": lambda data: ", ".join(f"0x{byte:02x}" for byte in data),
    "hex escapes": lambda data: "".join(f"\\x{byte:02x}" for byte in data),
}
DRESSES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "line breaks as text": lambda text: text.replace("\n", "\\n"),
    "line breaks of Windows": lambda text: text.replace("\n", "\r\n"),
    "blanks for line breaks": lambda text: text.replace("\n", " "),
    "one line": lambda text: text.replace("\n", ""),
    "no blank at all": lambda text: "".join(text.split()),
    "through a form": lambda text: text.replace("+", " "),
    "blanks as plus": lambda text: text.replace(" ", "+"),
    "without the first line": lambda text: text.split("\n", 1)[-1],
    "without the last line": lambda text: text.rstrip("\n").rsplit("\n", 1)[0],
    "in quotes": lambda text: f'"{text}"',
    "in JSON": lambda text: json.dumps({"secret": text}),
    "in a YAML list": lambda text: f"- {text}",
    "Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "percent signs": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "UTF-16 in Base64": lambda text: base64.b64encode(text.encode("utf-16")).decode(),
}


def refusal(secret: str, algorithm: str = "HS256") -> str:
    with pytest.raises(RuleError) as caught:
        vetting.check(algorithm, secret)
    assert len(str(caught.value)) < 120
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_der_is_refused_in_any_encoding(kind: str, encoding: str) -> None:
    """A key or certificate in DER is refused as a shared secret, and named, in any encoding."""
    for what, der, _ in structures(kind):
        assert what in refusal(ENCODINGS[encoding](der)), (what, der[:8].hex())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dress", DRESSES)
def test_key_texts_are_refused_with_lost_lines(kind: str, dress: str) -> None:
    """PEM and OpenSSH texts are refused and named, even if line breaks or lines were lost."""
    for what, _, text in structures(kind):
        # Without its only line, nothing would be left.
        if text is not None and (text.count(b"\n") > 2 or "without" not in dress):
            found = refusal(DRESSES[dress](text.decode()))
            assert what in found or "a key" in found, (what, text[:40])


JWKS: dict[str, Any] = {
    "public RSA": {"kty": "RSA", "n": "0vx7", "e": "AQAB"},
    "private EC": {"kty": "EC", "crv": "P-256", "x": "f83", "y": "x_F", "d": "jpsQ"},
    "OKP": {"crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kty": "OKP"},
    "shared": {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"},
    "without its kind": {"e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx"},
    "curve without its kind": {"crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"},
    "set": {"keys": [{"kid": "1", "kty": "RSA", "n": "0vx7", "e": "AQAB"}]},
    "list": [{"kty": "RSA", "n": "0vx7", "e": "AQAB"}],
}


@pytest.mark.parametrize("jwk", JWKS)
@pytest.mark.parametrize(
    "written",
    [
        json.dumps,
        lambda jwk: json.dumps(jwk, indent=2),
        str,
        lambda jwk: json.dumps(json.dumps(jwk)),
        lambda jwk: base64.b64encode(json.dumps(jwk).encode()).decode(),
        lambda jwk: base64.urlsafe_b64encode(json.dumps(jwk, separators=(",", ":")).encode()).decode().rstrip("="),
        lambda jwk: json.dumps(jwk).encode().hex(),
    ],
)
def test_a_jwk_is_refused(jwk: str, written: Callable[[Any], str]) -> None:
    """A JWK or JWK Set, also of shared keys, is refused: its text is not the key in it."""
    assert "JWK" in refusal(written(JWKS[jwk]))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 2\n", "private key (PuTTY)"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2E=\n---- END SSH2 PUBLIC KEY ----", "public key (SSH2)"),
        ('command="x",no-pty ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB anna@host', "public key (OpenSSH)"),
        ("ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjE=", "public key (OpenSSH)"),
        ("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t", "public key (OpenSSH)"),
        ("ssh-rsa-cert-v01@openssh.com AAAAHHNzaC1yc2EtY2VydC12MDFAb3BlbnNzaC5jb20", "public key (OpenSSH)"),
        ("AAAAC3NzaC1lZDI1NTE5AAAAIGPUVmVmXnVfQ5CQ4LLNvdMNpHzAaxMSfLQS6uAAMjSR", "public key (OpenSSH)"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQENBF\n", "public key (PGP)"),
        ("-----BEGIN TRUSTED CERTIFICATE-----\nMIIB", "certificate (PEM)"),
        ("-----BEGIN X509 CRL-----\nMIIB", "key (PEM)"),
        ("-----begin public key-----\nMIIB", "key (PEM)"),
        ("BEGIN RSA PRIVATE KEY\nProc-Type: 4,ENCRYPTED\n", "private key (PEM)"),
        ("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011\n\nq83vEjRWeJ", "private key (PEM)"),
        ("<RSAKeyValue><Modulus>0vx7</Modulus></RSAKeyValue>", "key (XML)"),
    ],
)
def test_other_forms_of_keys(text: str, what: str) -> None:
    """PuTTY, SSH2, PGP, XML and the rarer forms of OpenSSH are key material too."""
    assert what in refusal(text)


def test_keys_as_openssl_and_ssh_keygen_write_them(tmp_path: Path) -> None:
    """The files of common commands, certificate requests and chains included, are not shared secrets."""
    need("openssl")

    def run(*command: str) -> None:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=x")
    run("openssl", "req", "-new", "-key", "key", "-out", "request", "-subj", "/CN=x")
    run("openssl", "x509", "-in", "cert", "-trustout", "-out", "trusted")
    run("openssl", "pkcs12", "-export", "-in", "cert", "-inkey", "key", "-passout", "pass:pw", "-out", "p12")
    run("openssl", "rsa", "-in", "key", "-RSAPublicKey_out", "-out", "pkcs1")
    for name in ("key", "cert", "request", "trusted", "p12", "pkcs1"):
        data = (tmp_path / name).read_bytes()
        texts = [base64.b64encode(data).decode()]
        if data.startswith(b"-----"):
            lines = data.decode().splitlines()
            texts += [data.decode(), "".join(lines[1:-1]), "\n".join(lines[1:]), data.decode() * 2]
        for text in texts:
            assert refusal(text)


@pytest.mark.parametrize(
    "options", [("rsa", "-modulus", "-noout"), ("pkey", "-text", "-noout"), ("dsaparam", "-outform", "DER", "512")]
)
def test_the_text_form_of_openssl_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The modulus and the text form of a key, and parameters of keys, are refused too."""
    need("openssl")
    (tmp_path / "key").write_text(private_pem(key_for("RS256")))
    source = () if options[0] == "dsaparam" else ("-in", "key")
    command = ["openssl", options[0], *source, *options[1:]]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    assert refusal(printed.decode() if source else base64.b64encode(printed).decode())


def test_random_secrets_are_accepted() -> None:
    """None of 10,000 random secrets each in Base64, base64url and hex is refused."""
    for number in range(10_000):
        data = secrets.token_bytes(24 + number % 72)
        for text in (base64.b64encode(data).decode(), secrets.token_urlsafe(48), data.hex(), data.hex(":")):
            assert key_material.find_key(text) is None, text
    for algorithm in ("HS256", "HS384", "HS512"):
        assert vetting.fault(algorithm, "abcd") is None


@given(st.text(max_size=80) | st.binary(min_size=16, max_size=100).map(lambda data: base64.b64encode(data).decode()))
def test_ordinary_texts_are_accepted(text: str) -> None:
    """Words, numbers, and text with braces or dashes are not key material."""
    assert key_material.find_key(text) is None


@pytest.mark.parametrize(
    "text",
    ["abcd", "MIIB" * 16, "M" * 64, "30" * 32, "----", "the end of the key", "BEGIN", '{"key": "value"}', "ssh-rsa",
     "correct horse battery staple", "kty", "0x" + "ab" * 32, "AAAA" * 12, '{"keys": []}', "MY PUBLIC KEY",
     base64.b64encode(b"\x04" + bytes(64)).decode(), base64.b64encode(b"just some text of a person").decode()],
)  # fmt: skip
def test_the_beginning_of_a_key_is_accepted(text: str) -> None:
    """The beginning of a key format alone is not key material."""
    vetting.check("HS256", text)


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN PUBLIC KEY-----" + " " * 65_000, "-" * 65_536, "BEGIN " * 10_000, "kty " * 16_000, "M" * 65_536,
     "BEGIN" + "A" * 65_000, "%41" * 21_000, "3082" * 16_000, '"kty"' * 13_000, "MIIBIjANBgkqhkiG9w0 " * 3_000,
     "ssh-rsa " * 8_000, "\\n" * 32_000, "=" * 65_000, " " * 65_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_long_texts_take_linear_time(text: str) -> None:
    """Eight times the text takes at most about eight times the time: no check is quadratic."""
    for look in (
        key_material.find_key,
        lambda secret: refused(lambda: key_text.public_key("RS256", secret)),
        lambda secret: refused(lambda: key_text.private_key(secret)),
    ):
        assert work(look, text) < 24 * work(look, text[: len(text) // 8]) + 10_000


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(RuleError):
        call()


def work(look: Callable[[str], object], text: str) -> int:
    """Return the least processor time of several runs in microseconds."""
    found = []
    for _ in range(5):
        begun = time.process_time_ns()
        look(text)
        found.append(time.process_time_ns() - begun)
    return min(found) // 1000


# --- weak keys ---


def as_pem(modulus: int, exponent: int = 65537) -> str:
    return public_of(rsa.RSAPublicNumbers(exponent, modulus).public_key())


def public_of(key: Any) -> str:
    return str(key.public_bytes(PEM, SPKI).decode())


@functools.cache
def small_primes() -> int:
    """Return the product of all odd primes below 2**16; the few Fermat pseudoprimes to base 2 do no harm."""
    return math.prod(number for number in range(3, 1 << 16, 2) if pow(2, number - 1, number) == 1)


def without_small_factors(number: int) -> int:
    """Return the next odd number without a factor below 2**16. No check notices that it may not be prime."""
    number |= 1
    while math.gcd(number, small_primes()) != 1:
        number += 2
    return number


def factor_of(bits: int) -> int:
    """Return a random factor of a modulus. It need not be prime: finding primes takes seconds."""
    return without_small_factors(secrets.randbits(bits) | 3 << (bits - 2))


def roca_factor(bits: int) -> int:
    """Return a factor of Infineon's form: k * M + (65537 ** a mod M), where M is the product of the first primes."""
    product = math.prod(number for number in range(2, 230) if all(number % other for other in range(2, number)))
    lowest = (3 << (bits - 2)) // product + 1
    while True:
        number = (lowest + secrets.randbelow(lowest // 4)) * product + pow(65537, secrets.randbits(64), product)
        if math.gcd(number, small_primes()) == 1:
            return number


def test_rsa_keys_of_the_broken_kind_roca() -> None:
    """A modulus whose factors have the form of Infineon's generator is refused with a message that names ROCA."""
    assert "ROCA" in refusal(as_pem(roca_factor(1024) * roca_factor(1024)), "RS256")


def test_rsa_keys_with_close_primes() -> None:
    """A modulus that Fermat's method factors within a hundred rounds is refused."""
    first = factor_of(1024)
    for second in (first, without_small_factors(first + 2), without_small_factors(first + (1 << 515))):
        assert "close together" in refusal(as_pem(first * second), "PS256")
    vetting.check("RS256", as_pem(first * without_small_factors(first + (1 << 900))))


@pytest.mark.parametrize("factor", [2, 3, 5, 7919, 9973])
def test_rsa_keys_with_a_small_factor(factor: int) -> None:
    """A modulus that is even or has a small factor is refused."""
    assert "small factor" in refusal(as_pem(factor_of(2048) * factor), "RS512")


@pytest.mark.parametrize("bits", [1024, 2040, 8200])
def test_rsa_keys_of_another_size(bits: int) -> None:
    """An RSA key must have 2048 to 8192 bits."""
    assert "2048 to 8192 bits" in refusal(as_pem(1 << (bits - 1) | secrets.randbits(bits - 2) | 1), "RS256")


@pytest.mark.parametrize("exponent", [3, 17, 65539])
def test_rsa_keys_with_another_exponent(exponent: int) -> None:
    """The public exponent must be 65537."""
    modulus = key_for("RS256").public_key().public_numbers().n
    assert "65537" in refusal(as_pem(modulus, exponent), "RS256")


def test_ordinary_keys_are_accepted() -> None:
    """Common keys pass, in both encodings, and so does the largest."""
    for algorithm in algorithms.ALGORITHMS:
        if not algorithms.is_shared(algorithm):
            vetting.check(algorithm, public_pem(key_for(algorithm)))
            vetting.check(algorithm, public_base64(key_for(algorithm)))
    for _ in range(50):
        vetting.check("EdDSA", public_pem(ed25519.Ed25519PrivateKey.generate()))
    # The largest modulus. Its factors are not prime: finding primes would take half a minute.
    vetting.check("RS256", as_pem(factor_of(4096) * factor_of(4096)))


P = 2**255 - 19


def doubled(point: tuple[int, int]) -> tuple[int, int]:
    """Return twice a point of the curve of Ed25519 (RFC 8032 section 5.1), by its law of addition."""
    d = -121665 * pow(121666, -1, P) % P
    x, y = point
    both = d * x * x * y * y
    return 2 * x * y * pow(1 + both, -1, P) % P, (y * y + x * x) * pow(1 - both, -1, P) % P


def root(square: int) -> int | None:
    candidate = pow(square, (P + 3) // 8, P)
    for one in (candidate, candidate * pow(2, (P - 1) // 4, P) % P):
        if one * one % P == square % P:
            return one
    return None


def points_of_small_order() -> set[tuple[int, int]]:
    """Return all points of order 8 or less, by halving the neutral point."""
    d = -121665 * pow(121666, -1, P) % P
    found = {(0, 1), (0, P - 1)}
    for y in (0, *(y for y in order_8_y(d))):
        x = root((y * y - 1) * pow(d * y * y + 1, -1, P) % P)
        assert x is not None
        found |= {(x, y), (P - x, y)}
    return found


def order_8_y(d: int) -> Iterator[int]:
    # Twice the point has y = 0: y**2 + x**2 = 0, so that d*y**4 + 2*y**2 - 1 = 0.
    inner = root(1 + d)
    assert inner is not None
    for sign in (1, -1):
        y = root((-1 + sign * inner) * pow(d, -1, P) % P)
        if y is not None:
            yield from (y, P - y)


def test_ed25519_points_of_small_order() -> None:
    """Every encoding of the eight points of small order is refused, also with a y that is not reduced."""
    points = points_of_small_order()
    assert len(points) == 8
    for point in points:
        assert doubled(doubled(doubled(point))) == (0, 1)
    refusals = 0
    for _, y in points:
        for spelled in (y, y + P):
            for sign in (0, 1 << 255):
                if spelled < 1 << 255:
                    encoded = (spelled | sign).to_bytes(32, "little")
                    pem = public_of(ed25519.Ed25519PublicKey.from_public_bytes(encoded))
                    assert "small order" in refusal(pem, "EdDSA")
                    refusals += 1
    assert refusals >= 14


def test_ed25519_keys_off_the_curve() -> None:
    """Bytes that are not a point of the curve, or have a y that is not reduced, are refused."""
    for y in (2, 7, P + 3, P + 18):
        pem = public_of(ed25519.Ed25519PublicKey.from_public_bytes(y.to_bytes(32, "little")))
        assert "point" in refusal(pem, "EdDSA")


def test_ec_keys_off_the_curve() -> None:
    """The point at infinity, and a point that is not on the curve, are refused."""
    der = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(DER, SPKI)
    algorithm = der[2 : 2 + 21]
    infinity = b"\x30" + bytes([len(algorithm) + 4]) + algorithm + b"\x03\x02\x00\x00"
    for wrong in (infinity, der[:-1] + bytes([der[-1] ^ 1])):
        assert "not a readable public key" in refusal(base64.b64encode(wrong).decode(), "ES256")


def test_a_stored_key_is_not_vetted_again() -> None:
    """A stored key that vetting would refuse still verifies."""
    weak = rsa.generate_private_key(65537, 1024)
    public = only_key("RS256", public_pem(weak))
    found = keys.signing_key("RS256", [public], private_pem(weak))
    assert found is not None
    assert public.verify(b"m", found[0].sign(b"m"))
    assert only_key("HS256", '{"kty":"oct","k":"AyM1"}').sign(b"m")


def test_a_foreign_private_key_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of a private RSA key (5 s with 8,192 bits) are checked only if it belongs to the application."""
    checked = []
    whole = key_text.private_key

    def seen(text: str) -> Any:
        checked.append(text)
        return whole(text)

    monkeypatch.setattr(key_text, "private_key", seen)
    public = only_key("RS256", public_pem(key_for("RS256")))
    assert keys.signing_key("RS256", [public], private_pem(rsa.generate_private_key(65537, 2048))) is None
    assert checked == []
    mine = private_pem(rsa.generate_private_key(65537, 2048))
    public = only_key("RS256", public_pem(serialization.load_pem_private_key(mine.encode(), None)))
    for _ in range(3):
        assert keys.signing_key("RS256", [public], mine) is not None
    assert checked == [mine]


def test_no_message_repeats_a_key() -> None:
    """No message about a key repeats any part of it."""
    for what, der, text in structures("RS256"):
        for secret in (base64.b64encode(der).decode(), (text or b"").decode()):
            if secret:
                said = refusal(secret)
                assert what
                assert not re.search(re.escape(secret[40:52]), said)
