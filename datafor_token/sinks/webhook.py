"""Webhook, as Standard Webhooks (https://www.standardwebhooks.com) describes: signed POST requests, one per event."""

import base64
import hashlib
import hmac
from collections.abc import Callable

from datafor_token.providers.client import Channel, Client, FetchError
from datafor_token.sinks.outputs import SinkError
from datafor_token.sinks.queue import Entry
from datafor_token.validation import urls

SECONDS = 15.0  # for a request and its response


class Webhook:
    """The receiver at a URL; ``secrets`` are those of ``AUDIT_WEBHOOK_SECRET``, and each signs every event.

    ``clock`` returns seconds since 1970.
    """

    def __init__(self, url: str, secrets: str, clock: Callable[[], float], ca_file: str) -> None:
        self._keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets.split()]
        self._clock = clock
        self._channel = Channel(Client(ca_file, (), SECONDS), urls.parse(url, ()))

    def send(self, entry: Entry) -> None:
        """See ``Sink``."""
        identifier, time = f"msg_{entry.id}", int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(time),
            "webhook-signature": " ".join(signature(key, identifier, time, entry.line) for key in self._keys),
        }
        try:
            self._channel.post(headers, entry.line)
        except FetchError as error:
            raise SinkError(str(error)) from None

    def close(self) -> None:
        """See ``Sink``."""
        self._channel.close()


def signature(key: bytes, identifier: str, time: int, body: bytes) -> str:
    """Return the signature of a message whose time is in seconds since 1970."""
    digest = hmac.digest(key, f"{identifier}.{time}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
