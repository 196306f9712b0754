"""The ledger of calls to providers: for each integration, operation, minute and end a count and a histogram.

A process counts in memory and adds its figures to the table every few seconds: a crash loses seconds of statistics, and
a call costs no statement. The figures belong to the operator and hold no personal data.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Integer,
    PrimaryKeyConstraint,
    Row,
    Table,
    Text,
    delete,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, metadata
from core.errors import CommitUnknown
from core.ports.calls import CallEnd

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds of the histogram's buckets; the last bucket holds all that is longer."""
FLUSH_INTERVAL = 5.0
"""Seconds between two additions to the table."""
RETENTION = timedelta(days=8)
_MOST_CELLS = 5_000
"""Cells that wait in memory while the database is away; the oldest are dropped beyond that."""

provider_calls = Table(
    "provider_calls",
    metadata,
    Column("integration", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("minute", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("milliseconds", BigInteger, nullable=False),
    # One number for each bucket of the histogram.
    Column("buckets", ARRAY(Integer), nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("minute", "integration", "operation", "outcome"),
)


class _Key(NamedTuple):
    minute: datetime
    integration: str
    operation: str
    end: CallEnd


@dataclass(slots=True)
class _Cell:
    """The calls of one key that are not in the table yet."""

    last_at: datetime
    count: int = 0
    milliseconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, other: "_Cell") -> None:
        self.count += other.count
        self.milliseconds += other.milliseconds
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.last_at = max(self.last_at, other.last_at)


class Ledger:
    """The calls of this process that are not in the table yet."""

    def __init__(self) -> None:
        self._cells: dict[_Key, _Cell] = {}

    def record(self, integration: str, operation: str, end: CallEnd, seconds: float) -> None:
        """Count one call, in memory."""
        now = datetime.now(UTC)
        key = _Key(now.replace(second=0, microsecond=0), integration, operation, end)
        cell = self._cells.setdefault(key, _Cell(now))
        cell.count += 1
        cell.milliseconds += seconds * 1_000
        cell.buckets[bisect_left(BOUNDS, seconds)] += 1
        cell.last_at = now

    async def flush(self, database: Database) -> int:
        """Add what was counted to the table, in one statement; returns the number of its rows.

        What cannot be written is kept for the next time. Raises Overloaded.
        """
        taken, self._cells = self._cells, {}
        if not taken:
            return 0
        try:
            async with database.transaction() as connection:
                await connection.execute(_addition(taken))
        except CommitUnknown:
            # They may be in the table: rather too few than twice.
            raise
        except BaseException:
            self._put_back(taken)
            raise
        return len(taken)

    def _put_back(self, taken: Mapping[_Key, _Cell]) -> None:
        newer, self._cells = self._cells, dict(taken)
        for key, cell in newer.items():
            if key in self._cells:
                self._cells[key].add(cell)
            else:
                self._cells[key] = cell
        for key in sorted(self._cells)[: max(0, len(self._cells) - _MOST_CELLS)]:
            del self._cells[key]


# Both arrays have the same length.
_BUCKETS = text(
    "(SELECT array_agg(mine + theirs ORDER BY place)"
    " FROM unnest(provider_calls.buckets, excluded.buckets) WITH ORDINALITY AS both_of(mine, theirs, place))"
)


def _addition(cells: Mapping[_Key, _Cell]) -> Any:
    # In one order in all processes: two of them wait for each other instead of deadlocking.
    rows = [
        {
            "minute": key.minute,
            "integration": key.integration,
            "operation": key.operation,
            "outcome": key.end.value,
            "count": cell.count,
            "milliseconds": round(cell.milliseconds),
            "buckets": cell.buckets,
            "last_at": cell.last_at,
        }
        for key, cell in sorted(cells.items(), key=lambda one: one[0])
    ]
    statement = insert(provider_calls).values(rows)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["minute", "integration", "operation", "outcome"],
        set_={
            "count": provider_calls.c.count + new["count"],
            "milliseconds": provider_calls.c.milliseconds + new["milliseconds"],
            "buckets": _BUCKETS,
            "last_at": func.greatest(provider_calls.c.last_at, new["last_at"]),
        },
    )


async def delete_old_calls(connection: AsyncConnection) -> None:
    """Delete the figures that are older than their retention."""
    await connection.execute(delete(provider_calls).where(provider_calls.c.minute < func.now() - RETENTION))


# ─── Reading ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CallSummary:
    """The calls of one integration in a span: their number, errors, durations in seconds, and the last of each kind."""

    count: int = 0
    errors: int = 0
    buckets: Sequence[int] = ()
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_refusal_at: datetime | None = None

    @property
    def error_rate(self) -> float | None:
        """Errors divided by calls; None where there was no call."""
        return self.errors / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """The duration that this share of the calls does not exceed; None without calls.

        It is interpolated within its bucket. Calls longer than the last bound count as that bound.
        """
        wanted, reached = share * sum(self.buckets), 0
        for place, number in enumerate(self.buckets):
            if number and reached + number >= wanted:
                low = BOUNDS[place - 1] if place else 0.0
                high = BOUNDS[min(place, len(BOUNDS) - 1)]
                return low + (high - low) * max(0.0, (wanted - reached) / number)
            reached += number
        return None


# Numbered here: array positions begin with 1.
_SUMMARY = text(
    "SELECT integration, outcome, place, sum(number)::bigint AS number, max(last_at) AS last_at FROM provider_calls,"
    " unnest(buckets) WITH ORDINALITY AS bucket(number, place) WHERE minute > now() - CAST(:span AS interval)"
    " GROUP BY integration, outcome, place"
)


async def summarize(connection: AsyncConnection, span: timedelta) -> Mapping[str, CallSummary]:
    """Summarise the calls of every integration in the span until now; one without calls is left out."""
    rows: dict[str, list[Row[Any]]] = {}
    for row in await connection.execute(_SUMMARY, {"span": span}):
        rows.setdefault(row.integration, []).append(row)
    return {name: _summary(found) for name, found in rows.items()}


def _summary(rows: Iterable[Row[Any]]) -> CallSummary:
    buckets, count, errors = [0] * (len(BOUNDS) + 1), 0, 0
    last: dict[CallEnd, datetime] = {}
    for row in rows:
        end = CallEnd(row.outcome)
        # A later version may have more buckets.
        buckets[min(row.place, len(buckets)) - 1] += row.number
        count += row.number
        errors += row.number if end.is_error else 0
        last[end] = max(last.get(end, row.last_at), row.last_at)
    return CallSummary(
        count,
        errors,
        buckets,
        last_success_at=last.get(CallEnd.ANSWERED),
        last_failure_at=max((at for end, at in last.items() if end.is_error), default=None),
        last_refusal_at=last.get(CallEnd.REFUSED),
    )
