"""Which proxy an address is reached through, as the environment says; what is on this machine is called directly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

from yarl import URL

# Whatever proxy the environment names, a simulator here would not be found from there.
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and what signs in to it: never a part of the address, which errors and logs show."""

    address: URL
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class Proxies:
    """The proxies of the environment as it is now: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and NO_PROXY."""

    def __init__(self) -> None:
        self._by_scheme: Mapping[str, Proxy] = {scheme: _read(text) for scheme, text in getproxies().items() if text}
        self._known: dict[tuple[str, str], Proxy | None] = {}

    def of(self, address: URL) -> Proxy | None:
        """The proxy for an address; None where it is called directly."""
        if not self._by_scheme or address.host is None:
            return None
        place = (address.scheme, address.host)
        if place not in self._known:
            self._known[place] = self._find(*place)
        return self._known[place]

    def _find(self, scheme: str, host: str) -> Proxy | None:
        if host in _THIS_MACHINE or proxy_bypass(host):
            return None
        return self._by_scheme.get(scheme) or self._by_scheme.get("all")


def _read(text: str) -> Proxy:
    address = URL(text if "://" in text else f"http://{text}")
    return Proxy(address.with_user(None), address.user, address.password)
