"""Whether a request comes from a page that may make it: browsers say so, and pages cannot make them lie."""

from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit


def is_welcome(
    *, origin: str | None, host: str | None, fetch_site: str | None, allowed_origins: AbstractSet[str]
) -> bool:
    """Let in what is no page at all, a page of ours, or a page of an allowed origin."""
    if fetch_site in ("same-origin", "none"):
        return True
    if origin is None:
        # A browser that tells where a page stands would have sent an Origin with anything but a plain GET.
        return fetch_site is None
    # Behind a proxy that ends TLS the schemes differ; the host is what makes a page ours.
    return origin in allowed_origins or urlsplit(origin).netloc == host
