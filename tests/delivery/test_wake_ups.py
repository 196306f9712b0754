"""Wake-ups: many in a row become few jobs, and none is lost between two of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from api import queue
from api.queue import WakeUps
from tests.databases import SharedStores


@pytest.fixture
async def wake_ups(stores: SharedStores, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WakeUps]:
    monkeypatch.setattr(queue, "QUEUE", "test-wake-ups")
    redis = Redis.from_url(stores.urls.redis)
    yield WakeUps(redis)
    await redis.aclose()


@pytest.fixture
def sent(wake_ups: WakeUps, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics of the jobs that went out."""
    topics: list[str] = []

    async def enqueue(_job: str, *, topic: str, **_more: object) -> None:
        topics.append(topic)

    monkeypatch.setattr(wake_ups._queue, "enqueue", enqueue)
    return topics


async def test_many_in_a_row_are_two_jobs(wake_ups: WakeUps, sent: list[str]) -> None:
    for _ in range(50):
        await wake_ups.wake("SMS")
    await wake_ups.wake("EMAIL")
    await asyncio.wait(list(wake_ups._sending.values()))
    assert sorted(sent) == ["EMAIL", "SMS"]
    await wake_ups.wake("SMS")
    task = wake_ups._sending["SMS"]
    await asyncio.sleep(0)
    for _ in range(50):
        await wake_ups.wake("SMS")
    await task
    assert sorted(sent) == ["EMAIL", "SMS", "SMS", "SMS"]


async def test_what_comes_just_as_the_last_was_sent_is_sent(wake_ups: WakeUps, sent: list[str]) -> None:
    await wake_ups.wake("SMS")
    task = wake_ups._sending["SMS"]
    while not task.done():
        await asyncio.sleep(0)
    await wake_ups.wake("SMS")
    await asyncio.wait(list(wake_ups._sending.values()))
    assert sent == ["SMS", "SMS"]
