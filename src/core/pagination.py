"""Pages of a list whose ids are UUIDs of version 7: the order of ids is the order of time, the cursor is an id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.characters import is_storable
from core.errors import InputRule, InvalidInput
from core.ids import uuid7_floor
from core.words import say

Statement = TypeVar("Statement", bound=Select[Any])

_CLOCKS_DIFFER = timedelta(minutes=5)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page: `limit` items after an id, or before one where it is read backwards."""

    limit: int
    after: UUID | None = None
    before: UUID | None = None
    is_backward: bool = False


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of time: `start` is in it, `end` is not; None for an open end."""

    start: datetime | None = None
    end: datetime | None = None


def time_range(start: datetime | None, end: datetime | None, path: Sequence[str]) -> TimeRange:
    """The range between two moments; raises InvalidInput, about the end to which `path` leads, where it is earlier."""
    if start is not None and end is not None and end < start:
        text = say(
            "SPAN_ENDS_BEFORE_IT_BEGINS",
            "The range ends at {end}, before it begins at {start}. Swap the two, or leave one out.",
            start=f"{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            end=f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        raise InvalidInput(text, path=path, rule=InputRule.OUT_OF_RANGE)
    return TimeRange(start, end)


async def read_page(
    connection: AsyncConnection, statement: Select[Any], ids: ColumnElement[Any], which: PageRequest
) -> tuple[Sequence[Row[Any]], bool]:
    """Read one page of a statement's rows, newest first, and whether there are more in the direction of reading."""
    rows = (await connection.execute(on_page(statement, ids, which))).all()
    kept = rows[: which.limit]
    return kept[::-1] if which.is_backward else kept, len(rows) > which.limit


def on_page(statement: Statement, ids: ColumnElement[Any], which: PageRequest) -> Statement:
    """Limit a statement to the rows of a page, in the order of reading, and one more."""
    if which.after is not None:
        statement = statement.where(ids < which.after)
    if which.before is not None:
        statement = statement.where(ids > which.before)
    return statement.order_by(ids.asc() if which.is_backward else ids.desc()).limit(which.limit + 1)


def in_range(statement: Statement, span: TimeRange, moments: Column[datetime], ids: Column[Any]) -> Statement:
    """Limit a statement to a range: by the database's clock exactly, and by id, so that an index finds the rows."""
    if span.start is not None:
        floor = uuid7_floor(max(span.start, _FIRST + _CLOCKS_DIFFER) - _CLOCKS_DIFFER)
        statement = statement.where(moments >= span.start, ids >= floor)
    if span.end is not None:
        ceiling = uuid7_floor(min(span.end, _LAST - _CLOCKS_DIFFER) + _CLOCKS_DIFFER)
        statement = statement.where(moments < span.end, ids < ceiling)
    return statement


def storable(words: Iterable[str]) -> list[str]:
    """Leave out texts that PostgreSQL cannot store."""
    return [word for word in words if is_storable(word)]
