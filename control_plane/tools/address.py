"""Which addresses a tool may be reached at. Pure.

What is inside the network is refused unless it is listed: a policy's tool is asked in words
that a model has written, and must not become a way to the control plane's neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

# Reachable from inside a cloud only, though it looks public.
_METADATA: Final = frozenset({ip_address("168.63.129.16")})
# IPv6 prefixes that carry an IPv4 address in their last 32 bits (RFC 6052, RFC 4291).
_CARRIES_IPV4: Final = (ip_network("64:ff9b::/96"), ip_network("::/96"))
_SIX_TO_FOUR: Final = ip_network("2002::/16")


def check_allowed(allow: Iterable[str]) -> None:
    """Raises ValueError for an entry of an allow-list that is no host, address or network."""
    for entry in allow:
        if "/" in entry:
            ip_network(entry, strict=False)
        elif not entry or any(c.isspace() or c in "@?#[]" for c in entry):
            raise ValueError(f"{entry!r} is no host, address or network")


def chosen(host: str, found: Sequence[str], allow: Iterable[str]) -> str | None:
    """The first of the addresses that `host` was resolved to, if it may be connected to.

    One that may not spoils all of them: a name that leads inside and outside is a trick.
    """
    listed = list(allow)
    if not found:
        return None
    by_name = host.lower().rstrip(".") in {entry.lower().rstrip(".") for entry in listed}
    if by_name or all(_permitted(ip_address(text.partition("%")[0]), listed) for text in found):
        return found[0]
    return None


def is_inside(address: Address) -> bool:
    """Private, loopback, link-local, shared, multicast, reserved or of a cloud's own."""
    address = _plain(address)
    return not address.is_global or address.is_multicast or address in _METADATA


def _permitted(address: Address, allow: Iterable[str]) -> bool:
    return not is_inside(address) or any(_covers(entry, _plain(address)) for entry in allow)


def _covers(entry: str, address: Address) -> bool:
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return False
    return address.version == network.version and address in network


def _plain(address: Address) -> Address:
    """The IPv4 address within an IPv6 one, where that is what is reached."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _SIX_TO_FOUR and address.sixtofour is not None:
        return address.sixtofour
    for network in _CARRIES_IPV4:
        if isinstance(network, IPv6Network) and address in network and int(address) > 1:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
