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
# Our pages set their own policy. Everything else is no page: if a browser treats it as one, it may load nothing.
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
    """Return the headers of every response; behind an HTTPS address they include HSTS."""
    https = {"strict-transport-security": f"max-age={_A_YEAR}"} if public_base_url.startswith("https:") else {}
    return [(name.encode(), value.encode()) for name, value in {**_DEFAULT_HEADERS, **https}.items()]


def with_headers(send: Send, defaults: HeaderPairs) -> Send:
    """Add default headers to a response, unless it sets them itself."""

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            given = list(message["headers"])
            said = {name.lower() for name, _ in given}
            message["headers"] = [*given, *(pair for pair in defaults if pair[0] not in said)]
        await send(message)

    return sending


LINGER_SECONDS = 1.0
LINGER_BYTES = 65_536
"""How long, and how much, of an unread body is read before a response begins."""
GOODBYE_SECONDS = 2.0
GOODBYE_BYTES = 16_777_216
"""How long, and how much, is read and discarded after a response that ends the connection.

If the server closed at once, a client that is still sending would get a TCP reset instead of the response."""
_NO_BODY = (b"", b"0")


def has_body(scope: Mapping[str, Any]) -> bool:
    """Whether a request announces a body."""
    return any(
        (name == b"content-length" and value.strip() not in _NO_BODY) or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


class RequestBody:
    """The body of one request, with a limit on what is read of it after the response.

    Without it, the server would read and discard the rest of a body for as long as the client sends. Before the
    response begins, the rest is read up to a limit; if there is more, the connection ends soon after the response.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_whole = False

    async def receive(self) -> Any:
        """Receive the next message of the request."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_whole = True
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response."""
        if message["type"] == "http.response.start" and not self._is_whole:
            await self._read_on(LINGER_SECONDS, LINGER_BYTES)
            if not self._is_whole:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"connection"]
                message["headers"] = [*others, (b"connection", b"close")]
        elif message["type"] == "http.response.body" and not message["more_body"] and not self._is_whole:
            # The server closes the connection with the last piece: announcing another one sends the response out first.
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


MOST_HEADERS = 100
LARGEST_HEAD = 32_768
"""Bytes of the address and the headers: a session's cookie may have 4 KiB, and browsers send several."""
WEBHOOKS_SHARE = 10
"""How many times larger the limit for webhooks is: a provider sends thousands from one address, all signed."""
MOST_ON_CREDIT = 100
"""Concurrent requests of one address over its limit whose credentials are verified; the same for sockets and webhooks.

One more displaces the oldest: valid credentials are presented at once, and slow clients must not block others.
"""
LARGEST_ON_CREDIT = 262_144
"""Bytes of a webhook from an address over its limit: the signature covers the whole body."""
_WEBHOOKS = "/webhooks/"
_WITH_CREDENTIALS = frozenset({"/graphql", "/metrics"})
_NOT_AUTHENTICATED = frozenset({401, 403, 404, 405})

RejectRequest = Callable[[Any, Receive, Send, float], Awaitable[None]]


class LimitsMiddleware:
    """Limits requests before the application sees them.

    `per_minute` is how many requests without credentials one address may make, None for any number. `reject` answers
    GraphQL requests over the limit in GraphQL's form; it is given the seconds to wait.

    Authenticated callers behind an address over its limit are still served: the credentials of a bounded number of
    requests at a time are verified first, and only requests without valid credentials are rejected.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int | None,
        proxies: TrustedProxies,
        defaults: HeaderPairs,
        reject: RejectRequest,
    ) -> None:
        self.app = app
        self._buckets = None if per_minute is None else TokenBuckets(per_minute)
        self._webhook_buckets = None if per_minute is None else TokenBuckets(per_minute * WEBHOOKS_SHARE)
        self._proxies = proxies
        self._defaults = defaults
        self._on_credit: dict[Hashable, OrderedDict[RequestCharge, asyncio.Task[Any]]] = {}
        self._reject = reject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or reject it."""
        kind: object = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        address = self._proxies.address_of(scope)
        if address is not None and scope["client"] is not None:
            scope["client"] = (str(address), scope["client"][1])
        is_webhook = scope["path"].startswith(_WEBHOOKS)
        buckets, key = self._webhook_buckets if is_webhook else self._buckets, limit_key(address)
        charge = RequestCharge(buckets, key)
        attach_charge(scope, charge)
        if not charge.is_on_credit:
            await self._serve(scope, receive, send, charge, may_run=True)
            return
        with self._credit((kind, is_webhook, key), charge):
            await self._serve(scope, receive, send, charge, may_run=_shows_credentials(scope))

    @contextmanager
    def _credit(self, key: Hashable, charge: RequestCharge) -> Iterator[None]:
        """Count a request as on credit until it is authenticated or ends; may displace the oldest."""
        others, task = self._on_credit.setdefault(key, OrderedDict()), asyncio.current_task()
        assert task is not None  # noqa: S101  # a server calls
        if len(others) >= MOST_ON_CREDIT:
            oldest, its_task = others.popitem(last=False)
            oldest.is_displaced = True
            its_task.cancel()

        def leave() -> None:
            others.pop(charge, None)
            if not others and self._on_credit.get(key) is others:
                del self._on_credit[key]

        others[charge], charge.on_refund = task, leave
        try:
            yield
        finally:
            leave()

    async def _run_app(self, scope: Any, receive: Receive, send: Send, charge: RequestCharge) -> None:
        """Run the application; returns early if another request displaced this one."""
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not charge.is_displaced or task is None or task.uncancel() > 0:
                raise

    async def _serve(self, scope: Any, receive: Receive, send: Send, charge: RequestCharge, *, may_run: bool) -> None:
        is_webhook = scope["path"].startswith(_WEBHOOKS)
        if scope["type"] == "websocket":
            await self._admit_socket(scope, receive, with_headers(send, self._defaults), charge, may_run=may_run)
            return
        if has_body(scope):
            body = RequestBody(receive, send)
            receive, send = body.receive, body.send
        send = with_headers(send, self._defaults)
        if _is_large(scope):
            turned_away.labels("headers").inc()
            await _respond(send, 431, b"The headers are too many or too long.\n")
            return
        if may_run:
            watcher = _ResponseWatcher(send, charge, is_webhook=is_webhook)
            await self._run_app(scope, receive, watcher.send, charge)
            if watcher.has_begun or not (watcher.is_withheld or charge.is_displaced):
                return
        turned_away.labels("address").inc()
        if scope["path"] == "/graphql":
            await self._reject(scope, receive, send, charge.wait)
        else:
            await _respond(send, 429, b"Too many requests from this address.\n", charge.wait)

    async def _admit_socket(
        self, scope: Any, receive: Receive, send: Send, charge: RequestCharge, *, may_run: bool
    ) -> None:
        if may_run and not _is_large(scope):
            await self._run_app(scope, receive, send, charge)
            if charge.is_displaced:
                await send({"type": "websocket.close", "code": 1013, "reason": "Try again later"})
            return
        turned_away.labels("headers" if may_run else "address").inc()
        await receive()
        if "websocket.http.response" in (scope.get("extensions") or {}):
            status = 431 if may_run else 429
            await _respond(send, status, b"Try again later.\n", charge.wait, kind="websocket.http.response")
        else:
            # Closed before it is accepted, it becomes a plain 403.
            await send({"type": "websocket.close", "code": 1013, "reason": "Try again later"})


def _is_large(scope: Any) -> bool:
    # The limit in `server` covers heads that have not arrived completely.
    lines = scope["headers"]
    if len(lines) > MOST_HEADERS:
        return True
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in lines)
    return size > LARGEST_HEAD


