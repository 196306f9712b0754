"""Counters: exact at every moment, whoever writes and whatever was rolled up, and never counted twice."""

import asyncio
import random
from collections import Counter as Tally
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.worker.loops import build_worker
from api.worker.process import all_jobs
from core import counters
from core.counters import delete_old_minutes, read_counter, roll_up
from core.database import Database
from core.messages.noun import STATUS_CHANGES
from core.ports.identity import DEFAULT_TENANT
from tests.apps import build_application
from tests.databases import Urls
from tests.delivery.factories import inbound_message
from tests.delivery.pipeline import MessagePipeline
from tests.helpers import until

LONG_AGO, LATER = datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
_EVENT = text(
    "INSERT INTO message_events (tenant_id, message_id, status, previous_status, channel, source, at)"
    " VALUES (:tenant, :message, :status, 'QUEUED', 'SMS', 'WORKER', coalesce(CAST(:at AS timestamptz), now()))"
)


async def log(
    connection: AsyncConnection,
    message: UUID,
    status: str = "SENT",
    tenant: UUID = DEFAULT_TENANT,
    at: datetime | None = None,
) -> None:
    await connection.execute(_EVENT, {"tenant": tenant, "message": message, "status": status, "at": at})


async def read(
    database: Database, tenant: UUID = DEFAULT_TENANT, since: datetime = LONG_AGO, until: datetime = LATER
) -> Mapping[str, int]:
    async with database.transaction(tenant) as connection:
        return await read_counter(connection, tenant, STATUS_CHANGES, since=since, until=until)


async def rolled(database: Database) -> dict[str, Mapping[str, int]]:
    """What is in the table, by span."""
    async with database.transaction() as connection:
        rows = await connection.execute(
            text("SELECT span, label, sum(count)::int AS number FROM counters GROUP BY span, label")
        )
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            found.setdefault(row.span, {})[row.label] = row.number
        return dict(found)


async def roll_up_until(database: Database, expected: Mapping[str, int]) -> None:
    """Transactions of other databases of the server may hold the newest events back for a moment."""

    async def step() -> dict[str, Mapping[str, int]]:
        await roll_up(database, STATUS_CHANGES)
        return await rolled(database)

    await until(step, lambda found: found.get("DAY") == expected)


async def add_tenant(urls: Urls) -> UUID:
    tenant, owner = uuid4(), await asyncpg.connect(urls.superuser)
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, $2, 'Loja', 'UTC', 'BRL')",
        tenant,
        tenant.hex,
    )
    await owner.close()
    return tenant


class _Undone(Exception):
    """Rolls a transaction back."""


async def write(database: Database, message: UUID, status: str) -> None:
    """Thirty transactions of two events each; a third of them is rolled back."""
    for number in range(30):
        try:
            async with database.transaction(DEFAULT_TENANT) as connection:
                await log(connection, message, status)
                await asyncio.sleep(random.random() / 200)
                await log(connection, message, "FAILED")
                if number % 3 == 0:
                    raise _Undone
        except _Undone:
            continue


async def test_four_writers_two_workers_and_rollbacks_leave_exact_counts(pipeline: MessagePipeline) -> None:
    message, statuses = await pipeline.accept(), ["SENT", "DELIVERED", "READ", "EXPIRED"]
    expected = {"SMS/QUEUED": 1, "SMS/FAILED": 80, **{f"SMS/{status}": 20 for status in statuses}}
    writing = asyncio.gather(*(write(pipeline.app, message, status) for status in statuses))

    async def work() -> None:
        while not writing.done():
            await roll_up(pipeline.worker, STATUS_CHANGES)

    await asyncio.gather(writing, work(), work())
    assert await read(pipeline.app) == expected
    await roll_up_until(pipeline.worker, expected)
    assert (await rolled(pipeline.worker))["MINUTE"] == expected
    assert await read(pipeline.app) == expected


