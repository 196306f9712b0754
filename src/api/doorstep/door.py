"""The first thing every request and socket meets, before it is known who is asking and what for."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.doorstep.addresses import Neighbourhood, household
from api.doorstep.bodies import Body, has_body
from api.doorstep.headers import Pairs, with_headers
from api.doorstep.protocol import LARGEST_HEAD
from api.doorstep.purses import Purses
from api.doorstep.visit import Visit, noted
from api.metrics import turned_away

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

TurnAway = Callable[[Any, Receive, Send, float], Awaitable[None]]


class Doorstep:
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
        neighbourhood: Neighbourhood,
        standing: Pairs,
        turn_away: TurnAway,
    ) -> None:
        self.app = app
        self._purses = None if per_minute is None else Purses(per_minute)
        self._webhooks = None if per_minute is None else Purses(per_minute * WEBHOOKS_SHARE)
        self._neighbourhood = neighbourhood
        self._standing = standing
        self._on_credit: dict[Hashable, OrderedDict[Visit, asyncio.Task[Any]]] = {}
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
        purses, who = self._webhooks if is_webhook else self._purses, household(address)
        visit = Visit(purses, who)
        noted(scope, visit)
        if not visit.is_on_credit:
            await self._serve(scope, receive, send, visit, may_enter=True)
            return
        with self._credit((kind, is_webhook, who), visit):
            await self._serve(scope, receive, send, visit, may_enter=_shows_credentials(scope))

    @contextmanager
    def _credit(self, who: Hashable, visit: Visit) -> Iterator[None]:
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

    async def _enter(self, scope: Any, receive: Receive, send: Send, visit: Visit) -> None:
        """Hand a request on; returns early where another has displaced it."""
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not visit.is_displaced or task is None or task.uncancel() > 0:
                raise

    async def _serve(self, scope: Any, receive: Receive, send: Send, visit: Visit, *, may_enter: bool) -> None:
        is_webhook = scope["path"].startswith(_WEBHOOKS)
        if scope["type"] == "websocket":
            await self._admit_socket(scope, receive, with_headers(send, self._standing), visit, may_enter=may_enter)
            return
        if has_body(scope):
            body = Body(receive, send)
            receive, send = body.receive, body.send
        send = with_headers(send, self._standing)
        if _is_large(scope):
            turned_away.labels("headers").inc()
            await _say(send, 431, b"More, or longer, headers than any client needs.\n")
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
            await _say(send, 429, b"Too many requests from this address.\n", visit.wait)

    async def _admit_socket(self, scope: Any, receive: Receive, send: Send, visit: Visit, *, may_enter: bool) -> None:
        if may_enter and not _is_large(scope):
            await self._enter(scope, receive, send, visit)
            if visit.is_displaced:
                await send({"type": "websocket.close", "code": 1013, "reason": "Try again later"})
            return
        turned_away.labels("headers" if may_enter else "address").inc()
        await receive()
        if "websocket.http.response" in (scope.get("extensions") or {}):
            status = 431 if may_enter else 429
            await _say(send, status, b"Not now.\n", visit.wait, kind="websocket.http.response")
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

    def __init__(self, send: Send, visit: Visit, *, is_webhook: bool) -> None:
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


async def _say(send: Send, status: int, text: bytes, wait: float = 0.0, *, kind: str = "http.response") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    if wait:
        headers.append((b"retry-after", str(ceil(wait)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})  # type: ignore[arg-type, misc]
    await send({"type": f"{kind}.body", "body": text, "more_body": False})  # type: ignore[arg-type, misc]
