"""The figures of the dashboard: recent outcomes of a tenant's messages, and what waits."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import extract, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.dead_letters.store import DeadLetterFilter, count_dead_letters
from core.ids import uuid7_floor
from core.live.shared_values import SharedValues
from core.messages.status import Direction, MessageStatus, reports_delivery
from core.messages.tables import messages
from core.ports import Channel

# A slow computation runs less often: it takes at most a tenth of the time.
_REST = 10.0


class TimeWindow(StrEnum):
    """A span that ends now."""

    LAST_5_MINUTES = "LAST_5_MINUTES"
    LAST_HOUR = "LAST_HOUR"
    LAST_DAY = "LAST_DAY"
    LAST_WEEK = "LAST_WEEK"
    LAST_MONTH = "LAST_MONTH"

    @property
    def span(self) -> timedelta:
        """How long it is; a month is thirty days."""
        return _SPANS[self]


_SPANS = {
    TimeWindow.LAST_5_MINUTES: timedelta(minutes=5),
    TimeWindow.LAST_HOUR: timedelta(hours=1),
    TimeWindow.LAST_DAY: timedelta(days=1),
    TimeWindow.LAST_WEEK: timedelta(days=7),
    TimeWindow.LAST_MONTH: timedelta(days=30),
}


@dataclass(frozen=True, slots=True)
class ChannelCounters:
    """What became of the messages that were made in a window and belong to a channel now."""

    channel: Channel
    sent: int
    delivered: int
    failed: int
    median_delivery_seconds: float | None

    @property
    def delivery_rate(self) -> float | None:
        """The share of sent messages that was delivered; None where none was sent, or deliveries are not reported."""
        is_known = self.delivered > 0 or reports_delivery(self.channel)
        return self.delivered / self.sent if self.sent and is_known else None


# Compared by its numbers, not by their moment.
@dataclass(frozen=True, slots=True, weakref_slot=True)
class DashboardView:
    """The numbers at a moment."""

    window: TimeWindow
    messages: tuple[ChannelCounters, ...]
    queue_depth: int
    dead_letters: int
    at: datetime = field(compare=False)


@dataclass(frozen=True, slots=True)
class DashboardReader:
    """Computes dashboards, once for all subscribers of the same one."""

    database: Database
    shared_values: SharedValues

    async def read(self, tenant: UUID, window: TimeWindow) -> DashboardView:
        """Read the numbers, each group in one statement. Raises Overloaded."""
        now = datetime.now(UTC)
        async with self.database.transaction(tenant) as connection:
            return DashboardView(
                window,
                tuple(await _counters(connection, tenant, now - window.span)),
                await _queued(connection, tenant),
                await count_dead_letters(connection, tenant, DeadLetterFilter()),
                now,
            )

    async def watch(self, tenant: UUID, window: TimeWindow, every: float) -> AsyncGenerator[DashboardView, None]:
        """Yield the numbers now and when they have changed, at most once in `every` seconds."""

        @contextmanager
        def begin() -> Iterator[Callable[[DashboardView], Awaitable[None]]]:
            began = time.monotonic()

            async def pause(_: DashboardView) -> None:
                nonlocal began
                took = time.monotonic() - began
                await asyncio.sleep(max(every, took * _REST))
                began = time.monotonic()

            yield pause

        key = ("dashboard", tenant, window, every)
        async with aclosing(self.shared_values.watch(key, lambda: self.read(tenant, window), begin)) as found:
            async for view in found:
                yield view


async def _counters(connection: AsyncConnection, tenant: UUID, since: datetime) -> Sequence[ChannelCounters]:
    """Count by id, which follows time: a short window costs little however long the history is."""
    arrived = func.coalesce(messages.c.delivered_at, messages.c.read_at)
    took = extract("epoch", arrived - messages.c.sent_at)
    rows = await connection.execute(
        select(
            messages.c.channel,
            func.count(func.coalesce(messages.c.sent_at, arrived)).label("sent"),
            func.count(arrived).label("delivered"),
            func.count().filter(messages.c.status == MessageStatus.FAILED.value).label("failed"),
            func.percentile_cont(0.5).within_group(func.greatest(took, 0)).filter(took.is_not(None)).label("median"),
        )
        .where(
            messages.c.tenant_id == tenant,
            messages.c.id >= uuid7_floor(since),
            messages.c.direction == Direction.OUTBOUND.value,
        )
        .group_by(messages.c.channel)
    )
    found = {row.channel: row for row in rows}
    return [
        ChannelCounters(channel, row.sent, row.delivered, row.failed, None if row.median is None else float(row.median))
        for channel in Channel
        if (row := found.get(channel.value)) is not None
    ]


async def _queued(connection: AsyncConnection, tenant: UUID) -> int:
    waiting = select(func.count()).where(
        messages.c.tenant_id == tenant, messages.c.status == MessageStatus.QUEUED.value
    )
    found: int = (await connection.execute(waiting)).scalar_one()
    return found
