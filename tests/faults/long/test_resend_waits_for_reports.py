"""A route with RESEND does not send again while a report may be on its way, or is stored and not applied."""

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
LONGER_THAN_HOLD = 14.0
"""Seconds: here an unconfirmed message is held for 5, and looked at every second after that."""
UNREAD = "SELECT count(*) FROM inbox WHERE status = 'RECEIVED' AND message_id IS NOT NULL"


async def answers_are_lost(system: SystemUnderTest, traffic: Traffic) -> None:
    """WhatsApp accepts messages with RESEND, every answer is lost, and it offers no look-up."""
    orders = await answer_orders(system, NUMBER, on_unconfirmed="RESEND")
    await until(lambda: system.stores.fetch("SELECT count(*) FROM inbox WHERE status = 'RECEIVED'"), _none, PATIENCE)
    await system.control.plan_webhooks("whatsapp", hold=True)
    await system.control.arm("whatsapp", "reset", always=True, accepted=True)
    await traffic.send_all(orders, at_once=8)


def _none(rows: list[asyncpg.Record]) -> bool:
    return bool(rows[0][0] == 0)


def _all(rows: list[asyncpg.Record]) -> bool:
    return bool(rows[0][0] == NUMBER)


async def all_are_unconfirmed(system: SystemUnderTest) -> None:
    query = "SELECT count(*) FROM messages WHERE status = 'UNCONFIRMED'"
    await until(lambda: system.stores.fetch(query), _all, PATIENCE)


def nothing_went_out_twice(evidence: Evidence) -> None:
    assert count_ever(evidence, "UNCONFIRMED") == NUMBER
    assert count_copies(evidence) == {1: NUMBER}
    assert count_statuses(evidence) == {"DELIVERED": NUMBER}


@asynccontextmanager
async def reports_locked(system: SystemUnderTest) -> AsyncIterator[None]:
    """Lock the unread reports, as a process does that froze while it applied them."""
    connection = await asyncpg.connect(system.stores.superuser)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT id FROM inbox WHERE status = 'RECEIVED' FOR UPDATE")
            yield
    finally:
        await connection.close()


async def test_nothing_is_sent_again_after_the_api_was_down(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = Traffic(system, "API down")
        await answers_are_lost(system, traffic)
        await all_are_unconfirmed(system)
        await system.api.kill()
        await asyncio.sleep(LONGER_THAN_HOLD)
        await system.api.start()
        await until(system.is_ready, bool, PATIENCE)
        await system.control.release("whatsapp")
        nothing_went_out_twice(await settle_and_check(system, traffic, seed=traffic.seed))


async def test_nothing_is_sent_again_while_a_report_is_unread(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = Traffic(system, "unread")
        [worker] = system.workers
        await answers_are_lost(system, traffic)
        await all_are_unconfirmed(system)
        # Down for too short a time to count as a gap, so that the reports are stored and not applied.
        await worker.kill()
        await system.control.plan_webhooks("whatsapp")
        await system.control.release("whatsapp")
        await until(lambda: system.stores.fetch(UNREAD), lambda rows: rows[0][0] >= NUMBER, PATIENCE)
        async with reports_locked(system):
            await worker.start()
            # Without the rule a worker that has just started sends within this time.
            await asyncio.sleep(3 * LONGER_THAN_HOLD)
        nothing_went_out_twice(await settle_and_check(system, traffic, seed=traffic.seed))
