"""Parsing of keys in PEM and in the Base64 of DER. Errors name what a text is instead."""

import base64
import binascii
import re
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from datafor_token.errors import Message, RuleError

_LONGEST_PEM = 16 * 1024  # characters; a private RSA key of 8,192 bits has 6,400
_ENCRYPTED_PEM = re.compile("-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED")
# Adjacent parts match different characters. When they did not, 16 KiB of blanks took a second.
_PUBLIC_PEM = re.compile(r"-----BEGIN (?P<label>(?:RSA )?PUBLIC KEY)-----(?P<body>[^-]+)-----END (?P=label)-----")
_PSS_ONLY = bytes.fromhex("06092a864886f70d01010a")  # the object identifier id-RSASSA-PSS (RFC 4055)
_CERTIFICATE = Message(
    "must be a public key: this is a certificate, whose key this prints: openssl x509 -pubkey -noout -in cert.pem"
)
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def is_public_key(text: str) -> bool:
    """Return whether the text is PEM, or a public key in the form stored for an asymmetric algorithm."""
    if "-----BEGIN " in text:
        return True
    # In Base64, DER begins with M, from the tag of a SEQUENCE. Most secrets do not.
    if not text.startswith("M"):
        return False
    try:
        # PS256 allows every RSA key.
        public_key("PS256", text)
    except RuleError:
        return False
    return True


def public_key(algorithm: str, text: str) -> Any:
    """Parse a public key (SubjectPublicKeyInfo or PKCS #1) in PEM or the Base64 of DER; raise ``RuleError``."""
    if len(text) > _LONGEST_PEM:
        raise RuleError("must be a public key of at most %(number)s characters", number=_LONGEST_PEM)
    body = text
    if "-----BEGIN " in text:
        _refuse_other_pem(text)
        # Exactly one block, so that no private key is stored beside the public key.
        block = _PUBLIC_PEM.fullmatch(text.strip())
        if block is None:
            raise RuleError("must be one public key in PEM and nothing else")
        body = block["body"]
    try:
        data = base64.b64decode("".join(body.splitlines()), validate=True)
    except (binascii.Error, ValueError):
        raise RuleError(
            "must be a public key, as PEM, as the Base64 of its DER, as a JWK or as a JWK Set; in a form, '+' must be"
            " sent as %2B"
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
        raise RuleError(_CERTIFICATE)


def _der_fault(data: bytes) -> Message:
    """Return a predicate about bytes that are not a public key."""
    for load, fault in (
        (
            lambda: serialization.load_der_private_key(data, None),
            Message("must be a public key: this is a private one, which this service never stores"),
        ),
        (lambda: x509.load_der_x509_certificate(data), _CERTIFICATE),
    ):
        try:
            load()
        except TypeError:
            # cryptography raises it for a private key without a password.
            return Message("must be a public key: this is an encrypted private one")
        except _UNREADABLE:
            continue
        return fault
    return Message("is not a readable public key in DER")


def private_key(text: str) -> Any:
    """Parse an unencrypted private key in PEM; raise ``RuleError`` for anything else."""
    return _private_key(text, checked=True)


def of_private_key(key: Any) -> str:
    """Return a private key as unencrypted PEM (PKCS #8)."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(encoding, form, serialization.NoEncryption())
    return text.decode("ascii")


def public_half(text: str) -> Any:
    """Return the public key of a private key in PEM; raise errors as ``private_key`` does.

    The numbers of an RSA key are not checked, which takes 5 s for 8,192 bits. Only keys that belong to an application
    are worth that time.
    """
    return _private_key(text, checked=False).public_key()


def _private_key(text: str, *, checked: bool) -> Any:
    if "-----BEGIN " not in text or len(text) > _LONGEST_PEM:
        raise RuleError("must be a private key in PEM")
    if _ENCRYPTED_PEM.search(text):
        raise RuleError("must be an unencrypted private key: this one is encrypted")
    if not re.search("-----BEGIN [A-Z ]*PRIVATE KEY-----", text):
        raise RuleError("must be a private key: this is something else")
    try:
        return serialization.load_pem_private_key(text.encode(), None, unsafe_skip_rsa_key_validation=not checked)
    except _UNREADABLE:
        raise RuleError("is not a readable private key; in a form, '+' must be sent as %2B") from None
