"""What became of a message is on its way to us, or lies here unread: a route that asks to send again does not, yet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from tests.faults.evidence import Evidence
from tests.faults.runs import settle_and_check
from tests.faults.steps import PATIENCE, answer_orders, count_copies, count_ever, count_statuses
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import Traffic
from tests.helpers import until

NUMBER = 10
LONGER_THAN_A_HOLD = 14.0
"""Seconds: a doubt is held for 5 in this city, and looked at each second after that."""
UNREAD = "SELECT count(*) FROM inbox WHERE status = 'RECEIVED' AND message_id IS NOT NULL"


async def answers_are_lost(city: SystemUnderTest, traffic: Traffic) -> None:
    """WhatsApp takes messages whose routes ask to send again, and no answer comes back; it cannot be asked either."""
    orders = await answer_orders(city, NUMBER, on_unconfirmed="RESEND")
    await until(lambda: city.cellar.fetch("SELECT count(*) FROM inbox WHERE status = 'RECEIVED'"), _none, PATIENCE)
    await city.control.plan_webhooks("whatsapp", hold=True)
    await city.control.arm("whatsapp", "reset", always=True, accepted=True)
    await traffic.burst(orders, at_once=8)


def _none(rows: list[asyncpg.Record]) -> bool:
    return bool(rows[0][0] == 0)


def _all(rows: list[asyncpg.Record]) -> bool:
    return bool(rows[0][0] == NUMBER)


async def all_are_in_doubt(city: SystemUnderTest) -> None:
    query = "SELECT count(*) FROM messages WHERE status = 'UNCONFIRMED'"
    await until(lambda: city.cellar.fetch(query), _all, PATIENCE)


def nothing_went_out_twice(evidence: Evidence) -> None:
    assert count_ever(evidence, "UNCONFIRMED") == NUMBER
    assert count_copies(evidence) == {1: NUMBER}
    assert count_statuses(evidence) == {"DELIVERED": NUMBER}


@asynccontextmanager
async def reports_held_by_somebody(city: SystemUnderTest) -> AsyncIterator[None]:
    """A process that froze while it applied them: nobody else gets at them, and every loop goes on."""
    connection = await asyncpg.connect(city.cellar.superuser)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT id FROM inbox WHERE status = 'RECEIVED' FOR UPDATE")
            yield
    finally:
        await connection.close()


async def test_while_our_door_was_closed_nothing_is_sent_again(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = Traffic(city, "deaf")
        await answers_are_lost(city, traffic)
        await all_are_in_doubt(city)
        await city.api.kill()
        await asyncio.sleep(LONGER_THAN_A_HOLD)
        await city.api.start()
        await until(city.is_ready, bool, PATIENCE)
        await city.control.release("whatsapp")
        nothing_went_out_twice(await settle_and_check(city, traffic, seed=traffic.seed))


async def test_while_a_report_lies_unread_nothing_is_sent_again(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = Traffic(city, "unread")
        [worker] = city.workers
        await answers_are_lost(city, traffic)
        await all_are_in_doubt(city)
        # Dead for a moment that is no gap yet, so that the reports are stored and not applied.
        await worker.kill()
        await city.control.plan_webhooks("whatsapp")
        await city.control.release("whatsapp")
        await until(lambda: city.cellar.fetch(UNREAD), lambda rows: rows[0][0] >= NUMBER, PATIENCE)
        async with reports_held_by_somebody(city):
            await worker.start()
            # A worker that has just started takes its time; without the rule it acts well within this.
            await asyncio.sleep(3 * LONGER_THAN_A_HOLD)
        nothing_went_out_twice(await settle_and_check(city, traffic, seed=traffic.seed))
