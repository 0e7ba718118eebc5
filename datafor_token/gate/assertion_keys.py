"""Keys that sign identities (``assertions``): one record for all workers and nodes, rotated with overlap.

A new key is published ``AHEAD`` before it signs, and the one before it until ``BEHIND`` after that: no verifier with a
cache of a day ever lacks a key. Each use compares the version of the record, so that every worker notices a rotation at
once. The record has the private keys, encrypted; a key that is no longer published is removed from it.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.crypto import pem
from datafor_token.crypto.at_rest import COLLECTION, Keyring
from datafor_token.crypto.keys import Key, KeyPair, key_pair, new_key_pair
from datafor_token.errors import Conflict, KeyMissing, NotFound, RecordDamaged, RuleError, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache
from datafor_token.validation import logs

log = logging.getLogger(__name__)

RECORD = "gate_keys"
ALGORITHM = "ES256"
ASSERTION_LIFETIME = 60  # seconds
_DAY = 86_400_000  # milliseconds, as all times of the record
SIGNING_PERIOD = 30 * _DAY  # of a key
AHEAD = _DAY
BEHIND = _DAY + ASSERTION_LIFETIME * 1000
_MOST_DROPPED = 100
_RETRY = 60.0  # seconds between two attempts of a process to rotate
_REMEDY = (
    "restore this record from a backup, or remove it: the next check creates a new key, which applications that verify"
    " signed identities fetch when they see it"
)


class OwnKey(NamedTuple):
    """A key of this service, and the time from which it signs, in milliseconds since 1970."""

    pair: KeyPair
    signs_from: int


@dataclass(frozen=True)
class OwnKeys:
    """The keys of the record, at least one, in the order in which they sign. ``now`` is in milliseconds since 1970.

    ``dropped`` are the ``kid`` of keys that were dropped because others may know them.
    """

    keys: Sequence[OwnKey]
    dropped: Sequence[str] = ()

    def signing(self, now: int) -> OwnKey:
        """Return the key that signs now; the first one if this host's clock is behind."""
        for key in reversed(self.keys):
            if key.signs_from <= now:
                return key
        return self.keys[0]

    def published(self, now: int) -> Sequence[OwnKey]:
        """Return the keys that verifiers need now."""
        ends = [following.signs_from + BEHIND for following in self.keys[1:]]
        return [key for key, end in zip(self.keys, [*ends, None], strict=True) if end is None or now < end]

    def following(self, now: int) -> OwnKey | None:
        """Return the key that is published, but does not sign yet."""
        last = self.keys[-1]
        return None if last is self.signing(now) else last

    def rotated(self, now: int) -> "OwnKeys":
        """Return the published keys, with another one if the last has signed for long enough; the same if all stay."""
        kept = self.published(now)
        if self._ends_soon(now):
            return OwnKeys([*kept, _new(now + AHEAD)], self.dropped)
        return self if len(kept) == len(self.keys) else OwnKeys(kept, self.dropped)

    def dropped_for(self, key: OwnKey) -> "OwnKeys":
        """Return only this key, with all others as ``dropped``."""
        dropped = [*self.dropped, *(str(one.pair.public.kid) for one in self.keys)]
        return OwnKeys([key], dropped[-_MOST_DROPPED:])

    def is_due(self, now: int) -> bool:
        """Return whether ``rotated`` would change something."""
        return self._ends_soon(now) or len(self.published(now)) < len(self.keys)

    def _ends_soon(self, now: int) -> bool:
        return now >= self.keys[-1].signs_from + SIGNING_PERIOD - AHEAD


