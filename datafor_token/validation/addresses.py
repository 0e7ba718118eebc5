"""Client addresses, parsed in one way for the log, the audit, the throttle and settings.

An address comes from a socket or from a proxy's ``X-Forwarded-For``. There it may have a port or a zone, or not be an
address at all (``unknown``, ``_hidden``; RFC 7239 section 6).
"""

import functools
import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from datafor_token.errors import RuleError

Network = IPv4Network | IPv6Network
_LONGEST = 100  # characters; an IPv6 address with zone and port has fewer
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
# Networks whose /64s belong to many hosts: ::1, and translated IPv4 addresses (RFC 4291 section 2.5.5.1, RFC 8215).
_SINGLE_HOSTS = (ipaddress.IPv6Network("::/64"), ipaddress.IPv6Network("64:ff9b:1::/48"))


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in ``text`` without port and zone, or None if ``text`` is not an address.

    An IPv6 address that contains an IPv4 address (mapped, NAT64, Teredo) is returned as that IPv4 address.
    """
    if len(text) > _LONGEST:
        return None
    text = text.strip(' "')
    host, colon, port = text.rpartition(":")
    # The whole text first: the end of an IPv6 address without brackets looks like a port.
    for candidate in (text, host) if colon and port.isdecimal() else (text,):
        bare = candidate.removeprefix("[").removesuffix("]").partition("%")[0]
        try:
            return _unwrapped(ipaddress.ip_address(bare))
        except ValueError:
            continue
    return None


def normalize(text: str) -> str:
    """Return the canonical form of the address in ``text``, or an empty text if it is not an address."""
    address = parse(text)
    return "" if address is None else str(address)


def client_of(text: str) -> str:
    """Return the identity of a client: its IPv4 address, or the /64 of its IPv6 address.

    All texts that are not addresses count as one client, the empty text.
    """
    address = parse(text)
    if isinstance(address, IPv6Address) and not any(address in network for network in _SINGLE_HOSTS):
        # A provider assigns at least a whole /64 to a customer (RFC 6177).
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return "" if address is None else str(address)


def parse_network(text: str) -> Network:
    """Return a network in CIDR notation, or that of one address; raise ``RuleError``.

    An IPv4-mapped IPv6 network is its IPv4 network, as ``parse`` returns its addresses.
    """
    try:
        # Without a zone, as ``parse`` returns addresses without theirs.
        network = ipaddress.ip_network("" if "%" in text else text, strict=False)
    except ValueError:
        raise RuleError(
            "must be a list of networks such as 10.0.0.0/8, or addresses; '%(text)s' is neither", text=text[:64]
        ) from None
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise RuleError(
            "must be a list of networks: '%(text)s' has host bits; for the network, write %(network)s",
            text=text,
            network=str(network),
        )
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
    return network


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.teredo is not None:
        # All clients of a Teredo server share its /64 (RFC 4380 section 4).
        return address.teredo[1]
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address
