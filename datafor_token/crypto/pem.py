"""A key as text, PEM or the Base64 of its DER, becomes a key object; what is something else is called by its name."""

import base64
import binascii
import re
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from datafor_token.errors import RuleError

_LONGEST_PEM = 16 * 1024  # characters; a private RSA key of 8,192 bits has 6,400
_ENCRYPTED_PEM = re.compile("-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED")
# No two parts that can match the same characters: with those, 16 KiB of blanks took a second.
_PUBLIC_PEM = re.compile(r"-----BEGIN (?P<label>(?:RSA )?PUBLIC KEY)-----(?P<body>[^-]+)-----END (?P=label)-----")
_PSS_ONLY = bytes.fromhex("06092a864886f70d01010a")  # the object identifier id-RSASSA-PSS (RFC 4055)
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def is_public_key(text: str) -> bool:
    """Return whether the text is a PEM, or a public key in the form that is stored for an asymmetric algorithm."""
    if "-----BEGIN " in text:
        return True
    # The first byte of DER, a SEQUENCE; most secrets end here.
    if not text.startswith("M"):
        return False
    try:
        # PS256, which takes every RSA key.
        public_key("PS256", text)
    except RuleError:
        return False
    return True


def public_key(algorithm: str, text: str) -> Any:
    """The public key of a PEM text or of the bare Base64 of its DER (SubjectPublicKeyInfo, PKCS #1)."""
    if len(text) > _LONGEST_PEM:
        raise RuleError("must be a public key of at most %(number)s characters", number=_LONGEST_PEM)
    body = text
    if "-----BEGIN " in text:
        _refuse_other_pem(text)
        # One block and nothing around it: what is stored holds no private key beside the public one.
        block = _PUBLIC_PEM.fullmatch(text.strip())
        if block is None:
            raise RuleError("must be one public key in PEM and nothing else")
        body = block["body"]
    try:
        data = base64.b64decode("".join(body.splitlines()), validate=True)
    except (binascii.Error, ValueError):
        raise RuleError(
            "must be a public key, as PEM or as the Base64 of its DER; in a form, '+' must be sent as %2B"
        ) from None
    try:
        key = serialization.load_der_public_key(data)
    except _UNREADABLE:
        raise RuleError(_der_fault(data)) from None
    if _PSS_ONLY in data[:40] and not algorithm.startswith("PS"):
        raise RuleError(
            "must not be an RSASSA-PSS key for %(algorithm)s: it may sign PS256, PS384 and PS512 only",
            algorithm=algorithm,
        )
    return key


def _refuse_other_pem(text: str) -> None:
    if _ENCRYPTED_PEM.search(text):
        raise RuleError("must be a public key: this is an encrypted private one")
    if "PRIVATE KEY-----" in text:
        raise RuleError("must be a public key: this is a private one, which this service never stores")
    if "-----BEGIN CERTIFICATE" in text:
        raise RuleError("must be a public key: this is a certificate")


def _der_fault(data: bytes) -> str:
    """What is wrong with bytes that are no public key, as a predicate."""
    for load, fault in (
        (
            lambda: serialization.load_der_private_key(data, None),
            "this is a private one, which this service never stores",
        ),
        (lambda: x509.load_der_x509_certificate(data), "this is a certificate"),
    ):
        try:
            load()
        except TypeError:
            # What cryptography says of a private key whose password is missing.
            return "must be a public key: this is an encrypted private one"
        except _UNREADABLE:
            continue
        return f"must be a public key: {fault}"
    return "is not a readable public key in DER"


def private_key(text: str) -> Any:
    """Return the private key of an unencrypted PEM text; ``RuleError`` says what else it is."""
    return _private_key(text, checked=True)


def public_half(text: str) -> Any:
    """Return the public key of the private key in a PEM text; errors are those of ``private_key``.

    Whether the numbers of an RSA key fit together is not checked, which takes 5 s with 8,192 bits: only the keys
    of applications are worth that.
    """
    return _private_key(text, checked=False).public_key()


def _private_key(text: str, *, checked: bool) -> Any:
    if "-----BEGIN " not in text or len(text) > _LONGEST_PEM:
        raise RuleError("must be a private key in PEM")
    if _ENCRYPTED_PEM.search(text):
        raise RuleError("must be an unencrypted private key: this one is encrypted")
    if not re.search("-----BEGIN [A-Z ]*PRIVATE KEY-----", text):
        raise RuleError("must be a private key: this is none")
    try:
        return serialization.load_pem_private_key(text.encode(), None, unsafe_skip_rsa_key_validation=not checked)
    except _UNREADABLE:
        raise RuleError("is not a readable private key; in a form, '+' must be sent as %2B") from None
