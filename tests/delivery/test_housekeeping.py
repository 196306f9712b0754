"""Maintenance that a worker does beside delivery, with the rights of a worker."""

import asyncio
from dataclasses import replace

from sqlalchemy import text

from api.worker.loops import build_worker, worker_context
from api.worker.process import all_jobs
from core import liveness
from core.messages.worker import build_deliveries, loop_of
from core.ports.identity import DEFAULT_TENANT
from tests.apps import build_application
from tests.databases import Urls
from tests.delivery.pipeline import MessagePipeline
from tests.helpers import wait_until


async def test_keys_whose_time_is_over_are_gone_after_it(pipeline: MessagePipeline, urls: Urls) -> None:
    for key in ("old", "new"):
        await pipeline.accept(key=key)
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now() WHERE key = 'old'"))
    application = build_application(urls, DATABASE_URL=urls.worker)
    worker = build_worker(application)
    try:
        assert worker.housekeeping in [job.run for job in all_jobs(worker)]
        await worker.housekeeping()
    finally:
        await application.close()
    assert await pipeline.count("idempotency_keys") == 1
    assert await pipeline.count("messages") == 2


async def test_a_worker_knows_among_how_many_a_pace_is_shared(pipeline: MessagePipeline, urls: Urls) -> None:
    application = build_application(urls, DATABASE_URL=urls.worker)
    context = worker_context(application, "test")
    deliveries = build_deliveries(context)
    assert deliveries
    worker = replace(build_worker(application), loops=[loop_of(one) for one in deliveries])
    for name in ("second", "third"):
        await liveness.record_worker(pipeline.worker, name, "0012")
    beating = asyncio.create_task(worker.beat())
    try:
        await wait_until(lambda: {one.rate_limiter.workers for one in deliveries} == {3})
    finally:
        beating.cancel()
        await application.close()
