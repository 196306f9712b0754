"""Counters: how many rows of a noun's table of events there are, by minute and day, rolled up behind their writers.

A worker reads the events behind each tenant's cursor and adds them to `counters`, minute and day, in the transaction
that moves the cursor: an event is counted once, however often and wherever a worker is killed. Reading adds the events
that no worker has rolled up yet. So a count is exact at every moment, and what writes events does nothing for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    TextClause,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, metadata
from core.errors import BrokenContribution
from core.live.event_log import TransactionId
from core.nouns import Counter

MINUTES_KEPT = timedelta(days=8)
"""For how long, and until the end of a day in UTC, minutes are kept; days are kept for ever."""
EXACT_FOR = timedelta(days=7)
"""How long ago a span may begin or end within a day; one that is older is extended to whole days in UTC."""
_TENANTS, _EVENTS = 100, 5_000
"""In one transaction: of how many tenants, and how many events of each."""
_DELETED = 10_000

counters = Table(
    "counters",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    # MINUTE or DAY. Every event is in both, so that nothing has to be moved from minutes to days.
    Column("span", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("label", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name", "span", "since", "label"),
    Index("ix_counters_minutes", "since", postgresql_where=text("span = 'MINUTE'")),
)

counter_cursors = Table(
    "counter_cursors",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    # The last event that was counted, in the order of (transaction_id, sequence).
    Column("transaction_id", TransactionId, nullable=False, server_default="0"),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
    # Events up to here were counted in the database from which this one was restored; see `_restart`.
    Column("sequence_floor", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("tenant_id", "name"),
)

_NEEDED_COLUMNS = ("tenant_id", "transaction_id", "sequence", "at")


class Counters:
    """All counters by name. Raises BrokenContribution for a name given twice, and for a table that is no event log."""

    def __init__(self, contributed: Iterable[Counter]) -> None:
        found: dict[str, Counter] = {}
        for one in contributed:
            if one.name in found:
                raise BrokenContribution(f"the counter {one.name} is contributed twice")
            if missing := [name for name in _NEEDED_COLUMNS if name not in one.log.c]:
                raise BrokenContribution(
                    f"the counter {one.name} needs the columns {', '.join(missing)} in {one.log.name}"
                )
            found[one.name] = one
        self.by_name: Mapping[str, Counter] = found


# ─── Rolling up ───────────────────────────────────────────────────────────

_XMAX = "pg_snapshot_xmax(pg_current_snapshot())"


def _behind_cursor(upper: str) -> str:
    # All transactions below the oldest that runs have ended: no event appears behind a cursor among them later.
    return f"""events.tenant_id = held.tenant_id
        AND (events.transaction_id, events.sequence) > (held.transaction_id, held.sequence)
        AND events.transaction_id < CASE WHEN held.transaction_id >= {_XMAX} THEN '18446744073709551615'::xid8
            ELSE {upper} END"""


_ENDED = _behind_cursor("pg_snapshot_xmin(pg_current_snapshot())")
_VISIBLE = _behind_cursor(_XMAX)

_ADD_CURSORS = text(
    "INSERT INTO counter_cursors (tenant_id, name) SELECT id, :name FROM tenants WHERE NOT EXISTS"
    " (SELECT FROM counter_cursors held WHERE held.tenant_id = tenants.id AND held.name = :name)"
    " ON CONFLICT DO NOTHING"
)


def _lock(counter: Counter) -> TextClause:
    """Lock the cursors behind which there are events; those that another worker holds are left to it."""
    # In this order, so that the index is read; EXISTS would read the whole table for a tenant without events.
    return text(
        f"""
        SELECT tenant_id, transaction_id >= {_XMAX} AS is_ahead FROM counter_cursors held
        WHERE name = :name AND tenant_id >= :first
            AND (transaction_id >= {_XMAX} OR (
                SELECT events.sequence FROM {counter.log.name} events WHERE {_ENDED}
                ORDER BY events.transaction_id, events.sequence LIMIT 1) IS NOT NULL)
        ORDER BY tenant_id LIMIT {_TENANTS} FOR UPDATE SKIP LOCKED
        """  # noqa: S608  # a noun's own names and constants are all that is filled in
    )


def _roll_up(counter: Counter) -> TextClause:
    """Add the next events of the tenants whose cursors are locked, and move the cursors."""
    statement = f"""
        WITH passed AS MATERIALIZED (
            SELECT held.tenant_id, found.* FROM counter_cursors held CROSS JOIN LATERAL (
                SELECT transaction_id, sequence, at, {_label(counter)} AS label,
                    ({counter.condition}) AND sequence > held.sequence_floor AS is_counted
                FROM {counter.log.name} events WHERE {_ENDED}
                ORDER BY transaction_id, sequence LIMIT {_EVENTS}
            ) found
            WHERE held.name = :name AND held.tenant_id = ANY (:tenants)
        ), added AS (
            INSERT INTO counters (tenant_id, name, span, since, label, count)
            SELECT tenant_id, :name, of_span.span, of_span.since, label, count(*) FROM passed CROSS JOIN LATERAL (
                VALUES ('DAY', date_trunc('day', at, 'UTC')), ('MINUTE', date_trunc('minute', at, 'UTC'))
            ) AS of_span (span, since)
            WHERE is_counted AND (of_span.span = 'DAY' OR of_span.since >= {_FIRST_MINUTE})
            GROUP BY tenant_id, of_span.span, of_span.since, label
            ON CONFLICT (tenant_id, name, span, since, label) DO UPDATE SET count = counters.count + excluded.count
        ), last AS (
            SELECT DISTINCT ON (tenant_id) tenant_id, transaction_id, sequence,
                count(*) OVER (PARTITION BY tenant_id) AS number
            FROM passed ORDER BY tenant_id, transaction_id DESC, sequence DESC
        )
        UPDATE counter_cursors held SET transaction_id = last.transaction_id, sequence = last.sequence FROM last
        WHERE held.name = :name AND held.tenant_id = ANY (:tenants) AND held.tenant_id = last.tenant_id
        RETURNING held.tenant_id, last.number
        """  # noqa: S608  # a noun's own names and constants are all that is filled in
    return text(statement).bindparams(bindparam("name", type_=Text), bindparam("tenants", type_=ARRAY(Uuid)))


_FIRST_MINUTE = f"date_trunc('day', now() - interval '{MINUTES_KEPT.days} days', 'UTC')"


def _label(counter: Counter) -> str:
    return f"concat_ws('/', {', '.join(counter.labels)})"


def _restart(counter: Counter) -> TextClause:
    """Begin again behind the last sequence: a restored dump keeps it, while transaction ids begin anew."""
    return text(
        f"""
        UPDATE counter_cursors held SET transaction_id = '0', sequence = 0, sequence_floor = greatest(
            sequence, sequence_floor, (SELECT max(events.sequence) FROM {counter.log.name} events
                WHERE events.tenant_id = held.tenant_id AND events.transaction_id >= {_XMAX}))
        WHERE name = :name AND tenant_id = ANY (:tenants)
        """  # noqa: S608  # a noun's own names and constants are all that is filled in
    ).bindparams(bindparam("tenants", type_=ARRAY(Uuid)))


async def roll_up(database: Database, counter: Counter) -> None:
    """Count all events of all tenants that no transaction under way can add to; with the rights of a worker."""
    async with database.transaction() as connection:
        await connection.execute(_ADD_CURSORS, {"name": counter.name})
    first: UUID | None = UUID(int=0)
    while first is not None:
        async with database.transaction() as connection:
            first = await _roll_up_some(connection, counter, first)


async def _roll_up_some(connection: AsyncConnection, counter: Counter, first: UUID) -> UUID | None:
    """Roll up some events of the next tenants; returns the tenant with which to go on."""
    held = (await connection.execute(_lock(counter), {"name": counter.name, "first": first})).all()
    if not held:
        return None
    # A second statement, which sees what the cursors' last holder wrote.
    wanted = {"name": counter.name, "tenants": [row.tenant_id for row in held]}
    passed = {row.tenant_id: row.number for row in await connection.execute(_roll_up(counter), wanted)}
    if restored := [row.tenant_id for row in held if row.is_ahead and row.tenant_id not in passed]:
        await connection.execute(_restart(counter), {"name": counter.name, "tenants": restored})
    again: list[UUID] = [row.tenant_id for row in held if row.is_ahead or passed.get(row.tenant_id) == _EVENTS]
    return min([*again, UUID(int=held[-1].tenant_id.int + 1)])


_DELETE = text(
    "DELETE FROM counters WHERE ctid = ANY (ARRAY(SELECT ctid FROM counters"  # noqa: S608  # only constants
    f" WHERE span = 'MINUTE' AND since < {_FIRST_MINUTE} LIMIT {_DELETED}))"
)


async def delete_old_minutes(database: Database) -> bool:
    """Delete some minutes that are older than they are kept; returns whether there may be more."""
    async with database.transaction() as connection:
        return (await connection.execute(_DELETE)).rowcount == _DELETED


# ─── Reading ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Parts:
    """A span as whole days and the minutes before and behind them; each is empty where its ends are equal."""

    since: datetime
    first_day: datetime
    end_day: datetime
    until: datetime


def _parts(since: datetime, until: datetime, now: datetime) -> _Parts:
    since, until = _extended(since, now), _extended(until, now, upwards=True)
    first_day, end_day = _floor(since, _DAY, upwards=True), _floor(until, _DAY)
    if end_day < first_day:
        first_day = end_day = until
    return _Parts(since, first_day, end_day, until)


_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _extended(at: datetime, now: datetime, *, upwards: bool = False) -> datetime:
    return _floor(at, _MINUTE if at >= now - EXACT_FOR else _DAY, upwards=upwards)


def _floor(at: datetime, unit: timedelta, *, upwards: bool = False) -> datetime:
    over = (at - _EPOCH) % unit
    return at.astimezone(UTC) - over + (unit if upwards and over else timedelta())


_AT_ONCE = 10_000
"""Events that are not rolled up and are read by the index alone; more are rare, and read in a second try."""


def _read(counter: Counter, most: int | None) -> TextClause:
    """Add up days, minutes and what is not rolled up; the row without a label says how many events that were."""
    statement = f"""
        WITH held AS MATERIALIZED (
            SELECT wanted.tenant_id, coalesce(transaction_id, '0') AS transaction_id,
                coalesce(sequence, 0) AS sequence, coalesce(sequence_floor, 0) AS sequence_floor
            FROM (SELECT :tenant AS tenant_id) wanted
            LEFT JOIN counter_cursors kept ON kept.tenant_id = wanted.tenant_id AND kept.name = :name
        ), behind AS MATERIALIZED (
            SELECT found.* FROM held CROSS JOIN LATERAL (
                SELECT {_label(counter)} AS label, ({counter.condition}) AND sequence > held.sequence_floor
                    AND at >= :since AND at < :until AS is_counted
                FROM {counter.log.name} events WHERE {_VISIBLE}
                ORDER BY transaction_id, sequence LIMIT {"ALL" if most is None else most}
            ) found
        ), counted AS (
            SELECT label, count FROM counters WHERE tenant_id = :tenant AND name = :name AND (
                span = 'DAY' AND since >= :first_day AND since < :end_day
                OR span = 'MINUTE' AND since >= :since AND since < :first_day
                OR span = 'MINUTE' AND since >= :end_day AND since < :until)
            UNION ALL SELECT label, count(*) FROM behind WHERE is_counted GROUP BY label
        )
        SELECT label, sum(count)::bigint AS number FROM counted GROUP BY label
        UNION ALL SELECT NULL, count(*) FROM behind
        """  # noqa: S608  # a noun's own names and constants are all that is filled in
    moments = (bindparam(name, type_=DateTime(timezone=True)) for name in ("since", "first_day", "end_day", "until"))
    return text(statement).bindparams(bindparam("tenant", type_=Uuid), *moments)


async def read_counter(
    connection: AsyncConnection, tenant: UUID, counter: Counter, *, since: datetime, until: datetime
) -> Mapping[str, int]:
    """The counts of one tenant by label, of the minutes from `since` to `until`, which one statement adds up.

    The span is extended to whole minutes, and where it begins or ends longer ago than `EXACT_FOR` to whole days in UTC.
    """
    parts = _parts(since, until, datetime.now(UTC))
    values: dict[str, Any] = {
        "tenant": tenant,
        "name": counter.name,
        "since": parts.since,
        "first_day": parts.first_day,
        "end_day": parts.end_day,
        "until": parts.until,
    }
    found = await _add_up(connection, _read(counter, _AT_ONCE), values)
    if found.pop(None) == _AT_ONCE:
        found = await _add_up(connection, _read(counter, None), values)
        del found[None]
    return {str(label): number for label, number in found.items()}


async def _add_up(
    connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any]
) -> dict[str | None, int]:
    return {row.label: row.number for row in await connection.execute(statement, values)}
