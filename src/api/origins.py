"""Whether a request comes from a page that may make it: browsers say so, and pages cannot make them lie."""

from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from core.settings.addresses import is_loopback


def is_welcome(
    *, origin: str | None, host: str | None, fetch_site: str | None, allowed_origins: AbstractSet[str]
) -> bool:
    """Let in what is no page at all, a page of ours, or a page of an allowed origin."""
    if origin is None and fetch_site is None:
        return True
    if not _is_ours(host or "", allowed_origins):
        return False
    if fetch_site in ("same-origin", "none"):
        return True
    if origin is None:
        # A browser that tells where a page stands would have sent an Origin with anything but a plain GET.
        return False
    # Behind a proxy that ends TLS the schemes differ; the host is what makes a page ours.
    return origin in allowed_origins or urlsplit(origin).netloc == host


def _is_ours(host: str, allowed_origins: AbstractSet[str]) -> bool:
    """Whether a page may call us by this name: where all of ours mean this machine, no other name may lead here.

    Somebody else's name can be made to lead to this machine, and then their page is "same-origin". Elsewhere TLS holds
    a name to its owner, and a proxy may call us as it likes.
    """
    if not all(is_loopback(one) for one in allowed_origins):
        return True
    return is_loopback(f"http://{host}")
