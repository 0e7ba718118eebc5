"""Webhook, against the specification's example and a real receiver."""

import base64

import pytest

from datafor_token.sinks.outputs import SinkError
from datafor_token.sinks.queue import Entry, Position
from datafor_token.sinks.webhook import Webhook, signature
from tests.sinks.receiver import SECRET, receiving
from tests.support import Clock

ENTRY = Entry("0123abcd", b'{"event":"sign_in"}', Position("", 0))


def test_the_specifications_example() -> None:
    """A signature is that of the reference implementation of Standard Webhooks for the same message."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    # https://github.com/standard-webhooks/standard-webhooks: libraries/python/tests/test_webhooks.py
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_request() -> None:
    """The body is the event; headers have its identifier, the time of the attempt, and a signature of each secret."""
    with receiving() as receiver:
        clock = Clock()
        other = "whsec_" + base64.b64encode(b"x" * 24).decode()
        webhook = Webhook(receiver.url, f"{SECRET} {other}", clock, "")
        webhook.send(ENTRY)
        clock.advance(5.5)
        webhook.send(ENTRY)
        webhook.close()
        first, second = receiver.next(), receiver.next()
    assert first.body == ENTRY.line
    assert first.headers["content-type"] == "application/json"
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "msg_0123abcd"
    assert [one.headers["webhook-timestamp"] for one in (first, second)] == ["1722929516", "1722929521"]
    keys = [base64.b64decode(secret[6:]) for secret in (SECRET, other)]
    expected = [signature(key, "msg_0123abcd", 1722929516, ENTRY.line) for key in keys]
    assert first.headers["webhook-signature"].split() == expected
    assert first.port == second.port, "the connection stays open"


@pytest.mark.parametrize("status", [204, 301, 400, 410, 429, 500])
def test_a_status(status: int) -> None:
    """Only a status of 2xx is a success; an error does not have the path of the URL, and no redirect is followed."""
    with receiving() as receiver:
        receiver.status = status
        receiver.location = receiver.url
        webhook = Webhook(receiver.url, SECRET, Clock(), "")
        if status == 204:
            webhook.send(ENTRY)
        else:
            with pytest.raises(SinkError, match=str(status)) as caught:
                webhook.send(ENTRY)
            assert "events" not in str(caught.value)
            assert not caught.value.forever
        webhook.close()
        receiver.next()
        assert receiver.requests.empty()


def test_a_restart_of_the_receiver() -> None:
    """After the receiver has closed the connection, the next event is sent over another one."""
    with receiving() as receiver:
        url, port = receiver.url, receiver.server_address[1]
        webhook = Webhook(url, SECRET, Clock(), "")
        webhook.send(ENTRY)
    with pytest.raises(SinkError, match="cannot be connected to"):
        webhook.send(ENTRY)
    with receiving(port) as receiver:
        webhook.send(ENTRY)
        assert receiver.next().body == ENTRY.line
    webhook.close()
