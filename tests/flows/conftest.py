"""The system as it runs: API, worker and simulated companies in processes of their own, spoken to over the wire."""

from collections.abc import AsyncIterator

import pytest

from tests.databases import SharedStores
from tests.running_system import (
    System,
    new_phone,
    running_system,
)


@pytest.fixture
def phone() -> str:
    """A number of this test alone."""
    return new_phone()


@pytest.fixture(scope="session")
async def system(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(stores, tmp_path_factory.mktemp("system")) as running:
        yield running
