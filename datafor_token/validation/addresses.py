"""Client addresses: one reading of them for the log, the audit, the throttle and the networks of a setting.

An address comes from a socket or from a proxy's ``X-Forwarded-For``, where it can have a port or a zone, or be no
address at all (``unknown``, ``_hidden``; RFC 7239 section 6).
"""

import functools
import ipaddress
from ipaddress import IPv4Address, IPv6Address

_LONGEST = 100  # characters; an IPv6 address with zone and port has fewer
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
# /64s in which each address is another host's: ::1, and what translates IPv4 (RFC 4291 section 2.5.5.1, RFC 8215).
_SINGLE_HOSTS = (ipaddress.IPv6Network("::/64"), ipaddress.IPv6Network("64:ff9b:1::/48"))


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in ``text`` without port and zone, or None where ``text`` is no address.

    An IPv6 address that stands for an IPv4 one (mapped, NAT64, Teredo) is returned as that IPv4 address.
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
    """Return the one spelling of the address in ``text``, empty where ``text`` is no address."""
    address = parse(text)
    return "" if address is None else str(address)


def client_of(text: str) -> str:
    """Return what all addresses of one client have in common: the IPv4 address, or the /64 of an IPv6 address.

    Whatever is no address is one single client, under the empty text.
    """
    address = parse(text)
    if isinstance(address, IPv6Address) and not any(address in network for network in _SINGLE_HOSTS):
        # A customer of a provider has a whole /64 (RFC 6177).
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return "" if address is None else str(address)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.teredo is not None:
        # All clients of a Teredo server share its /64 (RFC 4380 section 4).
        return address.teredo[1]
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address
