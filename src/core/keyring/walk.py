"""Walking through a whole table by its primary key, some rows at a time: no statement is long, however large it is."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, select, tuple_

from core.database import Database


async def walk(
    database: Database, table: Table, values: Sequence[ColumnElement[Any]], *, size: int
) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield the rows of a table in order, each with its key and the values asked for; a transaction for each batch."""
    key: list[ColumnElement[Any]] = list(table.primary_key.columns)
    statement = select(*key, *values).order_by(*key).limit(size)
    rows: list[Row[Any]] = []
    while True:
        place = tuple_(*key) > tuple_(*rows[-1][: len(key)]) if rows else None
        async with database.transaction() as connection:
            rows = list(await connection.execute(statement if place is None else statement.where(place)))
        if rows:
            yield rows
        if len(rows) < size:
            return
