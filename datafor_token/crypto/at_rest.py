"""Encryption of secrets at rest, under a key that lies in the configuration folder, not in the data folder.

AES-256-GCM (NIST SP 800-38D) of ``cryptography``. A value names its key, and is bound to its record
and field: one that is copied to another record, or to another field, cannot be opened there.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from datafor_token.errors import RecordDamaged, RuleError, StartError
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.store.files.disk import sync
from datafor_token.validation import utf8
from datafor_token.validation.names import fold

KEY_FILE = "secret_key"
KEY_VARIABLE = "DATAFOR_TOKEN_SECRET_KEY"
COLLECTION = "instance"
RECORD = "key"
FORMER = "former_keys"
_IDENTIFIERS = "token identifiers"
_APPLICATIONS = "applications"
_MARK = "enc1:"
_NONCE = 12  # bytes
_KEY = 32  # bytes
_LONGEST_START = 60  # seconds


class Keyring:
    """Seals and opens secrets: with the first key it seals, each of them opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_identifier(key): key for key in keys}
        self._ciphers = {identifier: AESGCM(key) for identifier, key in self._keys.items()}
        self._former: dict[str, bytes] = {}
        self.identifier = _identifier(keys[0])

    def derive(self, purpose: str, identifier: str | None = None) -> bytes:
        """Return a key for something else, which shows nothing of the key that it is derived from.

        ``identifier`` names one of the keys; without it, the key is derived from the first one.
        """
        key = self._keys[identifier or self.identifier]
        return hashlib.sha256(b"datafor_token " + purpose.encode() + b"\0" + key).digest()

    @property
    def token_identifier_keys(self) -> Sequence[bytes]:
        """The keys for identifiers of tokens: of the first key, of the other ones, and of keys that were taken away."""
        by_name = {name: self.derive(_IDENTIFIERS, name) for name in self._keys}
        return list({**by_name, **{name: key for name, key in self._former.items() if name not in by_name}}.values())

    def load_former_keys(self, document: Document | None) -> None:
        """Take over what ``former`` stored before a key was taken away; raises ``RecordDamaged``."""
        entries = (document or {}).get("keys", {})
        if not isinstance(entries, dict):
            raise RecordDamaged(reason=f"{COLLECTION}/{FORMER}: keys is no object")
        for name, sealed in entries.items():
            text = self.decrypt(FORMER, name, sealed)
            try:
                key = base64.b64decode(str(text), validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != _KEY:
                raise RecordDamaged(reason=f"{COLLECTION}/{FORMER}: a key is no 32 bytes in Base64")
            self._former[name] = key

    def former_keys_record(self, document: Document | None) -> Document:
        """Return the record of the keys for identifiers of all but the first key, encrypted with the first key.

        With it, identifiers that were computed before a key change are still recognized after it. ``document`` is the
        present record, whose other members stay.
        """
        derived = {**self._former, **{name: self.derive(_IDENTIFIERS, name) for name in self._keys}}
        sealed = {
            name: self.encrypt(FORMER, name, base64.b64encode(key).decode())
            for name, key in derived.items()
            if name != self.identifier
        }
        return {"format": 1, "name": FORMER, **(document or {}), "keys": sealed}

    @property
    def identifiers(self) -> Sequence[str]:
        """The names of all keys, which show nothing of them."""
        return list(self._ciphers)

    def encrypt(self, record: str, field: str, text: str) -> str:
        """The text, encrypted for one field of one record; an empty one stays empty."""
        if not text:
            return text
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._ciphers[self.identifier].encrypt(nonce, text.encode(), _bound_to(record, field))
        return f"{_MARK}{self.identifier}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, record: str, field: str, value: object) -> object:
        """What was sealed; whatever is not sealed is as it is, since a record may be written by hand.

        Raises ``RecordDamaged`` for what no key opens here.
        """
        if not isinstance(value, str) or not value.startswith(_MARK):
            return value
        identifier, _, text = value.removeprefix(_MARK).partition(":")
        if identifier not in self._ciphers:
            raise RecordDamaged(
                reason=f"{record}: {field} is encrypted with the key {identifier[:16]}, not a known one"
            )
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            opened = self._ciphers[identifier].decrypt(data[:_NONCE], data[_NONCE:], _bound_to(record, field))
            return opened.decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise RecordDamaged(reason=f"{record}: {field} was encrypted for another place, or was changed") from None


def load_keyring(config_dir: Path, environ: Mapping[str, str], store: Store, *, may_create: bool = True) -> Keyring:
    """The keys of this installation, made at the first start; nothing is touched when they are not its own.

    ``may_create``: whether a key may be made where there is none yet, and what is missing be noted; not by a command.
    The rest is as in ``load_keys``.
    """
    record = _noted(store)
    used = _used(store, record)
    keyring, origin = _loaded(config_dir, environ, may_create=may_create and not used)
    if may_create:
        _sweep(config_dir)
    if unknown := used - set(keyring.identifiers):
        raise StartError(
            f"{origin} is not the key of these records: they are encrypted with the key {min(unknown)}, this one is"
            f" {keyring.identifier}; put the right one there (nothing was changed)"
        )
    keyring.load_former_keys(store.get(COLLECTION, FORMER))
    if record is None and may_create:
        # Another worker may have been faster, with the same key.
        with contextlib.suppress(AlreadyExists):
            store_key_identifier(store, keyring, first=True)
    return keyring


def _noted(store: Store) -> Document | None:
    """Return the record of the key in use; raise ``RecordDamaged`` with a way out."""
    try:
        return store.get(COLLECTION, RECORD)
    except RecordDamaged as error:
        if isinstance(error.__cause__, OSError):
            # It cannot be read at the moment: that is no reason to remove it.
            raise
        raise RecordDamaged(
            reason=f"{error.reason}: put this record back from a copy, or remove it: all other records stay, and the"
            " next start writes it again, if the present key opens the secrets of the applications"
        ) from None


def load_keys(config_dir: Path, environ: Mapping[str, str]) -> Keyring:
    """The keys of the configuration, before there is a store.

    The environment variable goes before the file; both hold the key and then former ones. Raises
    ``StartError`` for keys that are none, and for those of another installation.
    """
    return _loaded(config_dir, environ, may_create=False)[0]


def check_keys(config_dir: Path, environ: Mapping[str, str]) -> None:
    """Raise ``StartError`` for keys that are none, where there are any yet: before a first start creates anything."""
    if KEY_VARIABLE in environ or os.path.lexists(config_dir / KEY_FILE):
        load_keys(config_dir, environ)


def _loaded(config_dir: Path, environ: Mapping[str, str], *, may_create: bool) -> tuple[Keyring, str]:
    """The keys, and where they come from."""
    given = environ.get(KEY_VARIABLE)
    if given is not None:
        return Keyring(_parsed(given.split(","), KEY_VARIABLE)), KEY_VARIABLE
    path = config_dir / KEY_FILE
    return Keyring(_from_file(path, may_create=may_create)), str(path)


def is_own_key(keyring: Keyring, note: Document | None) -> bool:
    """Whether what ``store_key_identifier`` kept is of this installation."""
    return note is not None and note.get("identifier") in keyring.identifiers


def _used(store: Store, record: Document | None) -> set[str]:
    """The names of the keys that the records are encrypted with, as far as they say."""
    if record is not None and isinstance(record.get("identifier"), str):
        return {record["identifier"]}
    # The record is missing, as at the first start, or mutilated: then the applications' own words count.
    found = set()
    for _, document in store.documents(_APPLICATIONS):
        if isinstance(document, dict):
            for value in (document.get("secret"), document.get("initpwd")):
                if isinstance(value, str) and value.startswith(_MARK):
                    found.add(value.removeprefix(_MARK).partition(":")[0])
    return found


def store_key_identifier(store: Store, keyring: Keyring, *, first: bool = False) -> None:
    """Store which key the records are encrypted with, to be compared at the next start."""
    document = {"format": 1, "name": RECORD, "identifier": keyring.identifier}
    if first:
        store.create(COLLECTION, document)
        return
    if len(keyring.token_identifier_keys) > 1:
        # Before the new key is noted: until then the old one cannot be taken away.
        store.update(COLLECTION, FORMER, keyring.former_keys_record)
    store.update(COLLECTION, RECORD, lambda present: {**(present or {}), **document})


def _from_file(path: Path, *, may_create: bool) -> list[bytes]:
    try:
        if may_create and not path.exists():
            _make(path)
        return _parsed(utf8.decode(path.read_bytes()).split(), str(path))
    except FileNotFoundError:
        raise StartError(
            f"{path} is missing, and the records are encrypted with the key that was in it; put it back from a backup,"
            " with several nodes copy it from the first node, or name its folder in DATAFOR_TOKEN_CONFIG_DIR"
        ) from None
    except RuleError as error:
        raise StartError(f"{path} {error}") from None
    except OSError as error:
        raise StartError(f"{path} cannot be read or made: {error.strerror}") from None


def _make(path: Path) -> None:
    """Make the file with a new key; whoever is first of several does."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temp = path.with_name(f".{KEY_FILE}-{secrets.token_hex(8)}")
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(_KEY)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces a key that another process has put there meanwhile.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temp)
        # Before any record is encrypted with it: a key that a power cut takes away takes all secrets with it.
        sync(path.parent)
    finally:
        temp.unlink()


def _sweep(folder: Path) -> None:
    """Remove what a killed first start left; not what another one is making at this moment."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".{KEY_FILE}-*"):
            if time.time() - path.stat().st_mtime > _LONGEST_START:
                path.unlink(missing_ok=True)


def _parsed(texts: Sequence[str], origin: str) -> list[bytes]:
    keys = []
    for text in texts:
        try:
            key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY or len(set(key)) < _KEY // 4:
            raise StartError(f"{origin} must hold 32 random bytes as Base64")
        keys.append(key)
    if not keys:
        raise StartError(f"{origin} is empty: it must hold 32 random bytes as Base64")
    return keys


def _identifier(key: bytes) -> str:
    return hashlib.sha256(b"datafor_token key identifier\0" + key).hexdigest()[:16]


def _bound_to(record: str, field: str) -> bytes:
    return f"{fold(record)}\0{field}".encode()