class AssertionKeys:
    """The keys in the store. ``clock`` returns seconds since 1970; ``keyring`` encrypts them.

    Methods raise ``RecordDamaged`` with a sentence that states what to do, and ``StoreUnavailable`` in an outage.
    """

    def __init__(self, store: Store, keyring: Keyring, audit: Audit, clock: Callable[[], float]) -> None:
        self._store = store
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._records = RecordCache(store, COLLECTION, lambda document: read(document, keyring), most=1)
        self._known: OwnKeys | None = None
        self._attempted = 0.0

    def signing(self) -> Key:
        """Return the private key that signs now. In an outage it is the one that this process knows, if any."""
        return self._current().signing(self._now()).pair.private

    def published(self) -> Sequence[Key]:
        """Return the public keys that verifiers need now, that which signs next included."""
        return [key.pair.public for key in self._current().published(self._now())]

    def has(self, kid: str) -> bool:
        """Return whether this is the ``kid`` of one of the keys that are known, or were dropped; raise nothing."""
        try:
            keys = self._records.get(RECORD)
        except StoreUnavailable:
            keys = self._known
        return keys is not None and (kid in keys.dropped or any(key.pair.public.kid == kid for key in keys.keys))

    def maintain(self) -> None:
        """Create the first key if none exists; add the next one and remove old ones when it is time.

        Of several processes at once, one does it.
        """

        def change(document: Document | None, record: Callable[[Event], None]) -> Document:
            now = self._now()
            if document is None:
                keys = OwnKeys([_new(now)])
                record(_event(None, keys.keys[-1]))
            else:
                before = read(document, self._keyring)
                keys = before.rotated(now)
                if keys is before:
                    raise _UnchangedError
                if keys.keys[-1] is not before.keys[-1]:
                    record(_event(before.signing(now), keys.keys[-1]))
            return self._document(document, keys)

        self._change(change)

    def rotate(self, *, at_once: bool) -> OwnKey:
        """Add a key that signs in a day, or ``at_once``, without the overlap: no other key is valid any more.

        Return the new key. Raise ``NotFound`` if the server has created no key yet, and ``Conflict`` if the next key is
        published already.
        """
        added: list[OwnKey] = []

        def change(document: Document | None, record: Callable[[Event], None]) -> Document:
            if document is None:
                raise NotFound("no key exists yet: the server creates it when it starts with GATE_ASSERTION = true")
            now = self._now()
            before = read(document, self._keyring)
            following = before.following(now)
            if following is not None and not at_once:
                raise Conflict(
                    "the next key is published already, and signs from %(time)s; to drop the present key now, add"
                    " --at-once",
                    time=logs.timestamp(following.signs_from / 1000),
                )
            added[:] = [_new(now if at_once else now + AHEAD)]
            record(_event(before.signing(now), added[0]))
            after = OwnKeys([*before.published(now), *added], before.dropped)
            return self._document(document, before.dropped_for(added[0]) if at_once else after)

        self._change(change)
        return added[0]

    def reseal(self) -> None:
        """Encrypt the keys with the present key of the keyring."""

        def change(document: Document | None, _: Callable[[Event], None]) -> Document:
            if document is None:
                raise _UnchangedError
            return resealed(document, self._keyring)

        self._change(change)

    def _change(self, change: Callable[[Document | None, Callable[[Event], None]], Document]) -> None:
        try:
            with contextlib.suppress(_UnchangedError), self._audit.change() as record:
                self._store.update(COLLECTION, RECORD, lambda document: change(document, record))
        except RecordDamaged as error:
            raise _with_remedy(error) from error.__cause__

    def _document(self, stored: Document | None, keys: OwnKeys) -> Document:
        document = {
            **(stored or {"format": 1, "name": RECORD}),
            "keys": [_sealed(key, self._keyring) for key in keys.keys],
        }
        return {**document, "dropped": list(keys.dropped)} if keys.dropped else document

    def _current(self) -> OwnKeys:
        try:
            found = self._records.get(RECORD)
            if found is None:
                self.maintain()
                found = self._records.get(RECORD)
        except RecordDamaged as error:
            # A file that cannot be read need not be damaged.
            if self._known is None or not isinstance(error.__cause__, OSError):
                raise _with_remedy(error) from error.__cause__
            return self._known
        except StoreUnavailable:
            if self._known is None:
                raise
            return self._known
        if found is None:
            raise StoreUnavailable(reason=f"{COLLECTION}/{RECORD} was removed")
        self._known = found
        return found

    def maintain_if_due(self) -> None:
        """Call ``maintain_quietly`` in a thread if a known key is to be rotated or removed.

        So no request waits for the write, and the audit log does not name the user of a request as the actor.
        """
        now = self._clock()
        if abs(now - self._attempted) >= _RETRY and self._known is not None and self._known.is_due(self._now()):
            self._attempted = now
            threading.Thread(target=self.maintain_quietly, name="gate keys", daemon=True).start()

    def maintain_quietly(self) -> None:
        """Call ``maintain``, but only log an outage: at a start, or while another key signs."""
        try:
            self.maintain()
        except StoreUnavailable as error:
            log.warning(logs.event("key of signed identities not created or rotated", reason=error.reason))

    def _now(self) -> int:
        return int(self._clock() * 1000)


