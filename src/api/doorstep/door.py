"""The first thing every request and socket meets, before it is known who is asking and what for."""

from collections.abc import Awaitable, Callable
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
_WEBHOOKS = "/webhooks/"

TurnAway = Callable[[Any, Receive, Send, float], Awaitable[None]]


class Doorstep:
    """An application with a doorstep before it.

    `per_minute` is what the strangers of one address may ask for, None for any number. `turn_away` answers callers of
    GraphQL who came too early, in their own form; it is given the seconds to wait.
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
        visit = Visit(self._webhooks if is_webhook else self._purses, household(address))
        noted(scope, visit)
        if kind == "websocket":
            await self._admit_socket(scope, receive, with_headers(send, self._standing), visit)
            return
        if has_body(scope):
            body = Body(receive, send)
            receive, send = body.receive, body.send
        send = with_headers(_judging(send, visit, is_webhook=is_webhook), self._standing)
        await self._admit(scope, receive, send, visit)

    async def _admit(self, scope: Any, receive: Receive, send: Send, visit: Visit) -> None:
        if _is_large(scope):
            turned_away.labels("headers").inc()
            await _say(send, 431, b"More, or longer, headers than any client needs.\n")
        elif visit.wait:
            turned_away.labels("address").inc()
            if scope["path"] == "/graphql":
                await self._turn_away(scope, receive, send, visit.wait)
            else:
                await _say(send, 429, b"Too many requests from this address.\n", visit.wait)
        else:
            await self.app(scope, receive, send)

    async def _admit_socket(self, scope: Any, receive: Receive, send: Send, visit: Visit) -> None:
        if not visit.wait and not _is_large(scope):
            await self.app(scope, receive, send)
            return
        turned_away.labels("address" if visit.wait else "headers").inc()
        await receive()
        if "websocket.http.response" in (scope.get("extensions") or {}):
            status = 429 if visit.wait else 431
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


def _judging(send: Send, visit: Visit, *, is_webhook: bool) -> Send:
    """Learn from the answer whether whoever asked was believed."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] == 401:
                visit.disbelieved()
            elif is_webhook and message["status"] < 300:
                visit.believed()
        await send(message)

    return sending


async def _say(send: Send, status: int, text: bytes, wait: float = 0.0, *, kind: str = "http.response") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    if wait:
        headers.append((b"retry-after", str(ceil(wait)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})  # type: ignore[arg-type, misc]
    await send({"type": f"{kind}.body", "body": text, "more_body": False})  # type: ignore[arg-type, misc]
