"""One HTTP request and its response: reading, content negotiation, allowed origins, CORS."""

import asyncio
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from litestar.types import HTTPScope, Receive, Send

from api.http.ip_limit import charge_of, limit_key_of_host
from core.masking import contains_address
from core.settings.addresses import is_loopback
from core.words import say

_LANGUAGE = re.compile(r"[a-z]{1,8}(-[a-z0-9]{1,8})*")
_MOST_LANGUAGES = 10


class MediaType(StrEnum):
    """What we can answer with, first choice first."""

    JSON = "application/json"
    GRAPHQL = "application/graphql-response+json"
    EVENTS = "text/event-stream"


def negotiate(accept: str | None) -> MediaType | None:
    """Choose by quality, then by how exactly the client named it, then by its order; None if nothing will do."""
    if accept is None or not accept.strip():
        return MediaType.JSON
    wishes = [_parse_choice(wish) for wish in accept.split(",")]
    best: tuple[tuple[float, int, int], MediaType] | None = None
    for offer in MediaType:
        rank = _rank(offer, wishes)
        if rank[0] > 0 and (best is None or rank > best[0]):
            best = (rank, offer)
    return best and best[1]


def languages_of(accept_language: str | None) -> tuple[str, ...]:
    """Read the languages a client wants, best first, in lower case; none if it does not care."""
    wishes = [_parse_choice(wish) for wish in (accept_language or "").split(",")[:_MOST_LANGUAGES]]
    wanted = [(language, quality) for language, quality in wishes if quality > 0 and _LANGUAGE.fullmatch(language)]
    return tuple(language for language, _ in sorted(wanted, key=lambda wish: -wish[1]))


def media_type_of(content_type: str | None) -> tuple[str, str | None]:
    """Read a Content-Type: the type in lower case, and the charset if one is given."""
    media_type, *parameters = (content_type or "").split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return media_type.strip().lower(), value.strip().strip('"').lower()
    return media_type.strip().lower(), None


def _parse_choice(wish: str) -> tuple[str, float]:
    media_range, *parameters = wish.split(";")
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media_range.strip().lower(), quality


def _rank(offer: MediaType, wishes: list[tuple[str, float]]) -> tuple[float, int, int]:
    """The most exact wish decides: quality, exactness, and how early it stands."""
    for exactness, media_range in ((2, offer.value), (1, offer.partition("/")[0] + "/*"), (0, "*/*")):
        for place, (wished, quality) in enumerate(wishes):
            if wished == media_range:
                return quality, exactness, -place
    return 0.0, 0, 0


# Whether the page that sent a request may call this API: browsers name it in headers that pages cannot change.


def is_allowed_origin(
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


# CORS headers for pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol).
#
# Nothing here ever allows credentials: a page of another site brings its token itself, in a header. Cookies count for
# pages of the same site alone (see `credentials`), which need no leave.


_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+( *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_SECONDS = 7200
_READABLE = "x-request-id, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset"
METHODS = "GET, POST, OPTIONS"


def cors_headers(headers: Mapping[str, str], allowed_origins: AbstractSet[str]) -> dict[str, str]:
    """Let a page of an allowed origin read the answer."""
    origin = headers.get("origin")
    if origin is None or origin not in allowed_origins:
        return {}
    return {"access-control-allow-origin": origin, "access-control-expose-headers": _READABLE}


def preflight_headers(headers: Mapping[str, str], allowed_origins: AbstractSet[str]) -> dict[str, str]:
    """Say what a page may send; nothing to a page of an origin that is not allowed."""
    allowed = cors_headers(headers, allowed_origins)
    if not allowed or "access-control-request-method" not in headers:
        return {}
    asked = headers.get("access-control-request-headers", "")
    if _HEADER_NAMES.fullmatch(asked):
        # A client library's own headers do no harm: invalid credentials are refused by the token alone.
        allowed["access-control-allow-headers"] = asked
    return {**allowed, "access-control-allow-methods": METHODS, "access-control-max-age": str(_SECONDS)}


# One HTTP request and its response over ASGI.


class HttpError(Exception):
    """An answer other than the one asked for."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """The client has gone; there is nothing to answer."""


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Read the headers of a request, names in lower case; one that comes in several lines is one list."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def peer_of(scope: Mapping[str, Any]) -> str:
    """Return the name of the client network, as the per-IP limit uses it, or "" if the server does not know it."""
    client = scope.get("client")
    return limit_key_of_host(str(client[0])) if client else ""


# More digits than any length has; int() refuses thousands of them.
_LONGEST_LENGTH = 15
READ_SECONDS = 20.0
"""How long a body may take to arrive: a client that sends half of one does not hold the connection for ever."""


class Exchange:
    """A request to be read and answered once; `headers` have lower-case names.

    `peer` names the client's bucket of the per-IP limit and `charge` what it pays; `standing_headers` go with every
    response.
    """

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self.method = str(scope["method"])
        self.query_string = scope["query_string"]
        self.headers = headers_of(cast("Mapping[str, Any]", scope))
        self.has_answered = False
        self.standing_headers: Mapping[str, str] = {}
        self.peer = peer_of(cast("Mapping[str, Any]", scope))
        self.charge = charge_of(cast("Mapping[str, Any]", scope))
        self._receive = receive
        self._send = send

    async def read(self, limit: int, text: str | None = None) -> bytes:
        """Read the body; raises HttpError 413 beyond the limit, before reading where the length is announced."""
        text = text or say("PAYLOAD_TOO_LARGE", "The body is larger than {most} bytes.", most=limit)
        too_large = HttpError(413, "PAYLOAD_TOO_LARGE", text)
        announced = self.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and (len(announced) > _LONGEST_LENGTH or int(announced) > limit):
            raise too_large
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._read_within(limit, too_large)
        except TimeoutError:
            message = say("REQUEST_TIMEOUT", "The body did not arrive within {seconds} s.", seconds=f"{READ_SECONDS:g}")
            raise HttpError(408, "REQUEST_TIMEOUT", message, {"connection": "close"}) from None

    async def _read_within(self, limit: int, too_large: HttpError) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)

    async def gone(self) -> None:
        """Wait until the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the answer."""
        self.has_answered = True
        sent = {**self.standing_headers, **headers}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        """Write the answer's body, or a piece of it."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def request_id_from(given: str | None) -> str:
    """Take the client's own id if it can be written anywhere without harm, or make one.

    It is kept with what the request did, for good: one that may be a person's number is replaced.
    """
    is_taken = given and _SANE_REQUEST_ID.fullmatch(given) and not contains_address(given)
    return given if given and is_taken else uuid4().hex