async def test_each_change_of_a_message_is_counted_as_clients_see_it(pipeline: MessagePipeline) -> None:
    messages = [await pipeline.accept() for _ in range(3)]
    await pipeline.delivery.drain()
    await pipeline.tamper(
        "INSERT INTO senders (tenant_id, integration, address)"
        f" VALUES ('{DEFAULT_TENANT}', 'twilio', '+5511900000000') ON CONFLICT DO NOTHING"
    )
    await pipeline.keep(inbound_message("+5511900000000"))
    await pipeline.apply()
    expected = Tally([f"SMS/{status}" for one in messages for status in await pipeline.statuses(one)])
    assert expected["SMS/QUEUED"] == 3
    expected["SMS/RECEIVED"] = 1
    assert await read(pipeline.app) == expected
    await roll_up_until(pipeline.worker, expected)


async def test_a_worker_that_is_stopped_between_two_steps_counts_nothing_twice_and_nothing_less(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await pipeline.accept()
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        for _ in range(9):
            await log(connection, message)
    expected = {"SMS/QUEUED": 1, "SMS/SENT": 9}
    monkeypatch.setattr(counters, "_EVENTS", 2)
    step, steps = counters._roll_up_some, 0

    async def broken(connection: AsyncConnection, *given: object) -> UUID | None:
        nonlocal steps
        steps += 1
        first = await step(connection, *given)  # type: ignore[arg-type]
        if steps % 3 == 2:
            # Behind the last statement, before the commit.
            raise _Undone
        return first

    monkeypatch.setattr(counters, "_roll_up_some", broken)

    async def attempt() -> Mapping[str, int]:
        try:
            await roll_up(pipeline.worker, STATUS_CHANGES)
        except _Undone:
            assert await read(pipeline.app) == expected
        return (await rolled(pipeline.worker)).get("DAY", {})

    await until(attempt, lambda found: sum(found.values()) >= 10)
    assert await rolled(pipeline.worker) == {"DAY": expected, "MINUTE": expected}
    assert steps > 5


async def test_events_that_are_committed_out_of_order_are_all_counted(pipeline: MessagePipeline) -> None:
    message = await pipeline.accept()
    async with pipeline.app.transaction(DEFAULT_TENANT) as early:
        await log(early, message, "SENT")
        async with pipeline.app.transaction(DEFAULT_TENANT) as late:
            await log(late, message, "DELIVERED")
        await roll_up(pipeline.worker, STATUS_CHANGES)
        assert "SMS/DELIVERED" not in (await rolled(pipeline.worker)).get("DAY", {})
        assert await read(pipeline.app) == {"SMS/QUEUED": 1, "SMS/DELIVERED": 1}
    await roll_up_until(pipeline.worker, {"SMS/QUEUED": 1, "SMS/DELIVERED": 1, "SMS/SENT": 1})


async def test_another_tenant_reads_its_own_counts_only(pipeline: MessagePipeline, urls: Urls) -> None:
    other = await add_tenant(urls)
    await pipeline.accept()
    await roll_up_until(pipeline.worker, {"SMS/QUEUED": 1})
    assert await read(pipeline.app, other) == {}
    async with pipeline.app.transaction(other) as connection:
        asked = partial(read_counter, connection, DEFAULT_TENANT, STATUS_CHANGES, since=LONG_AGO, until=LATER)
        assert await asked() == {}
    assert await read(pipeline.app) == {"SMS/QUEUED": 1}


def unit(moment: datetime, now: datetime) -> timedelta:
    return timedelta(minutes=1) if moment >= now - timedelta(days=7) else timedelta(days=1)


def whole(moment: datetime, now: datetime) -> datetime:
    minute = moment.replace(second=0, microsecond=0)
    return minute if unit(moment, now) < timedelta(days=1) else minute.replace(hour=0, minute=0)


async def test_any_span_is_exact_before_and_after_it_was_rolled_up(pipeline: MessagePipeline) -> None:
    dice, now, message = random.Random(13), datetime.now(UTC), await pipeline.accept()
    moments = [now - timedelta(minutes=dice.randrange(20 * 1440)) for _ in range(200)]
    moments += [now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=day) for day in range(20)]
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        for moment in moments:
            await log(connection, message, at=moment)
    spans = [sorted(dice.choices(moments, k=2)) for _ in range(60)]

    async def compare() -> None:
        for since, end in spans:
            first, behind = whole(since, now), whole(end, now)
            behind += timedelta() if behind == end else unit(end, now)
            wanted = sum(first <= moment < behind for moment in moments)
            assert (await read(pipeline.app, since=since, until=end)).get("SMS/SENT", 0) == wanted, (since, end)

    await compare()
    await roll_up_until(pipeline.worker, {"SMS/SENT": len(moments), "SMS/QUEUED": 1})
    await compare()
    assert not await delete_old_minutes(pipeline.worker)
    await compare()


