"""The per-IP limit: the client address, token buckets by address, and what one request is charged.

Every request pays from the bucket of its client address. Authenticated callers get the payment back, since their use is
limited by their account; requests with invalid credentials pay extra.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from cachetools import LRUCache

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV6_PREFIX_BITS = 64
"""A client with one IPv6 address usually has the other 2^64 of its network as well."""
MAX_BUCKETS = 50_000
"""About 15 MB. The bucket unused for longest is dropped first: it is full again, or nearly."""
FORGERY_COST = 10.0
"""What invalid credentials or an invalid signature cost, in addition to the request itself."""
_KEY = "interalpha.charge"


class TrustedProxies:
    """The proxies in front of this server; X-Forwarded-For counts from them only."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address_of(self, scope: Mapping[str, Any]) -> Address | None:
        """Return the client address of a request; None where the server does not know it.

        Each proxy appends to X-Forwarded-For the address it saw. The header is read from the right for as long as the
        writer is a trusted proxy, so what a client wrote itself, further left, has no effect.
        """
        address = _parse_address(scope["client"][0]) if scope.get("client") else None
        if address is None or not self._is_trusted(address):
            return address
        for text in reversed(_forwarded_for(scope["headers"])):
            forwarded = _parse_address(text)
            if forwarded is None:
                break
            address = forwarded
            if not self._is_trusted(address):
                break
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def limit_key(address: Address | None) -> str:
    """Name the bucket of an address: an IPv4 address, an IPv6 /64, or "" where the server knows no address."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX_BITS), strict=False))
    return str(address or "")


def limit_key_of_host(text: str) -> str:
    """Name the bucket of a host as the server gives it; a text that is no address is a bucket of its own."""
    address = _parse_address(text)
    return text if address is None else limit_key(address)


def _forwarded_for(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    return ",".join(lines).split(",") if lines else []


def _parse_address(text: str) -> Address | None:
    """Read an address with or without a port; an IPv4-mapped IPv6 address is IPv4."""
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


class TokenBuckets:
    """One token bucket per key, in this process only: refilled evenly, and full with `per_minute` tokens."""

    def __init__(
        self, per_minute: float, *, most: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._full = per_minute
        self._clock = clock
        self._levels: LRUCache[Hashable, tuple[float, float]] = LRUCache(most)
        """Tokens left, and when that was."""

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: Hashable, cost: float = 1.0) -> float:
        """Take tokens and return 0; or take nothing and return the seconds until there are enough."""
        left = self._left(key)
        if left < cost:
            return (cost - left) * 60.0 / self._full
        self._set(key, left - cost)
        return 0.0

    def charge(self, key: Hashable, cost: float) -> None:
        """Take tokens even if there are too few; the debt is at most one full bucket."""
        self._set(key, max(self._left(key) - cost, -self._full))

    def refund(self, key: Hashable, cost: float = 1.0) -> None:
        """Put tokens back."""
        self._set(key, min(self._left(key) + cost, self._full))

    def _left(self, key: Hashable) -> float:
        known = self._levels.get(key)
        if known is None:
            return self._full
        left, at = known
        return min(left + (self._clock() - at) * self._full / 60.0, self._full)

    def _set(self, key: Hashable, left: float) -> None:
        if left >= self._full:
            # A full bucket is the default: there is nothing to remember.
            self._levels.pop(key, None)
        else:
            self._levels[key] = (left, self._clock())


class RequestCharge:
    """What one request pays from the bucket of its address: one token when it begins.

    `wait` is the seconds until it could have paid, 0 when it paid. A request that did not pay may be served on credit,
    only to verify its credentials. `is_displaced` says that it took too long to present them.
    """

    def __init__(self, buckets: TokenBuckets | None = None, key: Hashable = "") -> None:
        self._buckets = buckets
        self._bucket_key = key
        self.wait = 0.0 if buckets is None else buckets.take(key)
        self.is_on_credit = self.wait > 0
        self.is_displaced = False
        self.on_refund: Callable[[], None] | None = None
        self._is_settled = self.wait > 0

    def pay_again(self) -> bool:
        """Pay for another operation on the same connection; False if there are too few tokens."""
        return self._buckets is None or self._buckets.take(self._bucket_key) == 0

    def refund(self) -> None:
        """Give the payment back to an authenticated caller, whose account limits its use."""
        if self._buckets is not None and not self._is_settled:
            self._buckets.refund(self._bucket_key)
        self._is_settled, self.is_on_credit = True, False
        if self.on_refund is not None:
            self.on_refund()

    def charge_forgery(self) -> None:
        """Charge for invalid credentials or an invalid signature; a request on credit has nothing to pay with."""
        if self._buckets is not None and not self._is_settled:
            self._buckets.charge(self._bucket_key, FORGERY_COST)
        self._is_settled = True


def charge_of(scope: Mapping[str, Any]) -> RequestCharge:
    """Find the charge of a request; one without cost where no per-IP limit is set up."""
    found = scope.get(_KEY)
    return found if isinstance(found, RequestCharge) else RequestCharge()


def attach_charge(scope: Any, charge: RequestCharge) -> None:
    """Attach a charge to a request, where `charge_of` finds it."""
    scope[_KEY] = charge
