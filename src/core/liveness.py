"""How the system is doing: workers and pulses, and the work that was given up."""

import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    DateTime,
    Select,
    Table,
    Text,
    case,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, metadata

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The newest migration its code knows; null where it is of a version that did not say so yet.
    Column("revision", Text),
    # The ids of encryption keys that something waits for, and that this worker lacks.
    Column("missing_keys", ARRAY(Text), nullable=False, server_default=text("'{}'")),
)

servers = Table(
    "servers",
    metadata,
    # API processes. They have a table of their own, since every row of the other counts as a worker.
    Column("name", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


pulses = Table(
    "pulses",
    metadata,
    # A kind of work that must not stand still: taking webhooks in, applying them, sweeping.
    Column("name", Text, primary_key=True),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When it last went on after standing still.
    Column("resumed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


# Processes say that they live, and of which version they are; whether the system is ready shows in a fresh beat.


HEARTBEAT_INTERVAL = 3.0
"""Seconds between two beats."""
ALIVE_WITHIN = timedelta(seconds=15)
_DELETED_AFTER = timedelta(hours=1)


async def record_worker(database: Database, worker: str, revision: str) -> int:
    """Note that a worker lives, and forget those long gone; returns how many live.

    `revision` is the newest migration its code knows: a contract waits for processes that know less than it asks for.
    """
    async with database.transaction() as connection:
        await _record(connection, workers, worker, revision)
        return await count_live_workers(connection)


async def record_server(database: Database, server: str, revision: str) -> None:
    """Note that an API process lives, and forget those long gone."""
    async with database.transaction() as connection:
        await _record(connection, servers, server, revision)


async def _record(connection: AsyncConnection, table: Table, name: str, revision: str) -> None:
    row = insert(table).values(name=name, revision=revision)
    fresh = {"seen_at": func.now(), "revision": revision}
    await connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=fresh))
    await connection.execute(delete(table).where(table.c.seen_at < func.now() - _DELETED_AFTER))


async def remove_worker(database: Database, worker: str) -> None:
    """Note that a worker has gone in peace."""
    async with database.transaction() as connection:
        await connection.execute(delete(workers).where(workers.c.name == worker))


async def remove_server(database: Database, server: str) -> None:
    """Note that an API process has gone in peace."""
    async with database.transaction() as connection:
        await connection.execute(delete(servers).where(servers.c.name == server))


async def record_missing_keys(database: Database, worker: str, keys: Collection[str]) -> None:
    """Note which encryption keys a worker lacks that something waits for."""
    async with database.transaction() as connection:
        lacking = update(workers).where(workers.c.name == worker).values(missing_keys=sorted(keys))
        await connection.execute(lacking)


async def workers_missing_keys(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
    """The workers seen lately that lack encryption keys, each with the ids of those."""
    lacking = select(workers.c.name, workers.c.missing_keys).where(
        workers.c.seen_at > func.now() - ALIVE_WITHIN, func.cardinality(workers.c.missing_keys) > 0
    )
    return [(row.name, ", ".join(row.missing_keys)) for row in await connection.execute(lacking.order_by("name"))]


async def has_earlier_workers(connection: AsyncConnection) -> bool:
    """Whether a worker of the version before was seen lately, which says no revision."""
    is_seen = workers.c.seen_at > func.now() - ALIVE_WITHIN
    return (
        await connection.execute(select(workers.c.name).where(workers.c.revision.is_(None), is_seen))
    ).first() is not None


async def count_live_workers(connection: AsyncConnection) -> int:
    """Count workers seen lately."""
    found: int = (
        await connection.execute(
            select(func.count()).select_from(workers).where(workers.c.seen_at > func.now() - ALIVE_WITHIN)
        )
    ).scalar_one()
    return found


# Pulses: kinds of work that must not stand still say so each second, and remember when they last went on after a gap.
#
# While we were deaf, a company may have told us what became of a message. So nothing is decided about a doubt unless
# everything that could have brought the answer has been at work for as long as doubts are held.


ACTIVITY_INTERVAL = 1.0
"""Seconds between two beats."""
GAP = timedelta(seconds=5)
"""A longer silence is standing still."""


class Activity(StrEnum):
    """What must not stand still: taking webhooks in, applying them, sweeping."""

    INGRESS = "ingress"
    INBOX = "inbox"
    SWEEP = "sweep"


class ActivityReporter:
    """Says that a kind of work goes on, whichever process does it: at most once in `INTERVAL`, however often asked."""

    def __init__(self, database: Database, pulse: Activity) -> None:
        self._database = database
        self._pulse = pulse
        self._next = 0.0

    async def beat(self) -> None:
        """Say so, unless it was said a moment ago."""
        if (now := time.monotonic()) < self._next:
            return
        row = insert(pulses).values(name=self._pulse.value)
        stood_still = pulses.c.seen_at < func.now() - GAP
        statement = row.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "seen_at": func.now(),
                "resumed_at": case((stood_still, func.now()), else_=pulses.c.resumed_at),
            },
        )
        async with self._database.transaction() as connection:
            await connection.execute(statement)
        self._next = now + ACTIVITY_INTERVAL


def active_since() -> Select[Any]:
    """A scalar: since when everything has been at work without a gap; null while something stands still."""
    is_fresh: ColumnElement[bool] = pulses.c.seen_at > func.now() - GAP
    names = [pulse.value for pulse in Activity]
    return select(case((func.count().filter(is_fresh) == len(names), func.max(pulses.c.resumed_at)))).where(
        pulses.c.name.in_(names)
    )