def _shows_credentials(scope: Any) -> bool:
    """Whether a request may be authenticated, as far as its head shows."""
    if scope["type"] == "websocket":
        # Pages cannot set the headers of a handshake: credentials come in the first message.
        return True
    headers = {name.lower(): value for name, value in scope["headers"]}
    if scope["path"] in _WITH_CREDENTIALS:
        # A preflight request asks whether a page may send credentials.
        asks = scope["method"] == "OPTIONS" and b"authorization" in headers.get(b"access-control-request-headers", b"")
        return asks or b"authorization" in headers or b"cookie" in headers
    if not scope["path"].startswith(_WEBHOOKS):
        return False
    length = headers.get(b"content-length", b"0" if scope["method"] == "GET" else b"")
    return length.isdigit() and len(length) < 10 and int(length) <= LARGEST_ON_CREDIT


class _ResponseWatcher:
    """Learns from the response whether the caller was authenticated; a withheld response is replaced."""

    def __init__(self, send: Send, charge: RequestCharge, *, is_webhook: bool) -> None:
        self.is_withheld = self.has_begun = False
        self._send = send
        self._charge = charge
        self._is_webhook = is_webhook

    async def send(self, message: Message) -> None:
        """Pass on a message of the response."""
        if message["type"] == "http.response.start":
            status = message["status"]
            if self._is_webhook and status < 300:
                self._charge.refund()
            self.is_withheld = self._charge.is_on_credit and status in _NOT_AUTHENTICATED
            if status == 401:
                self._charge.charge_forgery()
        if not self.is_withheld:
            self.has_begun = True
            await self._send(message)


async def _respond(send: Send, status: int, text: bytes, wait: float = 0.0, *, kind: str = "http.response") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    if wait:
        headers.append((b"retry-after", str(ceil(wait)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})  # type: ignore[arg-type, misc]
    await send({"type": f"{kind}.body", "body": text, "more_body": False})  # type: ignore[arg-type, misc]
