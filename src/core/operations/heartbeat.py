"""Processes say that they live, and of which version they are; whether the system is ready shows in a fresh beat."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.operations.tables import servers, workers

INTERVAL = 3.0
"""Seconds between two beats."""
FRESH = timedelta(seconds=15)
_FORGOTTEN = timedelta(hours=1)


async def beat(database: Database, worker: str, revision: str) -> int:
    """Note that a worker lives, and forget those long gone; returns how many live.

    `revision` is the newest migration its code knows: a contract waits for processes that know less than it asks for.
    """
    async with database.transaction() as connection:
        await _note(connection, workers, worker, revision)
        return await living_workers(connection)


async def beat_server(database: Database, server: str, revision: str) -> None:
    """Note that an API process lives, and forget those long gone."""
    async with database.transaction() as connection:
        await _note(connection, servers, server, revision)


async def _note(connection: AsyncConnection, table: Table, name: str, revision: str) -> None:
    row = insert(table).values(name=name, revision=revision)
    fresh = {"seen_at": func.now(), "revision": revision}
    await connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=fresh))
    await connection.execute(delete(table).where(table.c.seen_at < func.now() - _FORGOTTEN))


async def leave(database: Database, worker: str) -> None:
    """Note that a worker has gone in peace."""
    async with database.transaction() as connection:
        await connection.execute(delete(workers).where(workers.c.name == worker))


async def leave_server(database: Database, server: str) -> None:
    """Note that an API process has gone in peace."""
    async with database.transaction() as connection:
        await connection.execute(delete(servers).where(servers.c.name == server))


async def note_missing_keys(database: Database, worker: str, keys: Collection[str]) -> None:
    """Note which encryption keys a worker lacks that something waits for."""
    async with database.transaction() as connection:
        lacking = update(workers).where(workers.c.name == worker).values(missing_keys=sorted(keys))
        await connection.execute(lacking)


async def missing_keys(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
    """The workers seen lately that lack encryption keys, each with the ids of those."""
    lacking = select(workers.c.name, workers.c.missing_keys).where(
        workers.c.seen_at > func.now() - FRESH, func.cardinality(workers.c.missing_keys) > 0
    )
    return [(row.name, ", ".join(row.missing_keys)) for row in await connection.execute(lacking.order_by("name"))]


async def earlier_workers(connection: AsyncConnection) -> bool:
    """Whether a worker of the version before was seen lately, which says no revision."""
    is_seen = workers.c.seen_at > func.now() - FRESH
    return (
        await connection.execute(select(workers.c.name).where(workers.c.revision.is_(None), is_seen))
    ).first() is not None


async def living_workers(connection: AsyncConnection) -> int:
    """Count workers seen lately."""
    found: int = (
        await connection.execute(
            select(func.count()).select_from(workers).where(workers.c.seen_at > func.now() - FRESH)
        )
    ).scalar_one()
    return found
