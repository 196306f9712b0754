"""A message pipeline over a test database, with one fake sender."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from core.database import Database
from core.pubsub import Hub
from core.sealing import Sealer, prepare_lookups
from tests.databases import SharedStores
from tests.delivery.limiters import NewLimiter, limiters
from tests.delivery.pipeline import FakeSender, MessagePipeline, make_pipeline


@pytest.fixture
async def pipeline(app_database: Database, worker_database: Database, sealer: Sealer, hub: Hub) -> MessagePipeline:
    # As a worker does when it starts.
    await prepare_lookups(worker_database, sealer)
    return make_pipeline(app_database, worker_database, sealer, hub, FakeSender())


@pytest.fixture
def integration() -> str:
    """An integration name that no other test uses."""
    return f"test-{uuid4().hex}"


@pytest.fixture
async def new_limiter(stores: SharedStores, integration: str) -> AsyncIterator[NewLimiter]:
    async with limiters(stores.urls.redis, integration) as make:
        yield make
