"""Delivery through PgBouncer in transaction mode, as Neon's pooled address has it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.database import Database, make_engine
from core.errors import Overloaded
from core.ports.identity import DEFAULT_TENANT
from core.pubsub import Hub
from core.sealing import Sealer
from tests.databases import Urls
from tests.delivery.pipeline import FakeSender, MessagePipeline, make_pipeline
from tests.helpers import until
from tests.pooler import behind_a_pooler, needs_pooler
from tests.proxy import ChaosProxy

pytestmark = needs_pooler


@pytest.fixture
async def pooled(urls: Urls, tmp_path: Path) -> AsyncIterator[Urls]:
    async with behind_a_pooler(urls, tmp_path) as found:
        yield found


async def test_messages_are_accepted_and_delivered_through_a_pooler(pooled: Urls, sealer: Sealer, hub: Hub) -> None:
    app, worker = (Database(make_engine(url, prepared_statements=False)) for url in (pooled.app, pooled.worker))
    pipeline: MessagePipeline = make_pipeline(app, worker, sealer, hub, FakeSender())
    ids = await asyncio.gather(*(pipeline.accept(body=str(number), key=str(number)) for number in range(30)))
    assert [await pipeline.accept(body="0", key="0")] == [ids[0]]
    await pipeline.delivery.drain()
    assert {await pipeline.status(one) for one in ids} == {"SENT"}
    assert len(pipeline.sender.sent) == 30
    await app.close()
    await worker.close()


async def test_a_transactions_tenants_do_not_leak_to_the_next_client(pooled: Urls) -> None:
    database = Database(make_engine(pooled.worker, prepared_statements=False))

    async def told(*tenants: object) -> str:
        async with database.transaction(*tenants) as connection:  # type: ignore[arg-type]
            answer = await connection.exec_driver_sql("SELECT current_setting('app.tenants', true)")
            return str(answer.scalar_one())

    answers = await asyncio.gather(*(told(DEFAULT_TENANT) if number % 2 else told() for number in range(40)))
    assert answers == [str(DEFAULT_TENANT) if number % 2 else "" for number in range(40)]
    await database.close()


async def test_requests_succeed_soon_after_postgresql_is_back(urls: Urls, tmp_path: Path) -> None:
    wire = ChaosProxy("postgres", urlsplit(urls.app).port or 0)
    await wire.start()
    async with behind_a_pooler(urls, tmp_path, server=wire.port) as pooled:
        database = Database(make_engine(pooled.app, prepared_statements=False))

        async def is_served() -> bool:
            try:
                async with database.transaction(DEFAULT_TENANT):
                    return True
            except Overloaded:
                return False

        assert await is_served()
        wire.refuse()
        wire.cut(reset=True)
        # The pooler finds out that it cannot log in, and remembers it; requests wait for it meanwhile.
        waiting = asyncio.create_task(is_served())
        await asyncio.wait({waiting}, timeout=0.6)
        await wire.accept()
        began = time.monotonic()
        await until(is_served, bool, 20)
        # By PgBouncer's own default it takes 15 seconds.
        assert time.monotonic() - began < 5
        assert await waiting
        await database.close()
    await wire.stop()
