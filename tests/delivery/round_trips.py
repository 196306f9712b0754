"""Counts round trips to the database: each query, by the driver or by SQLAlchemy, is one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event

from core.database import Database


@asynccontextmanager
async def round_trips(database: Database) -> AsyncIterator[list[str]]:
    """Every query sent meanwhile, on any connection."""
    seen: list[str] = []
    listened: list[Any] = []

    def note(record: Any) -> None:
        # What a new connection asks once about types is no part of what a message costs.
        if "typeinfo_tree" not in record.query and "'jit'" not in record.query:
            seen.append(record.query)

    def note_prepared(
        _connection: object, _cursor: object, statement: str, _parameters: object, _context: object, is_many: bool
    ) -> None:
        # What SQLAlchemy prepares is no query to the driver's log, unless it is said of many rows in one go.
        if not is_many:
            seen.append(statement)

    def listen(dbapi_connection: Any, *_: object) -> None:
        driver = dbapi_connection.driver_connection
        if driver not in listened:
            driver.add_query_logger(note)
            listened.append(driver)

    engine = database.engine.sync_engine
    event.listen(engine, "checkout", listen)
    event.listen(engine, "after_cursor_execute", note_prepared)
    try:
        yield seen
        # The driver reports a query a moment after it has ended.
        await asyncio.sleep(0)
    finally:
        event.remove(engine, "checkout", listen)
        event.remove(engine, "after_cursor_execute", note_prepared)
        for driver in listened:
            driver.remove_query_logger(note)
