"""The check of an application's networks."""

import pytest

from datafor_token.applications.record import Application
from datafor_token.errors import Message
from datafor_token.tokens.networks import Client, check_network
from datafor_token.tokens.verifier import Refused
from tests.support import application


def erp(*networks: str) -> Application:
    """Return an application with these networks."""
    return Application.from_document({**application(networks=list(networks)), "createdDate": 1})


@pytest.mark.parametrize(
    ("networks", "address", "accepted"),
    [
        (["10.0.0.0/8"], "10.255.255.255", True),
        (["10.0.0.0/8"], "11.0.0.0", False),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:a01:203", True),
        (["10.0.0.0/8"], "[::ffff:10.1.2.3]:8080", True),
        (["10.0.0.0/8"], "::ffff:11.1.2.3", False),
        (["10.0.0.0/8"], "::10.1.2.3", False),
        (["::ffff:10.0.0.0/104"], "10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "11.1.2.3", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["2001:db8:1::/48"], "2001:db8:1:ffff::1", True),
        (["2001:db8:1::/48"], "2001:db8:2::1", False),
        (["2001:db8:1::/48"], "2001:DB8:1:0::1%eth0", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["2001:db8::1"], "2001:db8::1", True),
        (["2001:db8::1"], "2001:db8::2", False),
        (["192.0.2.0/24", "2001:db8::/32"], "2001:db8::9", True),
        (["192.0.2.0/24", "2001:db8::/32"], "192.0.2.9", True),
        (["192.0.2.0/24", "2001:db8::/32"], "198.51.100.9", False),
        (["0.0.0.0/0"], "192.0.2.9", True),
        (["0.0.0.0/0"], "2001:db8::9", False),
        (["::/0"], "2001:db8::9", True),
        (["::/0"], "192.0.2.9", False),
        (["0.0.0.0/0", "::/0"], "", False),
        (["0.0.0.0/0", "::/0"], "unknown", False),
    ],
)
def test_networks(networks: list[str], address: str, accepted: bool) -> None:
    """A client is accepted in one of the networks; an IPv4-mapped address or network is its IPv4 one."""
    if accepted:
        assert check_network(erp(*networks), lambda: Client(address)).ok
        return
    with pytest.raises(Refused) as refused:
        check_network(erp(*networks), lambda: Client(address))
    assert (refused.value.reason, refused.value.step.step, refused.value.step.ok) == ("network", "network", False)


def test_the_sentences() -> None:
    """The step names the client's address and the networks, or why the address is not known."""
    one = erp("10.0.0.0/8", "2001:db8::/32")
    with pytest.raises(Refused) as outside:
        check_network(one, lambda: Client("192.0.2.1"))
    assert outside.value.step.detail == (
        "the client's address is 192.0.2.1; ERP accepts tokens only from 10.0.0.0/8, 2001:db8::/32"
    )
    with pytest.raises(Refused) as unknown:
        check_network(one, lambda: Client("10.0.0.1", Message("it hides")))
    assert unknown.value.step.detail == "ERP accepts tokens only from its networks; it hides"
    inside = check_network(one, lambda: Client("10.0.0.1"))
    assert inside.detail == "the client's address 10.0.0.1 is in the networks of ERP"
    unchecked = check_network(one, None)
    assert unchecked.detail == "not checked here: ERP accepts tokens only from 10.0.0.0/8, 2001:db8::/32"