def read(document: Document, keyring: Keyring) -> OwnKeys:
    """Return the keys of the record; raise ``RecordDamaged``."""
    members = document.get("keys")
    if document.get("format") != 1 or not isinstance(members, list) or not members:
        raise _damaged("it is not a list of keys of this version")
    dropped = document.get("dropped", [])
    if not isinstance(dropped, list) or not all(isinstance(kid, str) for kid in dropped):
        raise _damaged("dropped is not a list of texts")
    keys = [_read_key(member, keyring) for member in members]
    return OwnKeys(sorted(keys, key=lambda key: key.signs_from), dropped)


def resealed(document: Document, keyring: Keyring) -> Document:
    """Return the record with its keys encrypted with the present key of the keyring; raise ``RecordDamaged``."""
    return {**document, "keys": [_sealed(key, keyring) for key in read(document, keyring).keys]}


def _read_key(member: Any, keyring: Keyring) -> OwnKey:
    kid, sealed, signs_from = (
        member.get(name) if isinstance(member, Mapping) else None for name in ("kid", "private_sealed", "signsFrom")
    )
    if not isinstance(kid, str) or not isinstance(sealed, str) or type(signs_from) is not int:
        raise _damaged("a key lacks kid, private_sealed or signsFrom")
    try:
        text = keyring.decrypt(RECORD, kid, sealed)
    except RecordDamaged as error:
        raise type(error)(reason=f"{COLLECTION}/{error.reason}") from None
    if text == sealed:
        # A backup of such a record would have the key in plain text.
        raise _damaged("a key is not encrypted")
    try:
        pair = key_pair(ALGORITHM, str(text))
    except RuleError:
        raise _damaged("a key is not one for ES256") from None
    return OwnKey(pair, signs_from)


def _sealed(key: OwnKey, keyring: Keyring) -> Document:
    kid = str(key.pair.public.kid)
    text = pem.of_private_key(key.pair.private.material)
    return {"kid": kid, "signsFrom": key.signs_from, "private_sealed": keyring.encrypt(RECORD, kid, text)}


def _new(signs_from: int) -> OwnKey:
    return OwnKey(new_key_pair(), signs_from)


def _event(before: OwnKey | None, after: OwnKey) -> Event:
    return Event(
        kind=Kind.GATE_KEY_ROTATED,
        before=None if before is None else {"kid": before.pair.public.kid},
        after={"kid": after.pair.public.kid, "signs_from": logs.timestamp(after.signs_from / 1000)},
    )


def _damaged(fault: str) -> RecordDamaged:
    return RecordDamaged(reason=f"{COLLECTION}/{RECORD}: {fault}")


def _with_remedy(error: RecordDamaged) -> RecordDamaged:
    # The reason of a missing key has the remedy. To remove the record would be wrong: other nodes can read it.
    return error if isinstance(error, KeyMissing) else RecordDamaged(reason=f"{error.reason}: {_REMEDY}")


class _UnchangedError(Exception):
    """The record stays as it is."""
