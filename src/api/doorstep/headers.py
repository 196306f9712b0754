"""What goes with every answer, whatever it is: nothing here is to be framed, sniffed, kept or sent elsewhere.

https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
"""

from collections.abc import Sequence

from litestar.types import Message, Send

Pairs = Sequence[tuple[bytes, bytes]]

_A_YEAR = 31_536_000
# Pages of ours bring a policy of their own; the rest is no page, and may do nothing if a browser takes it for one.
_STANDING = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def standing_headers(public_base_url: str) -> Pairs:
    """Give the headers of every answer; where the world comes over HTTPS, browsers are told never to come without."""
    https = {"strict-transport-security": f"max-age={_A_YEAR}"} if public_base_url.startswith("https:") else {}
    return [(name.encode(), value.encode()) for name, value in {**_STANDING, **https}.items()]


def with_headers(send: Send, standing: Pairs) -> Send:
    """Add to an answer what it does not say itself."""

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            given = list(message["headers"])
            said = {name.lower() for name, _ in given}
            message["headers"] = [*given, *(pair for pair in standing if pair[0] not in said)]
        await send(message)

    return sending
