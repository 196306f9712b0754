"""Endless loops: a failed turn does not end the loop; only a cancellation does."""

import asyncio

import pytest

from api.process import run_forever
from core.errors import Overloaded


@pytest.mark.parametrize("error", [KeyError("sid"), Overloaded("away", retry_after=1), asyncio.CancelledError()])
async def test_a_turn_that_breaks_is_followed_by_another(error: BaseException) -> None:
    turns: list[int] = []
    has_gone_on = asyncio.Event()

    async def turn() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise error
        has_gone_on.set()
        await asyncio.Event().wait()

    loop = asyncio.create_task(run_forever("test", turn))
    async with asyncio.timeout(5):
        await has_gone_on.wait()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert turns == [0, 1]
