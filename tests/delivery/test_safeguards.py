"""Tokens, deadlines and tenants: each safeguard separately."""

import asyncio
from datetime import timedelta

from core.messages.claim import Timing, begin, claim
from core.messages.queries import EventSlice, events_of
from core.messages.timeouts import reclaim_expired_leases
from core.ports import Channel
from tests.delivery.factories import OTHER_TENANT
from tests.delivery.pipeline import MessagePipeline

TIMING = Timing()


async def test_a_token_of_an_earlier_claim_begins_nothing_of_the_present_one(pipeline: MessagePipeline) -> None:
    await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        slow = await claim(connection, Channel.SMS, "twilio", worker="slow", limit=10, timing=TIMING)
    await pipeline.tamper("UPDATE messages SET lease_until = now() - interval '1 second'")
    async with pipeline.worker.transaction() as connection:
        await reclaim_expired_leases(connection, hold=TIMING.hold)
        quick = await claim(connection, Channel.SMS, "twilio", worker="quick", limit=10, timing=TIMING)
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, slow, TIMING) == set()
        assert await begin(connection, quick, TIMING) == {quick[0].key}


async def test_a_call_that_never_ends_is_given_up_and_unconfirmed(pipeline: MessagePipeline) -> None:
    pipeline.delivery.timing = Timing(send_deadline=timedelta(seconds=0.1))
    pipeline.sender.gate.clear()
    message_id = await pipeline.accept()
    async with asyncio.timeout(5):
        await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "UNCONFIRMED"


async def test_the_events_of_another_tenants_message_are_not_read(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    async with pipeline.app.transaction(OTHER_TENANT) as connection:
        assert await events_of(connection, OTHER_TENANT, [message_id], EventSlice(10)) == {}


async def test_what_did_not_fail_has_no_failure(pipeline: MessagePipeline) -> None:
    await pipeline.accept()
    await pipeline.delivery.drain()
    async with pipeline.worker.transaction() as connection:
        statement = "SELECT count(*) FROM messages WHERE failure IS NOT NULL"
        assert (await connection.exec_driver_sql(statement)).scalar_one() == 0
