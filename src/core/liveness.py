"""Which processes are alive, and since when the work that must not stop has run without a gap.

Workers and API processes write a heartbeat each few seconds. Each kind of work that must not stop writes one each
second, and its row keeps when it last resumed after a gap. While it did not run, a provider may have reported what
became of a message: so nothing is decided about an unconfirmed message unless everything that could bring the report
has run for as long as unconfirmed messages are held.
"""

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
    # The newest migration its code knows; null from a version that did not write it yet.
    Column("revision", Text),
    # The ids of encryption keys that due work needs and this worker lacks.
    Column("missing_keys", ARRAY(Text), nullable=False, server_default=text("'{}'")),
)

servers = Table(
    "servers",
    metadata,
    # API processes. They have a table of their own, since every row of `workers` counts as a worker.
    Column("name", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


pulses = Table(
    "pulses",
    metadata,
    # A kind of work that must not stop: receiving webhooks, applying them, sweeping.
    Column("name", Text, primary_key=True),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When it last resumed after a gap.
    Column("resumed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


HEARTBEAT_INTERVAL = 3.0
"""Seconds between two beats."""
ALIVE_WITHIN = timedelta(seconds=15)
_DELETED_AFTER = timedelta(hours=1)


async def record_worker(database: Database, worker: str, revision: str) -> int:
    """Record that a worker is alive, and delete those long gone; returns how many are alive.

    `revision` is the newest migration its code knows: a contract migration waits until no older process is alive.
    """
    async with database.transaction() as connection:
        await _record(connection, workers, worker, revision)
        return await count_live_workers(connection)


async def record_server(database: Database, server: str, revision: str) -> None:
    """Record that an API process is alive, and delete those long gone."""
    async with database.transaction() as connection:
        await _record(connection, servers, server, revision)


async def _record(connection: AsyncConnection, table: Table, name: str, revision: str) -> None:
    row = insert(table).values(name=name, revision=revision)
    fresh = {"seen_at": func.now(), "revision": revision}
    await connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=fresh))
    await connection.execute(delete(table).where(table.c.seen_at < func.now() - _DELETED_AFTER))


async def remove_worker(database: Database, worker: str) -> None:
    """Record that a worker has stopped."""
    async with database.transaction() as connection:
        await connection.execute(delete(workers).where(workers.c.name == worker))


async def remove_server(database: Database, server: str) -> None:
    """Record that an API process has stopped."""
    async with database.transaction() as connection:
        await connection.execute(delete(servers).where(servers.c.name == server))


async def record_missing_keys(database: Database, worker: str, keys: Collection[str]) -> None:
    """Record which encryption keys a worker lacks that due work needs."""
    async with database.transaction() as connection:
        lacking = update(workers).where(workers.c.name == worker).values(missing_keys=sorted(keys))
        await connection.execute(lacking)


async def workers_missing_keys(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
    """The live workers that lack encryption keys, each with the ids of those."""
    lacking = select(workers.c.name, workers.c.missing_keys).where(
        workers.c.seen_at > func.now() - ALIVE_WITHIN, func.cardinality(workers.c.missing_keys) > 0
    )
    return [(row.name, ", ".join(row.missing_keys)) for row in await connection.execute(lacking.order_by("name"))]


async def keys_missing_anywhere(connection: AsyncConnection) -> set[str]:
    """The ids of encryption keys that a live worker lacks and due work needs."""
    lacking = select(func.unnest(workers.c.missing_keys)).where(workers.c.seen_at > func.now() - ALIVE_WITHIN)
    return set((await connection.execute(lacking)).scalars())


async def has_earlier_workers(connection: AsyncConnection) -> bool:
    """Whether a worker is alive of a version that writes no revision."""
    is_seen = workers.c.seen_at > func.now() - ALIVE_WITHIN
    return (
        await connection.execute(select(workers.c.name).where(workers.c.revision.is_(None), is_seen))
    ).first() is not None


async def count_live_workers(connection: AsyncConnection) -> int:
    """Count live workers."""
    found: int = (
        await connection.execute(
            select(func.count()).select_from(workers).where(workers.c.seen_at > func.now() - ALIVE_WITHIN)
        )
    ).scalar_one()
    return found


ACTIVITY_INTERVAL = 1.0
"""Seconds between two beats."""
GAP = timedelta(seconds=5)
"""A longer pause between two beats is a gap."""


class Activity(StrEnum):
    """The work that must not stop: receiving webhooks, applying them, sweeping."""

    INGRESS = "ingress"
    INBOX = "inbox"
    SWEEP = "sweep"


class ActivityReporter:
    """Records that a kind of work runs, in whichever process: at most once in `ACTIVITY_INTERVAL`."""

    def __init__(self, database: Database, pulse: Activity) -> None:
        self._database = database
        self._pulse = pulse
        self._next = 0.0

    async def beat(self) -> None:
        """Record it, unless it was recorded within the interval."""
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
    """A scalar: since when all of the work has run without a gap; null while some of it does not run."""
    is_fresh: ColumnElement[bool] = pulses.c.seen_at > func.now() - GAP
    names = [pulse.value for pulse in Activity]
    return select(case((func.count().filter(is_fresh) == len(names), func.max(pulses.c.resumed_at)))).where(
        pulses.c.name.in_(names)
    )
