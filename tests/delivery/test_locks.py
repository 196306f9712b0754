"""Workers that use the same messages: waiting is rare, and locks are taken in one order."""

import asyncio

import pytest

from core.messages.claim import Timing, claim
from core.messages.record import MessageKey, lock_states
from core.ports import Channel
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.pipeline import MessagePipeline
from tests.helpers import until

TIMING = Timing()


async def test_a_message_locked_by_another_worker_is_skipped_without_waiting(pipeline: MessagePipeline) -> None:
    held, free = [await pipeline.accept(), await pipeline.accept()]
    async with pipeline.worker.transaction() as holder:
        await lock_states(holder, [MessageKey(DEFAULT_TENANT, held)])
        async with asyncio.timeout(2), pipeline.worker.transaction() as connection:
            claimed = await claim(connection, Channel.SMS, "twilio", worker="other", limit=10, timing=TIMING)
    assert [one.key.message_id for one in claimed] == [free]


async def test_a_message_is_locked_until_the_transaction_ends(pipeline: MessagePipeline) -> None:
    key = MessageKey(DEFAULT_TENANT, await pipeline.accept())

    async def lock() -> None:
        async with pipeline.worker.transaction() as connection:
            await lock_states(connection, [key])

    async with pipeline.worker.transaction() as holder:
        await lock_states(holder, [key])
        waiting = asyncio.create_task(lock())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.3)
    await asyncio.wait_for(waiting, 5)


async def test_batches_that_share_messages_in_other_orders_do_not_deadlock(pipeline: MessagePipeline) -> None:
    keys = [MessageKey(DEFAULT_TENANT, await pipeline.accept()) for _ in range(40)]

    async def lock(order: list[MessageKey]) -> None:
        async with pipeline.worker.transaction() as connection:
            await lock_states(connection, order)

    for _ in range(5):
        await asyncio.gather(*(lock(order) for order in (keys, keys[::-1], keys[20:] + keys[:20], keys[::-1])))


@pytest.mark.parametrize("waits", [[0.0, 0.0], [60.0, 0.0]])
async def test_beginning_and_releasing_claims_keep_the_common_lock_order(
    pipeline: MessagePipeline, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit(_: object) -> list[float]:
        return waits

    monkeypatch.setattr(pipeline.delivery.rate_limiter, "admit", admit)
    for _ in range(2):
        await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
    first, last = sorted(claimed, key=lambda one: one.key)
    async with pipeline.worker.transaction() as holder:
        await lock_states(holder, [first.key])
        beginning = asyncio.create_task(pipeline.delivery._begin([last, first]))
        await until(lambda: pipeline.count("pg_locks WHERE NOT granted"), bool)
        await lock_states(holder, [first.key, last.key])
    assert len(await asyncio.wait_for(beginning, 5)) == waits.count(0.0)
