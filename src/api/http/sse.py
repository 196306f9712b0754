"""GraphQL over Server-Sent Events, one operation a request.

The "distinct connections mode" of https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from api.http.exchange import Exchange
from api.http.metrics import operations
from engine.answer import Answer

HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Ending:
    """What cuts a stream short: the process drains, the caller's token ends (in seconds since 1970), or is refused."""

    draining: asyncio.Event
    expires_at: float | None = None
    until_refused: Callable[[], Coroutine[None, None, None]] | None = None

    async def comes(self) -> None:
        """Wait for it."""
        patience = None if self.expires_at is None else self.expires_at - time.time()
        try:
            async with asyncio.timeout(patience):
                await _until_one_ends(self._drains(), *([self.until_refused()] if self.until_refused else []))
        except TimeoutError:
            return

    async def _drains(self) -> None:
        await self.draining.wait()


async def stream(
    exchange: Exchange, answers: AsyncGenerator[Answer, None], headers: Mapping[str, str], ending: Ending
) -> None:
    """Write answers as events until they end, the client leaves or the stream is cut short; nothing is left then.

    A stream cut short ends without `complete`: its client should come again, elsewhere or with a fresh token.
    """
    # A proxy that gathers an answer before passing it on would hold events back; this asks nginx not to.
    await exchange.start(200, {**headers, "x-accel-buffering": "no"})
    with operations.labels("sse").track_inprogress():
        await exchange.write(b":\n\n", more=True)
        await _until_one_ends(_write(exchange, answers), _beat(exchange), exchange.gone(), ending.comes())
    await exchange.write(b"")


async def _write(exchange: Exchange, answers: AsyncGenerator[Answer, None]) -> None:
    async with aclosing(answers):
        async for answer in answers:
            await exchange.write(b"event: next\ndata: " + answer.body + b"\n\n", more=True)
    # Browsers drop an event that has no data line.
    await exchange.write(b"event: complete\ndata:\n\n", more=True)


async def _beat(exchange: Exchange) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await exchange.write(b":\n\n", more=True)


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
