"""The first thing every request and socket meets, before it is known who is asking and what for."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
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
from api.presence import Presence, TooManyOpen

MOST_HEADERS = 100
WEBHOOKS_SHARE = 10
"""How much more webhooks may cost an address: a company sends thousands from one, each of them signed."""
MOST_ON_CREDIT = 100
"""How many requests, and handshakes of sockets, of one address may show credentials at a time once it has spent all."""
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
    for a bounded number of requests at a time, and only who is not believed is turned away.
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
        self._on_credit = Presence(MOST_ON_CREDIT)
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
        with self._credit(visit, (kind, is_webhook, who), scope) as may_enter:
            await self._serve(scope, receive, send, visit, may_enter=may_enter)

    @contextmanager
    def _credit(self, visit: Visit, who: tuple[object, ...], scope: Any) -> Iterator[bool]:
        """Say whether a request may enter: paid for, or on credit until it is believed."""
        with ExitStack() as held:
            may_enter = not visit.is_on_credit
            if visit.is_on_credit and _shows_credentials(scope):
                try:
                    held.enter_context(self._on_credit.of(who))
                except TooManyOpen:
                    may_enter = False
                else:
                    may_enter, visit.on_believed = True, held.close
            yield may_enter

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
            await self.app(scope, receive, judging.send)
            if not judging.is_withheld:
                return
        turned_away.labels("address").inc()
        if scope["path"] == "/graphql":
            await self._turn_away(scope, receive, send, visit.wait)
        else:
            await _say(send, 429, b"Too many requests from this address.\n", visit.wait)

    async def _admit_socket(self, scope: Any, receive: Receive, send: Send, visit: Visit, *, may_enter: bool) -> None:
        if may_enter and not _is_large(scope):
            await self.app(scope, receive, send)
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
        return b"authorization" in headers or b"cookie" in headers
    if not scope["path"].startswith(_WEBHOOKS):
        return False
    length = headers.get(b"content-length", b"0" if scope["method"] == "GET" else b"")
    return length.isdigit() and len(length) < 10 and int(length) <= LARGEST_ON_CREDIT


class _Judging:
    """Learns from the answer whether whoever asked was believed; what it withholds is answered at the door."""

    def __init__(self, send: Send, visit: Visit, *, is_webhook: bool) -> None:
        self.is_withheld = False
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
            await self._send(message)


async def _say(send: Send, status: int, text: bytes, wait: float = 0.0, *, kind: str = "http.response") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    if wait:
        headers.append((b"retry-after", str(ceil(wait)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})  # type: ignore[arg-type, misc]
    await send({"type": f"{kind}.body", "body": text, "more_body": False})  # type: ignore[arg-type, misc]
