"""Parsing of client addresses."""

import io
from dataclasses import replace

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token import create_app
from datafor_token.audit.filters import Filter
from datafor_token.settings import Settings
from datafor_token.validation import addresses
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.support import ADMIN_PASSWORD, Clock, basic


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:5678", "10.0.0.1"),
        (" 10.0.0.1 ", "10.0.0.1"),
        ('"10.0.0.1:5678"', "10.0.0.1"),
        ("[10.0.0.1]:5678", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("[::ffff:10.0.0.1]:5678", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("64:ff9b::10.0.0.1", "10.0.0.1"),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", "10.0.0.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("::", "::"),
        ("::1", "::1"),
        *((text, "") for text in (
            "", "unknown", "_hidden", "localhost", "unix:", "10.0.0", "010.0.0.1", "10.0.0.1:http", "10.0.0.1:", ":443",
            "10.0.0.1,10.0.0.2", "::1::2", ":", "[]:443", "%eth0", "1" * 10_000, "\N{ARABIC-INDIC DIGIT ONE}.1.1.1",
        )),
    ],
)  # fmt: skip
def test_an_address_is_normalized(text: str, address: str) -> None:
    """Port, brackets, quotes, zone and upper case are removed; an IPv4 address within IPv6 is that IPv4 address."""
    assert addresses.normalize(text) == address


@given(st.text(max_size=60) | st.ip_addresses().map(str))
def test_any_text_has_a_client(text: str) -> None:
    """Every text has a client, and the normalized address is the same client."""
    found = addresses.normalize(text)
    assert addresses.normalize(found) == found
    assert addresses.client_of(text) == addresses.client_of(found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ("2001:db8:1:2::1", "[2001:db8:1:2::7]:443"),
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("10.0.0.1:1", "10.0.0.1:2"),
        ("unknown", ""),
        ("unknown", "_x:1"),
    ],
)
def test_one_client(one: str, other: str) -> None:
    """The addresses of an IPv6 /64, the ports of an address, and all other texts are one client each."""
    assert addresses.client_of(one) == addresses.client_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2"),
        ("::10.0.0.1", "::10.0.0.2"),
        ("::1", "::"),
        ("::", "unknown"),
        ("64:ff9b::10.0.0.1", "64:ff9b::10.0.0.2"),
        ("64:ff9b:1::10.0.0.1", "64:ff9b:1::10.0.0.2"),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:0:4136:e378:8000:63bf:f5ff:fffd"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("2002:a00:1::1", "2002:a00:2::1"),
    ],
)
def test_different_clients(one: str, other: str) -> None:
    """Hosts that share a /64 only in form (mapped, compatible or translated IPv4, loopback) are different clients."""
    assert addresses.client_of(one) != addresses.client_of(other)


def guess(caller: Caller, forwarded: str, password: str = "wrong") -> int:
    headers = {**basic("admin", password), "X-Forwarded-For": forwarded}
    return caller.get("list", headers, environ_base={"REMOTE_ADDR": "::ffff:127.0.0.1"}).status_code


@pytest.fixture
def behind_a_proxy(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    app = create_app(replace(settings, trusted_proxies=1), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    return Caller(app.test_client())


@pytest.mark.parametrize(
    "spelling",
    [
        "10.0.0.1:{}",
        "[2001:db8::1]:{}",
        "[2001:db8::{}]:443",
        "::ffff:10.0.0.1",
        "unknown",
        "_hidden{}",
        "fe80::{}%eth0",
    ],
)
def test_no_spelling_escapes_the_throttle(behind_a_proxy: Caller, spelling: str) -> None:
    """Whatever a proxy writes into X-Forwarded-For, the eleventh guess of one client is 429."""
    statuses = [guess(behind_a_proxy, spelling.format(1000 + number)) for number in range(11)]
    assert statuses == [401] * 10 + [429]


def test_a_dual_stack_listener_tells_ipv4_clients_apart(caller: Caller) -> None:
    """On ``[::]`` IPv4 clients connect as ``::ffff:a.b.c.d``; the guesses of one do not lock out another."""
    for _ in range(10):
        caller.get("list", basic("admin", "wrong"), environ_base={"REMOTE_ADDR": "::ffff:10.0.0.1"})
    for address, status in (("::ffff:10.0.0.1", 429), ("10.0.0.1", 429), ("::ffff:10.0.0.2", 200)):
        response = caller.get("list", basic(), environ_base={"REMOTE_ADDR": address})
        assert response.status_code == status


def test_log_and_audit_have_the_same_address(app: Flask, caller: Caller, log: io.StringIO) -> None:
    """The log and the audit have the normalized address."""
    caller.get("list", basic("admin", "wrong"), environ_base={"REMOTE_ADDR": "::ffff:10.0.0.1"})
    assert " address=10.0.0.1" in log.getvalue()
    with app.app_context():
        event = services().audit.page(Filter()).events[0]
    assert event["address"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "status"),
    [("::ffff:127.0.0.1", 200), ("127.0.0.1:1", 200), ("::1%lo", 200), ("::ffff:10.0.0.1", 403), ("unknown", 403)],
)
def test_networks_compare_the_same_address(caller: Caller, address: str, status: int) -> None:
    """METRICS_ALLOW is compared with the normalized address."""
    assert caller.client.get("/metrics", environ_base={"REMOTE_ADDR": address}).status_code == status
