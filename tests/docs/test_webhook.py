"""The example of a receiver in docs/audit.md, which verifies real requests of the webhook."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datafor_token.settings_sources import load_settings
from datafor_token.sinks.queue import Entry, Position
from datafor_token.sinks.webhook import Webhook
from tests.docs import pages
from tests.sinks.receiver import SECRET, Received, receiving

PAGE = "docs/audit.md"
OTHER = "whsec_bm90IHRoZSBzZWNyZXQgb2YgdGhlIHRlc3Q="
Verify = Callable[[dict[str, str], bytes, str], None]


@pytest.fixture
def verify() -> Verify:
    """Return the function of the page."""
    (block,) = pages.blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - the documented code
    return names["verify"]  # type: ignore[no-any-return]


def request(secrets: str, age: float = 0) -> Received:
    """Return a request of the webhook."""
    with receiving() as receiver:
        webhook = Webhook(receiver.url, secrets, lambda: time.time() - age, "")
        webhook.send(Entry("0123", b'{"event":"sign_in"}', Position("", 0)))
        webhook.close()
        return receiver.next()


@pytest.mark.parametrize("secrets", [SECRET, f"{SECRET} {OTHER}", f"{OTHER} {SECRET}"])
def test_a_request_is_verified(verify: Verify, secrets: str) -> None:
    """The example accepts a request that one of the secrets has signed."""
    received = request(secrets)
    verify(received.headers, received.body, SECRET)


def test_a_forged_request(verify: Verify) -> None:
    """The example refuses another secret, body, identifier or time, and an old request."""
    received = request(SECRET)
    for headers, body, secret in (
        ({}, received.body, OTHER),
        ({}, b'{"event":"sign_out"}', SECRET),
        ({"webhook-id": "msg_4567"}, received.body, SECRET),
        ({"webhook-timestamp": str(int(received.headers["webhook-timestamp"]) - 1)}, received.body, SECRET),
    ):
        with pytest.raises(ValueError, match="wrong signature"):
            verify({**received.headers, **headers}, body, secret)
    old = request(SECRET, age=301)
    with pytest.raises(ValueError, match="too old"):
        verify(old.headers, old.body, SECRET)


def test_the_settings_of_the_page(tmp_path: Path) -> None:
    """The service accepts the example of settings."""
    (example,) = pages.blocks(PAGE, "toml")
    (tmp_path / "settings.toml").write_text(example)
    assert load_settings(tmp_path, {}).audit_webhook_secret == SECRET
