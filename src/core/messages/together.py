"""Writing about many messages at once, and where that breaks, about each by itself, so that one holds up no other."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import is_passing
from core.pubsub import Change

log = structlog.get_logger(__name__)

One = TypeVar("One")


async def write_together(
    connection: AsyncConnection,
    ones: Collection[One],
    write: Callable[[Collection[One]], Awaitable[list[Change]]],
    give_up: Callable[[One], Awaitable[list[Change]]],
) -> list[Change]:
    """Write in the caller's transaction; returns what to tell listeners.

    `give_up` is asked about each that cannot be written, while its error is the present one; what `write` did for it is
    undone by then. Raises what will pass by itself, such as a database that goes away.
    """
    try:
        async with _savepoint(connection):
            return await write(ones)
    except Exception as error:
        if is_passing(error):
            raise
        log.exception("not_written_together", messages=len(ones))
    changes: list[Change] = []
    for one in ones:
        try:
            async with _savepoint(connection):
                changes += await write([one])
        except Exception as error:
            if is_passing(error):
                raise
            changes += await give_up(one)
    return changes


@asynccontextmanager
async def _savepoint(connection: AsyncConnection) -> AsyncIterator[None]:
    """Undo what is done inside it, and no more, where that breaks for good."""
    await connection.execute(text("SAVEPOINT together"))
    try:
        yield
    except Exception as error:
        if not is_passing(error):
            await connection.execute(text("ROLLBACK TO SAVEPOINT together"))
        raise
    await connection.execute(text("RELEASE SAVEPOINT together"))
