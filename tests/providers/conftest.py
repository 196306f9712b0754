"""HTTP clients for adapters that are tested against the simulators or a scripted server."""

from collections.abc import AsyncIterator

import pytest

from integrations.http_client import HttpClient


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient("twilio", connect_timeout=3)
    yield client
    await client.close()


@pytest.fixture
async def hasty() -> AsyncIterator[HttpClient]:
    """The client with hardly any patience."""
    client = HttpClient("twilio", connect_timeout=0.2, total_timeout=0.3)
    yield client
    await client.close()
