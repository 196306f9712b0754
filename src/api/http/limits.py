"""The outermost ASGI layer: header and body limits, the per-IP limit, and headers of every response."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from api.http.ip_limit import RequestCharge, TokenBuckets, TrustedProxies, attach_charge, limit_key
from api.http.metrics import turned_away

HeaderPairs = Sequence[tuple[bytes, bytes]]

_A_YEAR = 31_536_000
# Pages of ours bring a policy of their own; the rest is no page, and may do nothing if a browser takes it for one.
_DEFAULT_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def default_headers(public_base_url: str) -> HeaderPairs:
    """Give the headers of every answer; where the world comes over HTTPS, browsers are told never to come without."""
    https = {"strict-transport-security": f"max-age={_A_YEAR}"} if public_base_url.startswith("https:") else {}
    return [(name.encode(), value.encode()) for name, value in {**_DEFAULT_HEADERS, **https}.items()]


def with_headers(send: Send, standing: HeaderPairs) -> Send:
    """Add to an answer what it does not say itself."""

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            given = list(message["headers"])
            said = {name.lower() for name, _ in given}
            message["headers"] = [*given, *(pair for pair in standing if pair[0] not in said)]
        await send(message)

    return sending


# Bodies that nobody read: what is already there is taken in, and whoever goes on sending is hung up on.


LINGER_SECONDS = 1.0
LINGER_BYTES = 65_536
"""What is waited for, and read, before an answer begins."""
GOODBYE_SECONDS = 2.0
GOODBYE_BYTES = 16_777_216
"""What is read and thrown away behind an answer that ends the connection: closed at once, TCP would take the answer
back from whoever is still sending, and they would see a reset instead of the reason."""
_NO_BODY = (b"", b"0")


def has_body(scope: Mapping[str, Any]) -> bool:
    """Say whether a request announces a body, of whatever length."""
    return any(
        (name == b"content-length" and value.strip() not in _NO_BODY) or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


class RequestBody:
    """Stands between a request's body and whoever may or may not read it.

    The server would go on reading and throwing away what comes after the answer, for as long as it comes. So before an
    answer begins the rest is read, up to a measure; beyond that the connection ends soon after the answer.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_whole = False

    async def receive(self) -> Any:
        """Hand over what comes next."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_whole = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on."""
        if message["type"] == "http.response.start" and not self._is_whole:
            await self._read_on(LINGER_SECONDS, LINGER_BYTES)
            if not self._is_whole:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"connection"]
                message["headers"] = [*others, (b"connection", b"close")]
        elif message["type"] == "http.response.body" and not message["more_body"] and not self._is_whole:
            # The server hangs up with the last piece: it is said that another comes, and what was asked for is out.
            await self._send({**message, "more_body": True})
            await self._read_on(GOODBYE_SECONDS, GOODBYE_BYTES)
            message["body"] = b""
        await self._send(message)

    async def _read_on(self, seconds: float, most: int) -> None:
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while not self._is_whole and size <= most:
                    message: HTTPReceiveMessage = await self.receive()
                    size += len(message.get("body", b""))  # type: ignore[arg-type]
        except TimeoutError:
            return


# The first thing every request and socket meets, before it is known who is asking and what for.


MOST_HEADERS = 100
WEBHOOKS_SHARE = 10
"""How much more webhooks may cost an address: a company sends thousands from one, each of them signed."""
MOST_ON_CREDIT = 100
"""How many requests of one address may show credentials at a time once it has spent all; as many sockets and webhooks.

One more displaces the one that has taken longest: good credentials are shown at once, and slow callers block nobody.
"""
LARGEST_ON_CREDIT = 262_144
"""Bytes of a webhook that may come from such an address: its signature is over the whole body."""
_WEBHOOKS = "/webhooks/"
_WITH_CREDENTIALS = frozenset({"/graphql", "/metrics"})
_NOT_BELIEVED = frozenset({401, 403, 404, 405})

RejectRequest = Callable[[Any, Receive, Send, float], Awaitable[None]]


