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


async def test_a_token_of_an_earlier_claim_begins_nothing_of_the_present_one(shop: MessagePipeline) -> None:
    await shop.accept()
    async with shop.worker.transaction() as connection:
        slow = await claim(connection, Channel.SMS, "twilio", worker="slow", limit=10, timing=TIMING)
    await shop.tamper("UPDATE messages SET lease_until = now() - interval '1 second'")
    async with shop.worker.transaction() as connection:
        await reclaim_expired_leases(connection, hold=TIMING.hold)
        quick = await claim(connection, Channel.SMS, "twilio", worker="quick", limit=10, timing=TIMING)
    async with shop.worker.transaction() as connection:
        assert await begin(connection, slow, TIMING) == set()
        assert await begin(connection, quick, TIMING) == {quick[0].key}


async def test_a_call_that_never_ends_is_given_up_and_unconfirmed(shop: MessagePipeline) -> None:
    shop.delivery.timing = Timing(send_deadline=timedelta(seconds=0.1))
    shop.sender.gate.clear()
    message_id = await shop.accept()
    async with asyncio.timeout(5):
        await shop.delivery.drain()
    assert await shop.status(message_id) == "UNCONFIRMED"


async def test_the_events_of_another_tenants_message_are_not_read(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    async with shop.app.transaction(OTHER_TENANT) as connection:
        assert await events_of(connection, OTHER_TENANT, [message_id], EventSlice(10)) == {}


async def test_what_did_not_fail_has_no_failure(shop: MessagePipeline) -> None:
    await shop.accept()
    await shop.delivery.drain()
    async with shop.worker.transaction() as connection:
        statement = "SELECT count(*) FROM messages WHERE failure IS NOT NULL"
        assert (await connection.exec_driver_sql(statement)).scalar_one() == 0
