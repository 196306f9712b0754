"""Who speaks on a socket, and until when: a socket outlives its token if a fresh one comes in time.

The protocol has no message for that, but lets `ping` and `pong` carry what the two sides agree on:

    server → client   {"type": "ping", "payload": {"authorizationExpiresIn": 15}}     shortly before the end
    client → server   {"type": "ping", "payload": {"Authorization": "Bearer …"}}      at any time, or in a pong
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from api.edge import Callers, bearer_token
from core.errors import Unauthenticated
from core.words import say

NOTICE_SECONDS = 15.0
"""How long before a token ends its client is asked for another; half of what is left, where that is less."""


class Expired(Exception):
    """The token has ended and no fresh one came."""


class Credentials:
    """The caller of one socket."""

    def __init__(self, callers: Callers) -> None:
        self.caller: Any = None
        self._callers = callers
        self._news = asyncio.Event()

    async def accept(self, authorization: object) -> None:
        """Learn who is calling; raises Unauthenticated, and Overloaded where it cannot be told."""
        self.caller = await self._callers.authenticate(bearer_token(_as_text(authorization)))
        self._news.set()

    async def renew(self, authorization: object) -> None:
        """Take a fresh token of the same caller; raises Unauthenticated for anybody else's, and Overloaded."""
        fresh = await self._callers.authenticate(bearer_token(_as_text(authorization)))
        # What is under way was begun with the old rights: other rights need another socket.
        if self._callers.identity(fresh) != self._callers.identity(self.caller):
            raise Unauthenticated(
                say("CREDENTIALS_CHANGED", "A fresh token must speak for the same caller, with the same rights.")
            )
        self.caller = fresh
        self._news.set()

    async def expire(self, give_notice: Callable[[float], Awaitable[None]]) -> None:
        """Wait for the end of the last token, giving notice of each end in time; raises Expired, never returns."""
        while True:
            self._news.clear()
            expires_at = self._callers.expires_at(self.caller)
            if expires_at is None:
                await self._news.wait()
                continue
            left = expires_at - time.time()
            notice = min(NOTICE_SECONDS, left / 2)
            if await self._is_renewed_within(left - notice):
                continue
            await give_notice(max(notice, 0.0))
            if not await self._is_renewed_within(expires_at - time.time()):
                raise Expired

    async def _is_renewed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


def authorization_in(payload: Mapping[str, Any] | None) -> object:
    """Find the token in a message's payload: clients write the name as their users typed it."""
    return next((value for name, value in (payload or {}).items() if name.lower() == "authorization"), None)


def _as_text(authorization: object) -> str | None:
    if not isinstance(authorization, str | None):
        raise Unauthenticated(say("CREDENTIALS_NOT_TEXT", "Authorization must be a string."))
    return authorization
