"""The per-IP limit: client addresses, token buckets, and what one request is charged."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from cachetools import LRUCache

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV6_PREFIX_BITS = 64
"""Bits: whoever has one IPv6 address has the other 2^64 of its network as well."""


class TrustedProxies:
    """Knows the proxies that stand before this server; everybody else's X-Forwarded-For is hearsay."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address_of(self, scope: Mapping[str, Any]) -> Address | None:
        """Say where a request comes from; None where the server does not know.

        Proxies add to the right of X-Forwarded-For what they saw, so it is read from there, for as long as who wrote
        it is trusted: what a stranger wrote further left counts for nothing.
        """
        address = _parse_address(scope["client"][0]) if scope.get("client") else None
        if address is None or not self._is_trusted(address):
            return address
        for text in reversed(_forwarded_for(scope["headers"])):
            said = _parse_address(text)
            if said is None:
                break
            address = said
            if not self._is_trusted(address):
                break
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def limit_key(address: Address | None) -> str:
    """Name whoever shares a budget: an IPv4 address, a /64 of IPv6, or all whom the server cannot tell apart."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX_BITS), strict=False))
    return str(address or "")


def limit_key_of_host(text: str) -> str:
    """Name the household of a host as the server names it; what is no address, a socket's path say, is its own."""
    address = _parse_address(text)
    return text if address is None else limit_key(address)


def _forwarded_for(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    return ",".join(lines).split(",") if lines else []


def _parse_address(text: str) -> Address | None:
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


# A token bucket for each of many: filled evenly, never fuller than a minute's worth, and never too many of them.


MAX_BUCKETS = 50_000
"""About 15 MB. The one left alone longest is forgotten first: it has filled up since, or nearly."""


class TokenBuckets:
    """What each may still spend; kept in this process alone."""

    def __init__(
        self, per_minute: float, *, most: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._full = per_minute
        self._clock = clock
        self._kept: LRUCache[Hashable, tuple[float, float]] = LRUCache(most)

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, who: Hashable, cost: float = 1.0) -> float:
        """Pay, and return 0; or return the seconds until there is enough, nothing paid."""
        left = self._left(who)
        if left < cost:
            return (cost - left) * 60.0 / self._full
        self._keep(who, left - cost)
        return 0.0

    def charge(self, who: Hashable, cost: float) -> None:
        """Take what must be paid, into debt if need be; no debt is larger than a full purse."""
        self._keep(who, max(self._left(who) - cost, -self._full))

    def give_back(self, who: Hashable, cost: float = 1.0) -> None:
        """Undo a payment."""
        self._keep(who, min(self._left(who) + cost, self._full))

    def _left(self, who: Hashable) -> float:
        known = self._kept.get(who)
        if known is None:
            return self._full
        left, at = known
        return min(left + (self._clock() - at) * self._full / 60.0, self._full)

    def _keep(self, who: Hashable, left: float) -> None:
        if left >= self._full:
            # A full purse is what everybody has.
            self._kept.pop(who, None)
            return
        self._kept[who] = (left, self._clock())


# One request and the per-IP limit: strangers pay, authenticated callers are refunded, bad credentials cost extra.


FORGERY_COST = 10.0
"""What credentials nobody believes cost, beside the request itself."""
_KEY = "interalpha.visit"


class RequestCharge:
    """Takes one payment when it begins; `wait` is how many seconds too early it came, 0 where it was paid.

    One that was not paid may be let in on credit, to show credentials: nothing but these gets it further.
    `is_displaced` says that it took too long to show them.
    """

    def __init__(self, purses: TokenBuckets | None = None, who: Hashable = "") -> None:
        self._purses = purses
        self._who = who
        self.wait = 0.0 if purses is None else purses.take(who)
        self.is_on_credit = self.wait > 0
        self.is_displaced = False
        self.on_believed: Callable[[], None] | None = None
        self._is_settled = self.wait > 0

    def goes_on(self) -> bool:
        """Pay once more, for something else that is asked in the same visit; False where there is not enough."""
        return self._purses is None or self._purses.take(self._who) == 0

    def believed(self) -> None:
        """Give the payment back: what known callers may do is counted for themselves, not for their address."""
        if self._purses is not None and not self._is_settled:
            self._purses.give_back(self._who)
        self._is_settled, self.is_on_credit = True, False
        if self.on_believed is not None:
            self.on_believed()

    def disbelieved(self) -> None:
        """Charge for credentials or a signature that were no good; what came on credit has nothing to pay with."""
        if self._purses is not None and not self._is_settled:
            self._purses.charge(self._who, FORGERY_COST)
        self._is_settled = True


def charge_of(scope: Mapping[str, Any]) -> RequestCharge:
    """Find the visit of a request; one that costs nothing where nobody stands on the doorstep."""
    found = scope.get(_KEY)
    return found if isinstance(found, RequestCharge) else RequestCharge()


def attach_charge(scope: Any, visit: RequestCharge) -> None:
    """Let whoever handles a request find its visit."""
    scope[_KEY] = visit
