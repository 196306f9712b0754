"""Workers say that they live; whoever asks whether the system is ready looks for a fresh beat."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.operations.tables import workers

INTERVAL = 3.0
"""Seconds between two beats."""
FRESH = timedelta(seconds=15)
_FORGOTTEN = timedelta(hours=1)


async def beat(database: Database, worker: str) -> int:
    """Note that a worker lives, and forget those long gone; returns how many live."""
    async with database.transaction() as connection:
        row = insert(workers).values(name=worker)
        await connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"seen_at": func.now()}))
        await connection.execute(delete(workers).where(workers.c.seen_at < func.now() - _FORGOTTEN))
        return await living_workers(connection)


async def leave(database: Database, worker: str) -> None:
    """Note that a worker has gone in peace."""
    async with database.transaction() as connection:
        await connection.execute(delete(workers).where(workers.c.name == worker))


async def living_workers(connection: AsyncConnection) -> int:
    """Count workers seen lately."""
    found: int = (
        await connection.execute(
            select(func.count()).select_from(workers).where(workers.c.seen_at > func.now() - FRESH)
        )
    ).scalar_one()
    return found
