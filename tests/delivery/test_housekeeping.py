"""The worker's hourly work, with the rights a worker has."""

from uuid import uuid4

from sqlalchemy import text

from api.worker import _cron_jobs
from api.workshop import open_workshop
from core.access.principal import DEFAULT_TENANT
from tests.conftest import Urls
from tests.delivery.conftest import Shop
from tests.graph.houses import house_over


async def test_keys_whose_time_is_over_are_gone_after_it(shop: Shop, urls: Urls) -> None:
    for key in ("old", "new"):
        await shop.accept(key=key)
    async with shop.app.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now() WHERE key = 'old'"))
    house = house_over(urls, DATABASE_URL=urls.worker)
    workshop = open_workshop(house)
    try:
        assert workshop.housekeeping in [job.function for job in _cron_jobs(workshop)]
        await workshop.housekeeping(uuid4())
    finally:
        await house.close()
    assert await shop.count("idempotency_keys") == 1
    assert await shop.count("messages") == 2
