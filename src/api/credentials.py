"""Where a request carries its credentials: a header some program wrote, or a cookie browsers send by themselves."""

from collections.abc import Mapping, Sequence

from api.edge import bearer_token


class CookieToken(str):
    """A token nobody meant to send: whatever page made the browser ask, it came along."""

    __slots__ = ()


def token_of(headers: Mapping[str, str], cookies: Sequence[str]) -> str | None:
    """Take the token of a request, the header's before a cookie's; `cookies` are the names to look for, best first.

    Raises Unauthenticated for a header of another kind.
    """
    if token := bearer_token(headers.get("authorization")):
        return token
    if not cookies or not _may_use_cookies(headers.get("origin"), headers.get("sec-fetch-site")):
        return None
    sent = _parse(headers.get("cookie", ""))
    return next((CookieToken(sent[name]) for name in cookies if sent.get(name)), None)


def _may_use_cookies(origin: str | None, fetch_site: str | None) -> bool:
    """Whether a page of the same site asks, as browsers say themselves; without a word only what no page can send."""
    if fetch_site is not None:
        return fetch_site in ("same-origin", "same-site")
    return origin is None


def _parse(header: str) -> dict[str, str]:
    """Read a Cookie header; one broken pair spoils no other, and of a name that comes twice the first counts."""
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found
