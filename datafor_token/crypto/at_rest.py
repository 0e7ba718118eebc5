"""Encryption of secrets at rest, with keys stored in the configuration folder, outside the data folder.

Secrets are encrypted with AES-256-GCM (NIST SP 800-38D). An encrypted value names its key, and its record and field are
authenticated: after copying to another record or field, it cannot be decrypted.
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

from datafor_token.errors import KeyMissing, RecordDamaged, RuleError, StartError
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.store.files.disk import sync
from datafor_token.validation import files, utf8
from datafor_token.validation.names import fold

KEY_FILE = "secret_key"
KEY_VARIABLE = "DATAFOR_TOKEN_SECRET_KEY"
COLLECTION = "instance"
RECORD = "key"  # the record that names the key in use
FORMER = "former_keys"  # the record of the token identifier keys of former keys
_IDENTIFIERS = "token identifiers"
_APPLICATIONS = "applications"  # of ``applications.record``, which imports this module
_MARK = "enc1:"
_NONCE = 12  # bytes
_KEY = 32  # bytes
_LONGEST_START = 60  # seconds; an older temporary key file is from a killed start


class Keyring:
    """The keys that encrypt secrets at rest. The first key encrypts; every key decrypts."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_identifier(key): key for key in keys}
        self._ciphers = {identifier: AESGCM(key) for identifier, key in self._keys.items()}
        self._former: dict[str, bytes] = {}
        self.identifier = _identifier(keys[0])

    def derive(self, purpose: str, identifier: str | None = None) -> bytes:
        """Return a key for another purpose, derived from the key named ``identifier``, by default from the first key.

        The derived key reveals nothing about its source.
        """
        key = self._keys[identifier or self.identifier]
        return hashlib.sha256(b"datafor_token " + purpose.encode() + b"\0" + key).digest()

    def derive_all(self, purpose: str) -> Sequence[bytes]:
        """Return the key for another purpose derived from each key, the one that ``derive`` returns first.

        During a key change, other nodes, and this one before its restart, use another key first.
        """
        return [self.derive(purpose, name) for name in self._keys]

    @property
    def token_identifier_keys(self) -> Sequence[bytes]:
        """The keys for token identifiers: derived from the first key, from the others, and from removed former keys."""
        by_name = dict(zip(self._keys, self.derive_all(_IDENTIFIERS), strict=True))
        return list({**by_name, **{name: key for name, key in self._former.items() if name not in by_name}}.values())

    def load_former_keys(self, document: Document | None) -> None:
        """Load the token identifier keys of removed keys from the record ``FORMER``; raise ``RecordDamaged``."""
        entries = (document or {}).get("keys", {})
        if not isinstance(entries, dict):
            raise RecordDamaged(reason=f"{COLLECTION}/{FORMER}: keys is not an object")
        for name, sealed in entries.items():
            text = self.decrypt(FORMER, name, sealed)
            try:
                key = base64.b64decode(str(text), validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != _KEY:
                raise RecordDamaged(reason=f"{COLLECTION}/{FORMER}: a key is not 32 bytes in Base64")
            self._former[name] = key

    def former_keys_record(self, document: Document | None) -> Document:
        """Return the record ``FORMER``: the token identifier keys of all keys but the first, encrypted with the first.

        With it, token identifiers from before a key change are recognised after it. ``document`` is the stored record,
        whose other members stay.
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
        """The names of all keys: hashes that reveal nothing about the keys."""
        return list(self._ciphers)

    def encrypt(self, record: str, field: str, text: str) -> str:
        """Encrypt a text for one field of one record. An empty text stays empty."""
        if not text:
            return text
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._ciphers[self.identifier].encrypt(nonce, text.encode(), _bound_to(record, field))
        return f"{_MARK}{self.identifier}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, record: str, field: str, value: object) -> object:
        """Decrypt the value of one field of one record; raise ``RecordDamaged`` if no key can.

        It is ``KeyMissing`` if the value names a key that is not one of these.
        A value that is not encrypted is returned unchanged, since a record may be edited by hand.
        """
        if not isinstance(value, str) or not value.startswith(_MARK):
            return value
        identifier, _, text = value.removeprefix(_MARK).partition(":")
        if identifier not in self._ciphers:
            raise KeyMissing(
                reason=f"{record}: {field} is encrypted with the key {identifier[:16]}, which this node does not have:"
                f" add that key to config/{KEY_FILE} on a line of its own, and restart"
            )
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            opened = self._ciphers[identifier].decrypt(data[:_NONCE], data[_NONCE:], _bound_to(record, field))
            return opened.decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise RecordDamaged(reason=f"{record}: {field} was encrypted for another field, or was changed") from None


def load_keyring(config_dir: Path, environ: Mapping[str, str], store: Store, *, may_create: bool = True) -> Keyring:
    """Return the keys of this installation; raise ``StartError`` if they are not the keys of the store.

    With ``may_create``, the first start creates a key, and the record of the key in use is created if it is missing.
    Commands do neither. Keys are found as in ``load_keys``.
    """
    record = _key_record(store)
    used = _used_keys(store, record)
    keyring, origin = _configured(config_dir, environ, may_create=may_create and not used)
    if may_create:
        _sweep(config_dir)
    if unknown := used - set(keyring.identifiers):
        raise StartError(
            f"{origin} is not the key of these records: they are encrypted with the key {min(unknown)}, this one is"
            f" {keyring.identifier}; replace it with the right key (nothing was changed)"
        )
    keyring.load_former_keys(store.get(COLLECTION, FORMER))
    if record is None and may_create:
        # Another worker may have created it first, with the same key.
        with contextlib.suppress(AlreadyExists):
            store_key_identifier(store, keyring, first=True)
    return keyring


def _key_record(store: Store) -> Document | None:
    """Return the record of the key in use; raise ``RecordDamaged`` with instructions."""
    try:
        return store.get(COLLECTION, RECORD)
    except RecordDamaged as error:
        if isinstance(error.__cause__, OSError):
            # A file that cannot be read need not be damaged.
            raise
        raise RecordDamaged(
            reason=f"{error.reason}: restore this record from a backup, or remove it: all other records stay, and the"
            " next start writes it again if the current key decrypts the secrets of the applications"
        ) from None


def load_keys(config_dir: Path, environ: Mapping[str, str]) -> Keyring:
    """Return the configured keys without comparing them with a store.

    The environment variable ``KEY_VARIABLE`` overrides the file ``KEY_FILE``. Both have the current key first, then
    former keys. Raise ``StartError`` if a key is missing or not valid.
    """
    return _configured(config_dir, environ, may_create=False)[0]


def check_keys(config_dir: Path, environ: Mapping[str, str]) -> None:
    """Raise ``StartError`` if a configured key is not valid. A first start calls this before it creates anything."""
    if KEY_VARIABLE in environ or os.path.lexists(config_dir / KEY_FILE):
        load_keys(config_dir, environ)


def _configured(config_dir: Path, environ: Mapping[str, str], *, may_create: bool) -> tuple[Keyring, str]:
    """Return the keys, and the name of the variable or file that has them."""
    given = environ.get(KEY_VARIABLE)
    if given is not None:
        return Keyring(_parsed(given.split(","), KEY_VARIABLE)), KEY_VARIABLE
    path = config_dir / KEY_FILE
    return Keyring(_from_file(path, may_create=may_create)), str(path)


def is_own_key(keyring: Keyring, record: Document | None) -> bool:
    """Return whether a stored record of the key in use names one of these keys."""
    return record is not None and record.get("identifier") in keyring.identifiers


def _used_keys(store: Store, record: Document | None) -> set[str]:
    """Return the names of the keys that the records are encrypted with, as far as they are known."""
    if record is not None and isinstance(record.get("identifier"), str):
        return {record["identifier"]}
    # The record is missing, as at the first start, or incomplete. Encrypted secrets name their keys too.
    found = set()
    for _, document in store.documents(_APPLICATIONS):
        if isinstance(document, dict):
            for value in (document.get("secret"), document.get("initpwd")):
                if isinstance(value, str) and value.startswith(_MARK):
                    found.add(value.removeprefix(_MARK).partition(":")[0])
    return found


def store_key_identifier(store: Store, keyring: Keyring, *, first: bool = False) -> None:
    """Store the name of the key that the records are encrypted with. The next start compares it."""
    document = {"format": 1, "name": RECORD, "identifier": keyring.identifier}
    if first:
        store.create(COLLECTION, document)
        return
    if len(keyring.token_identifier_keys) > 1:
        # Stored before the name of the new key: until then, the old key must not be removed.
        store.update(COLLECTION, FORMER, keyring.former_keys_record)
    store.update(COLLECTION, RECORD, lambda present: {**(present or {}), **document})


def _from_file(path: Path, *, may_create: bool) -> list[bytes]:
    try:
        if may_create and not path.exists():
            _create_key_file(path)
        return _parsed(utf8.decode(files.read(path)).split(), str(path))
    except FileNotFoundError:
        raise StartError(
            f"{path} is missing, and the records are encrypted with the key in it; restore it from a backup, copy it"
            " from another node, or name its folder with --config or DATAFOR_TOKEN_CONFIG_DIR"
        ) from None
    except RuleError as error:
        raise StartError(f"{path} {error}") from None
    except OSError as error:
        raise StartError(f"{path} cannot be read or created: {error.strerror}") from None


def _create_key_file(path: Path) -> None:
    """Create the key file with a new key, unless another process creates it first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temp = path.with_name(f".{KEY_FILE}-{secrets.token_hex(8)}")
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(_KEY)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces the key of another process.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temp)
        # Before any record is encrypted: if a power cut lost the key, all secrets would be lost.
        sync(path.parent)
    finally:
        temp.unlink()


def _sweep(folder: Path) -> None:
    """Remove temporary files of killed first starts, but not those of a start in progress."""
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
