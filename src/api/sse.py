"""GraphQL over Server-Sent Events, one operation a request.

The "distinct connections mode" of https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from api.exchange import Exchange
from engine.answer import Answer

HEARTBEAT_SECONDS = 15.0


async def stream(
    exchange: Exchange, answers: AsyncGenerator[Answer, None], headers: Mapping[str, str], draining: asyncio.Event
) -> None:
    """Write answers as events until they end, the client leaves or the process drains; nothing of it is left then.

    A stream cut short by draining ends without `complete`: its client should come again, and finds another process.
    """
    # A proxy that gathers an answer before passing it on would hold events back; this asks nginx not to.
    await exchange.start(200, {**headers, "x-accel-buffering": "no"})
    await exchange.write(b":\n\n", more=True)
    await _until_one_ends(_write(exchange, answers), _beat(exchange), exchange.gone(), _set(draining))
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


async def _set(event: asyncio.Event) -> None:
    await event.wait()


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