async def test_minutes_are_deleted_after_eight_days_and_days_stay(pipeline: MessagePipeline, urls: Urls) -> None:
    message = await pipeline.accept()
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await log(connection, message)
    expected = {"SMS/QUEUED": 1, "SMS/SENT": 1}
    await roll_up_until(pipeline.worker, expected)
    await pipeline.tamper("UPDATE counters SET since = since - interval '10 days' WHERE label = 'SMS/SENT'")
    application = build_application(urls, DATABASE_URL=urls.worker)
    await build_worker(application).housekeeping()
    await application.close()
    assert await rolled(pipeline.worker) == {"DAY": expected, "MINUTE": {"SMS/QUEUED": 1}}


async def test_a_restored_dump_goes_on_counting(pipeline: MessagePipeline, urls: Urls) -> None:
    message = await pipeline.accept()
    await roll_up_until(pipeline.worker, {"SMS/QUEUED": 1})
    # Of before the dump, in transactions of another server, whose ids were higher: one counted, one not.
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await log(connection, message, "SENT")
    owner = await asyncpg.connect(urls.superuser)
    await owner.execute("UPDATE message_events SET transaction_id = '9000000000' WHERE status = 'QUEUED'")
    await owner.execute("UPDATE message_events SET transaction_id = '9000000001' WHERE status = 'SENT'")
    await owner.execute("UPDATE counter_cursors SET transaction_id = '9000000000'")
    await owner.close()
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await log(connection, message, "DELIVERED")
    expected = {"SMS/QUEUED": 1, "SMS/SENT": 1, "SMS/DELIVERED": 1}
    await roll_up_until(pipeline.worker, expected)
    assert await read(pipeline.app) == expected


async def test_a_count_is_exact_however_far_the_workers_are_behind(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await pipeline.accept()
    for at_once in range(1, 7):
        monkeypatch.setattr(counters, "_AT_ONCE", at_once)
        assert await read(pipeline.app) == {"SMS/QUEUED": 5}, at_once


async def test_reading_is_one_statement_and_an_idle_tenant_costs_no_write(pipeline: MessagePipeline) -> None:
    await pipeline.accept()
    await roll_up_until(pipeline.worker, {"SMS/QUEUED": 1})
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement.split()[0])

    for database in (pipeline.app, pipeline.worker):
        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await read(pipeline.app)
    assert statements == ["WITH"]
    statements.clear()
    await roll_up(pipeline.worker, STATUS_CHANGES)
    # The cursors of new tenants, and the search for cursors with events behind them, which locks none.
    assert statements == ["INSERT", "SELECT"]


async def test_a_worker_rolls_up_every_counter(pipeline: MessagePipeline, urls: Urls) -> None:
    await pipeline.accept()
    application = build_application(urls, DATABASE_URL=urls.worker)
    try:
        jobs = {job.name: job for job in all_jobs(build_worker(application))}
        assert jobs["count messages.status"].cron == "* * * * *"

        async def step() -> dict[str, Mapping[str, int]]:
            await jobs["count messages.status"].run()
            return await rolled(pipeline.worker)

        await until(step, lambda found: found.get("DAY") == {"SMS/QUEUED": 1})
    finally:
        await application.close()