class LimitsMiddleware:
    """An application with a doorstep before it.

    `per_minute` is what the strangers of one address may ask for, None for any number. `turn_away` answers callers of
    GraphQL who came too early, in their own form; it is given the seconds to wait.

    What an address has spent does not keep out callers behind it whose credentials are good: these are verified first,
    for a bounded number of requests at a time, and only callers who are not believed are turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int | None,
        neighbourhood: TrustedProxies,
        standing: HeaderPairs,
        turn_away: RejectRequest,
    ) -> None:
        self.app = app
        self._purses = None if per_minute is None else TokenBuckets(per_minute)
        self._webhooks = None if per_minute is None else TokenBuckets(per_minute * WEBHOOKS_SHARE)
        self._neighbourhood = neighbourhood
        self._standing = standing
        self._on_credit: dict[Hashable, OrderedDict[RequestCharge, asyncio.Task[Any]]] = {}
        self._turn_away = turn_away

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        kind: object = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        address = self._neighbourhood.address_of(scope)
        if address is not None and scope["client"] is not None:
            scope["client"] = (str(address), scope["client"][1])
        is_webhook = scope["path"].startswith(_WEBHOOKS)
        purses, who = self._webhooks if is_webhook else self._purses, limit_key(address)
        visit = RequestCharge(purses, who)
        attach_charge(scope, visit)
        if not visit.is_on_credit:
            await self._serve(scope, receive, send, visit, may_enter=True)
            return
        with self._credit((kind, is_webhook, who), visit):
            await self._serve(scope, receive, send, visit, may_enter=_shows_credentials(scope))

    @contextmanager
    def _credit(self, who: Hashable, visit: RequestCharge) -> Iterator[None]:
        """Count a request as one on credit until it is believed or ends; may end the one that has taken longest."""
        others, task = self._on_credit.setdefault(who, OrderedDict()), asyncio.current_task()
        assert task is not None  # noqa: S101  # a server calls
        if len(others) >= MOST_ON_CREDIT:
            slowest, its_task = others.popitem(last=False)
            slowest.is_displaced = True
            its_task.cancel()

        def leave() -> None:
            others.pop(visit, None)
            if not others and self._on_credit.get(who) is others:
                del self._on_credit[who]

        others[visit], visit.on_believed = task, leave
        try:
            yield
        finally:
            leave()

    async def _enter(self, scope: Any, receive: Receive, send: Send, visit: RequestCharge) -> None:
        """Hand a request on; returns early where another has displaced it."""
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not visit.is_displaced or task is None or task.uncancel() > 0:
                raise

    async def _serve(self, scope: Any, receive: Receive, send: Send, visit: RequestCharge, *, may_enter: bool) -> None:
        is_webhook = scope["path"].startswith(_WEBHOOKS)
        if scope["type"] == "websocket":
            await self._admit_socket(scope, receive, with_headers(send, self._standing), visit, may_enter=may_enter)
            return
        if has_body(scope):
            body = RequestBody(receive, send)
            receive, send = body.receive, body.send
        send = with_headers(send, self._standing)
        if _is_large(scope):
            turned_away.labels("headers").inc()
            await _respond(send, 431, b"More, or longer, headers than any client needs.\n")
            return
        if may_enter:
            judging = _Judging(send, visit, is_webhook=is_webhook)
            await self._enter(scope, receive, judging.send, visit)
            if judging.has_begun or not (judging.is_withheld or visit.is_displaced):
                return
        turned_away.labels("address").inc()
        if scope["path"] == "/graphql":
            await self._turn_away(scope, receive, send, visit.wait)
        else:
            await _respond(send, 429, b"Too many requests from this address.\n", visit.wait)

    async def _admit_socket(
        self, scope: Any, receive: Receive, send: Send, visit: RequestCharge, *, may_enter: bool
    ) -> None:
        if may_enter and not _is_large(scope):
            await self._enter(scope, receive, send, visit)
            if visit.is_displaced:
                await send({"type": "websocket.close", "code": 1013, "reason": "Try again later"})
            return
        turned_away.labels("headers" if may_enter else "address").inc()
        await receive()
        if "websocket.http.response" in (scope.get("extensions") or {}):
            status = 431 if may_enter else 429
            await _respond(send, status, b"Not now.\n", visit.wait, kind="websocket.http.response")
        else:
            # Closed before it is accepted, it becomes a plain 403.
            await send({"type": "websocket.close", "code": 1013, "reason": "Try again later"})


def _is_large(scope: Any) -> bool:
    # The server's own limit is for what has not arrived whole.
    lines = scope["headers"]
    if len(lines) > MOST_HEADERS:
        return True
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in lines)
    return size > LARGEST_HEAD


def _shows_credentials(scope: Any) -> bool:
    """Whether a request may be believed at all, as far as can be told without reading it."""
    if scope["type"] == "websocket":
        # Browsers let no page set the headers of a handshake: credentials are in the first message.
        return True
    headers = {name.lower(): value for name, value in scope["headers"]}
    if scope["path"] in _WITH_CREDENTIALS:
        # A browser asks first whether a page may send some.
        asks = scope["method"] == "OPTIONS" and b"authorization" in headers.get(b"access-control-request-headers", b"")
        return asks or b"authorization" in headers or b"cookie" in headers
    if not scope["path"].startswith(_WEBHOOKS):
        return False
    length = headers.get(b"content-length", b"0" if scope["method"] == "GET" else b"")
    return length.isdigit() and len(length) < 10 and int(length) <= LARGEST_ON_CREDIT


class _Judging:
    """Learns from the answer whether whoever asked was believed; what it withholds is answered at the door."""

    def __init__(self, send: Send, visit: RequestCharge, *, is_webhook: bool) -> None:
        self.is_withheld = self.has_begun = False
        self._send = send
        self._visit = visit
        self._is_webhook = is_webhook

    async def send(self, message: Message) -> None:
        """Pass on a piece of the answer."""
        if message["type"] == "http.response.start":
            status = message["status"]
            if self._is_webhook and status < 300:
                self._visit.believed()
            self.is_withheld = self._visit.is_on_credit and status in _NOT_BELIEVED
            if status == 401:
                self._visit.disbelieved()
        if not self.is_withheld:
            self.has_begun = True
            await self._send(message)


async def _respond(send: Send, status: int, text: bytes, wait: float = 0.0, *, kind: str = "http.response") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    if wait:
        headers.append((b"retry-after", str(ceil(wait)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})  # type: ignore[arg-type, misc]
    await send({"type": f"{kind}.body", "body": text, "more_body": False})  # type: ignore[arg-type, misc]


LARGEST_HEAD = 32_768
"""Bytes of the address and the headers: a session's cookie may have 4 KiB, and browsers send several."""
