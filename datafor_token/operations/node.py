"""Node of an installation: its name, and what must be the same on all of them: version, keys, settings, clock."""

import hashlib
import hmac
import json
from typing import Any, NamedTuple

from datafor_token import __version__
from datafor_token.crypto.at_rest import Keyring
from datafor_token.metrics.counters import Metrics
from datafor_token.operations.clock import difference
from datafor_token.settings import Settings, shared_values
from datafor_token.store.base import CLOCK_TOLERANCE, Store

_LENGTH = 16  # hexadecimal digits


class Node(NamedTuple):
    """The members are those of ``/readyz``; no key and no setting can be computed from them.

    ``key`` is the name of the key that encrypts, ``other_keys`` are those that only decrypt.
    """

    node: str
    version: str
    key: str
    other_keys: tuple[str, ...]
    settings: str

    @classmethod
    def of(cls, settings: Settings, keyring: Keyring) -> "Node":
        """Return this node."""
        text = json.dumps(shared_values(settings), sort_keys=True)
        # With a key: otherwise a password in a setting could be guessed.
        fingerprint = hmac.digest(keyring.derive("settings"), text.encode(), hashlib.sha256).hex()[:_LENGTH]
        others = tuple(name for name in keyring.identifiers if name != keyring.identifier)
        return cls(settings.node_name, __version__, keyring.identifier, others, fingerprint)

    def to_response(self, store: Store) -> dict[str, Any]:
        """Return the members of ``/readyz``."""
        offset = store.clock_offset
        warnings = [] if abs(offset) <= CLOCK_TOLERANCE else [f"{difference(offset)}: synchronise both by NTP"]
        return {**self._asdict(), "clock_offset": round(offset, 3), "warnings": warnings}

    def measure(self, metrics: Metrics, store: Store) -> None:
        """Add the node and its clock to the metrics."""
        labels = (self.node, self.version, self.key, ",".join(self.other_keys), self.settings)
        metrics.add_gauge("node_info", lambda: {labels: 1})
        metrics.add_gauge("clock_offset_seconds", lambda: {(): store.clock_offset})
