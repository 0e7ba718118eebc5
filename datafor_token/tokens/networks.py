"""Networks of an application: its tokens, and the sessions and tickets for them, are accepted only from clients there.

The check is done at each use and never cached, because the same token can arrive from anywhere.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from datafor_token.applications.record import Application
from datafor_token.errors import Message
from datafor_token.tokens.verifier import Refused, Step, if_reported, passed
from datafor_token.validation import addresses
from datafor_token.validation.addresses import Network


class Client(NamedTuple):
    """The client of a request: its address, or the sentence that says why its address is not known."""

    address: str
    unknown: Message | None = None


ClientSource = Callable[[], Client]


def check_network(application: Application, client: ClientSource | None) -> Step:
    """Check that the client is in one of the networks of an application that has some.

    ``None``: not on behalf of a client, so that the network is not checked. Raises ``Refused``, unless the rule is only
    reported.
    """
    try:
        return _check(application, client)
    except Refused as refused:
        return if_reported(application, "networks", refused)


def _check(application: Application, client: ClientSource | None) -> Step:
    networks, name = application.networks or (), application.name
    if client is None:
        return passed(
            "network",
            lambda: Message(
                "not checked here: %(name)s accepts tokens only from %(networks)s",
                name=name,
                networks=_listed(networks),
            ),
        )
    found = client()
    if found.unknown is not None:
        raise Refused(
            "network",
            "network",
            Message("%(name)s accepts tokens only from its networks; %(cause)s", name=name, cause=found.unknown),
        )
    address = addresses.parse(found.address)
    if address is None or not any(address in network for network in networks):
        detail = Message(
            "the client's address is %(address)s; %(name)s accepts tokens only from %(networks)s",
            address=found.address,
            name=name,
            networks=_listed(networks),
        )
        raise Refused("network", "network", detail)
    return passed(
        "network",
        lambda: Message(
            "the client's address %(address)s is in the networks of %(name)s", address=found.address, name=name
        ),
    )


def _listed(networks: Sequence[Network]) -> str:
    return ", ".join(map(str, networks))
