"""Which address a request comes from: the other end of its connection, or what a proxy we trust says of that."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ONE_HOUSEHOLD = 64
"""Bits: whoever has one IPv6 address has the other 2^64 of its network as well."""


class Neighbourhood:
    """Knows the proxies that stand before this server; everybody else's X-Forwarded-For is hearsay."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address_of(self, scope: Mapping[str, Any]) -> Address | None:
        """Say where a request comes from; None where the server does not know.

        Proxies add to the right of X-Forwarded-For what they saw, so it is read from there, for as long as who wrote
        it is trusted: what a stranger wrote further left counts for nothing.
        """
        address = _read(scope["client"][0]) if scope.get("client") else None
        if address is None or not self._is_trusted(address):
            return address
        for text in reversed(_forwarded_for(scope["headers"])):
            said = _read(text)
            if said is None:
                break
            address = said
            if not self._is_trusted(address):
                break
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def household(address: Address | None) -> str:
    """Name whoever shares a budget: an IPv4 address, a /64 of IPv6, or all whom the server cannot tell apart."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _ONE_HOUSEHOLD), strict=False))
    return str(address or "")


def household_named(text: str) -> str:
    """Name the household of a host as the server names it; what is no address, a socket's path say, is its own."""
    address = _read(text)
    return text if address is None else household(address)


def _forwarded_for(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    return ",".join(lines).split(",") if lines else []


def _read(text: str) -> Address | None:
    """Read an address, with a port or without; one that is IPv4 in IPv6's clothes is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
