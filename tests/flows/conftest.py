"""The running system, shared by all tests of this folder, and a phone number for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.databases import SharedStores
from tests.running_system import (
    System,
    phone,
    running_system,
)

__all__ = ["phone"]


@pytest.fixture(scope="session")
async def system(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(stores, tmp_path_factory.mktemp("system")) as running:
        yield running
