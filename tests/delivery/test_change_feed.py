"""Subscribing to a tenant's changes: each is delivered exactly once, in whatever order transactions commit."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from core import pubsub
from core.database import Database
from core.errors import CursorExpired
from core.live.change_feed import CHANGES_PER_PAGE, QUEUE_SIZE, ChangeFeeds, Subscriber
from core.live.cursors import Cursor
from core.live.event_log import EventLog
from core.messages.change_feed import ChangeFilter, StatusChange, message_changes
from core.ports.identity import DEFAULT_TENANT
from core.pubsub import Change, Hub
from core.sealing import Sealer
from tests.databases import Urls
from tests.delivery.pipeline import MessagePipeline
from tests.delivery.subscribers import ASSIGN_TRANSACTION_ID, record_change, subscribed
from tests.delivery.subscribers import Subscriber as Reader
from tests.helpers import until


@pytest.fixture
async def feeds(
    app_database: Database, sealer: Sealer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> ChangeFeeds[StatusChange]:
    # Who writes here gives no hints: the feed looks by itself, without a second's patience.
    monkeypatch.setattr(pubsub, "_TIMEOUT_ALONE", 0.02)
    return ChangeFeeds(app_database, hub, message_changes(sealer))


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(urls.direct, min_size=0, max_size=6) as pool:
        yield pool


async def begun(reader: Reader, feeds: ChangeFeeds[StatusChange]) -> "asyncio.Task[StatusChange]":
    """Wait for the first change in the background, from a moment that has come when this returns."""
    first = asyncio.create_task(reader.next())

    async def followers() -> int:
        return sum(len(feed._subscribers) for feed, _ in feeds._feeds.values())

    await until(followers, lambda count: count > 0)
    return first


async def test_a_lower_number_committed_later_is_still_delivered(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    slow, quick = await pipeline.accept(), await pipeline.accept()
    async with subscribed(feeds) as reader, owner.acquire() as one, owner.acquire() as other:
        first = await begun(reader, feeds)
        late = one.transaction()
        await late.start()
        lower = await record_change(one, slow, "SENDING", "QUEUED")
        higher = await record_change(other, quick, "SENDING", "QUEUED")
        assert lower < higher
        assert (await first).event.sequence == higher
        standing = reader.place
        await late.commit()
        assert await reader.take(1) == [lower]
    # A subscriber that leaves in between and returns receives the same.
    async with subscribed(feeds, after=standing) as again:
        assert await again.take(1) == [lower]


async def test_a_higher_number_of_an_older_transaction_is_still_delivered(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    message, other_message = await pipeline.accept(), await pipeline.accept()
    async with subscribed(feeds) as reader, owner.acquire() as old, owner.acquire() as young:
        first = await begun(reader, feeds)
        transaction = old.transaction()
        await transaction.start()
        await old.fetchval(ASSIGN_TRANSACTION_ID)
        lower = await record_change(young, message, "SENDING", "QUEUED")
        assert (await first).event.sequence == lower
        standing = reader.place
        higher = await record_change(old, other_message, "SENDING", "QUEUED")
        await transaction.commit()
        assert await reader.take(1) == [higher]
    async with subscribed(feeds, after=standing) as again:
        assert await again.take(1) == [higher]


@pytest.mark.parametrize(("catching_up", "reading_of_it"), [("read_since", 2), ("read_current", 1)])
async def test_changes_read_ahead_of_the_feed_are_not_delivered_again_after_a_reconnect(
    pipeline: MessagePipeline,
    feeds: ChangeFeeds[StatusChange],
    owner: asyncpg.Pool,
    monkeypatch: pytest.MonkeyPatch,
    catching_up: str,
    reading_of_it: int,
) -> None:
    """A new subscriber reads further than the feed has polled; what it receives next may have a lower number."""
    messages = [await pipeline.accept(), await pipeline.accept()]
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        await record_change(owner, messages[0], "SENDING", "QUEUED")
        place = (await first).cursor
    # From now on the feed polls when a subscriber joins, and when it is notified.
    monkeypatch.setattr(pubsub, "_TIMEOUT_ALONE", 60)
    read, higher, readings = getattr(EventLog, catching_up), 0, 0

    async def read_further(*arguments: Any, **options: Any) -> Any:
        nonlocal higher, readings
        readings += 1
        if readings == reading_of_it:
            higher = await record_change(owner, messages[0], "SENT", "SENDING")
        return await read(*arguments, **options)

    monkeypatch.setattr(EventLog, catching_up, read_further)
    after = place if catching_up == "read_since" else None
    interest = ChangeFilter() if after else ChangeFilter(ids=frozenset(messages))
    async with owner.acquire() as late, subscribed(feeds, interest, after) as reader:
        transaction = late.transaction()
        await transaction.start()
        lower = await record_change(late, messages[1], "SENDING", "QUEUED")
        while (await reader.next()).event.sequence != higher:
            pass
        await transaction.commit()
        for listener in pipeline.hub._listeners:
            listener.wake()
        while (await reader.next()).event.sequence != lower:
            pass
    assert lower < higher
    last = await record_change(owner, messages[1], "SENT", "SENDING")
    async with subscribed(feeds, after=reader.place) as again:
        assert await again.take(1) == [last]


async def test_an_endless_transaction_delays_no_subscriber(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    message = await pipeline.accept()
    async with owner.acquire() as unrelated, owner.acquire() as other:
        stuck = unrelated.transaction()
        await stuck.start()
        await unrelated.execute("UPDATE tenants SET name = name WHERE id = $1", DEFAULT_TENANT)
        async with subscribed(feeds) as reader:
            first = await begun(reader, feeds)
            written = [
                await record_change(other, message, "SENDING", "QUEUED"),
                await record_change(other, message, "SENT", "SENDING"),
            ]
            assert [(await first).event.sequence, *await reader.take(1)] == written
            place = reader.place
        written = [await record_change(other, message, "DELIVERED", "SENT")]
        async with subscribed(feeds, after=place) as again:
            assert await again.take(1) == written
        await stuck.rollback()


async def test_a_subscriber_that_reconnects_anywhere_receives_everything_once(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    """Transactions overlap at random and end in any order, while a reader leaves and comes back after each change."""
    dice = random.Random(11)
    messages = [await pipeline.accept() for _ in range(8)]
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        await record_change(owner, messages[0], "SENDING", "QUEUED")
        place: Cursor | None = (await first).cursor
    writing = asyncio.create_task(_write_at_random(owner, messages, dice))
    told: list[int] = []
    while not (writing.done() and len(told) >= writing.result()):
        async with subscribed(feeds, after=place) as reader:
            for _ in range(dice.randint(1, 3)):
                if writing.done() and len(told) >= writing.result():
                    break
                told += await reader.take(1)
            place = reader.place or place
    stored = await owner.fetch("SELECT sequence FROM message_events WHERE detail = 'written' ORDER BY sequence")
    assert sorted(told) == [row["sequence"] for row in stored]


async def _write_at_random(owner: asyncpg.Pool, messages: list[UUID], dice: random.Random) -> int:
    async def one(message: UUID) -> int:
        count = dice.randint(1, 3)
        async with owner.acquire() as connection, connection.transaction():
            for _ in range(count):
                sequence = await record_change(connection, message, "SENT", "SENDING")
                await connection.execute("UPDATE message_events SET detail = 'written' WHERE sequence = $1", sequence)
                await asyncio.sleep(dice.random() / 100)
        return count

    rounds = [await asyncio.gather(*(one(dice.choice(messages)) for _ in range(5))) for _ in range(8)]
    return sum(map(sum, rounds))


async def test_more_than_one_page_is_delivered_in_order(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    message = await pipeline.accept()
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        start = await record_change(owner, message, "SENDING", "QUEUED")
        assert (await first).event.sequence == start
        place = reader.place
        written = await _many(owner, message, 2 * CHANGES_PER_PAGE + 50)
        assert await reader.take(len(written)) == written
    async with subscribed(feeds, after=place) as again:
        half = await again.take(CHANGES_PER_PAGE + 7)
        place = again.place
    async with subscribed(feeds, after=place) as again:
        assert half + await again.take(len(written) - len(half)) == written


async def _many(owner: asyncpg.Pool, message: UUID, count: int) -> list[int]:
    rows = await owner.fetch(
        "INSERT INTO message_events (tenant_id, message_id, status, previous_status, channel, source)"
        " SELECT $1, $2, 'SENT', 'SENDING', 'SMS', 'WORKER' FROM generate_series(1, $3::int) RETURNING sequence",
        DEFAULT_TENANT,
        message,
        count,
    )
    return [row["sequence"] for row in rows]


async def test_a_cursor_is_good_for_an_hour_and_longer_while_nothing_happens(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    message = await pipeline.accept()
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        await record_change(owner, message, "SENDING", "QUEUED")
        place = (await first).cursor
    old = Cursor(place.at - 4 * 3600, place.seen, place.ahead, place.sequence)
    missed = await record_change(owner, message, "SENT", "SENDING")
    for cursor in (place, old):
        async with subscribed(feeds, after=cursor) as again:
            assert await again.take(1) == [missed]
    await owner.execute(
        "UPDATE message_events SET at = now() - $1::interval WHERE sequence = $2", timedelta(minutes=61), missed
    )
    with pytest.raises(CursorExpired):
        async with subscribed(feeds, after=old) as again:
            await again.next()


@pytest.mark.parametrize("lost", ["forgotten", "of another database"])
async def test_a_cursor_that_cannot_be_resumed_has_expired(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool, lost: str
) -> None:
    message = await pipeline.accept()
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        await record_change(owner, message, "SENDING", "QUEUED")
        place = (await first).cursor
    assert place.ahead is not None
    ahead = place.ahead if lost == "forgotten" else type(place.ahead)(place.ahead.xmax + 1_000_000)
    age = 8 * 86_400 if lost == "forgotten" else 0
    with pytest.raises(CursorExpired):
        async with subscribed(feeds, after=Cursor(place.at - age, place.seen, ahead, place.sequence)) as again:
            await again.next()


async def test_a_slow_subscriber_is_told_of_the_gap_and_its_buffer_stays_small(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    message = await pipeline.accept()
    async with subscribed(feeds) as slow, subscribed(feeds) as quick:
        first, other = await begun(slow, feeds), await begun(quick, feeds)
        start = await record_change(owner, message, "SENDING", "QUEUED")
        assert ((await first).event.sequence, (await other).event.sequence) == (start, start)
        written: list[int] = []
        for _ in range(QUEUE_SIZE // CHANGES_PER_PAGE + 3):
            page = await _many(owner, message, CHANGES_PER_PAGE)
            written += page
            # Who keeps up misses nothing, however slow the other is.
            assert await quick.take(CHANGES_PER_PAGE) == page
        [feed] = [feed for feed, _ in feeds._feeds.values()]
        assert max(len(follower) for follower in feed._subscribers) <= QUEUE_SIZE
        change_after = await slow.next()
        assert change_after.has_gap
        assert not (await slow.next()).has_gap
        rest = len(written) - written.index(slow.told[-1][1]) - 1
        assert await slow.take(rest) == written[-rest:]
        assert slow.told[1][1] > start + 1


async def test_skipped_changes_can_be_read_after_a_reconnect(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool
) -> None:
    message = await pipeline.accept()
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        await record_change(owner, message, "SENDING", "QUEUED")
        before_gap = (await first).cursor
        written = await _many(owner, message, 2 * QUEUE_SIZE + CHANGES_PER_PAGE)
        [feed] = [feed for feed, _ in feeds._feeds.values()]
        await until(lambda: _waiting(feed._subscribers), lambda most: 0 < most <= CHANGES_PER_PAGE, 20)
    async with subscribed(feeds, after=before_gap) as again:
        assert await again.take(len(written)) == written


async def _waiting(followers: set[Subscriber[StatusChange]]) -> int:
    return max(len(follower) for follower in followers)


async def test_a_failing_feed_ends_its_subscriptions_and_the_next_one_starts_again(
    pipeline: MessagePipeline, feeds: ChangeFeeds[StatusChange], owner: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await pipeline.accept()
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        with monkeypatch.context() as patch:
            patch.setattr(EventLog, "read_since", _fail)
            await pipeline.hub.publish([Change(DEFAULT_TENANT, message)])
            with pytest.raises(ArithmeticError):
                await first
    assert len(feeds) == 0
    async with subscribed(feeds) as reader:
        first = await begun(reader, feeds)
        written = await record_change(owner, message, "SENDING", "QUEUED")
        assert (await first).event.sequence == written


async def _fail(*_: object, **__: object) -> None:
    raise ArithmeticError("a broken row")
