"""Claiming the due rows of a table: each is leased to one worker with a fencing token, and tried in numbered attempts.

A row is claimed, marked as begun before its work is done, and recorded afterwards; in between no transaction is open.
Only the database's clock counts. Each claim raises the row's token, and what comes with an older token changes nothing.

The functions that return statements, or parts of them, are called once for each table: building a statement costs more
than running it. What a table needs besides (conditions, values, further tables) its own module adds to the parts. A
parameter that it adds must not have the name of a column: SQLAlchemy would set that column to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Delete,
    Double,
    FromClause,
    Interval,
    Select,
    Table,
    TableValuedAlias,
    Text,
    TextClause,
    Uuid,
    and_,
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    table,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[UUID, UUID]
"""A row's tenant and id."""


@dataclass(frozen=True, slots=True)
class WorkTable:
    """A table whose rows are work, and the table of their attempts, whose column `of` holds the row's id.

    A row has the columns `tenant_id`, `id`, `status`, `due_at`, `lease_until`, `lease_owner`, `lease_token` and
    `attempt_count`; an attempt has `tenant_id`, `number`, `token` and `started_at`. A row is claimed in the status
    `waiting`, and has `working` from its beginning until its end is recorded.
    """

    rows: Table
    attempts: Table
    of: str
    waiting: str
    working: str


# ─── Claim ────────────────────────────────────────────────────────────────


def claim_rows(
    work: WorkTable,
    *is_due: ColumnElement[bool] | TextClause,
    returning: Sequence[ColumnElement[Any]] = (),
    values: Mapping[str, ColumnElement[Any]] | None = None,
) -> CTE:
    """SQL: lease due rows for which `is_due` holds, and count an attempt of each; run with `claim_values`.

    Returns key, token, number of the attempt and time of the claim, and what is named in `returning`.
    """
    rows, picked = work.rows, _fair_shares(work, is_due)
    return (
        update(rows)
        .where(_is_row(rows, picked))
        .values(
            lease_until=func.now() + bindparam("claim_lease", type_=Interval),
            lease_owner=bindparam("claim_worker", type_=Text),
            lease_token=rows.c.lease_token + 1,
            attempt_count=rows.c.attempt_count + 1,
            **(values or {}),
        )
        .returning(
            rows.c.tenant_id,
            rows.c.id,
            rows.c.lease_token,
            rows.c.attempt_count,
            func.now().label("claimed_at"),
            *returning,
        )
        .cte("claimed")
    )


def claim_values(*, worker: str, limit: int, lease: timedelta) -> dict[str, Any]:
    """The parameters of `claim_rows`."""
    return {"claim_worker": worker, "claim_places": limit, "claim_lease": lease}


def _fair_shares(work: WorkTable, conditions: Iterable[ColumnElement[bool] | TextClause]) -> CTE:
    """Every tenant with due work gets an equal share of a claim, its oldest rows first.

    If there are more tenants than places, tenants are chosen at random. Rows that another worker has locked are
    skipped.
    """
    rows, places = work.rows, bindparam("claim_places", type_=BigInteger)
    is_due = and_(
        # A constant instead of a parameter: the planner knows how many rows have it.
        rows.c.status == literal_column(f"'{work.waiting}'", Text),
        rows.c.due_at <= func.now(),
        rows.c.lease_until.is_(None),
        *conditions,
    )
    tenants = table("tenants", column("id", Uuid))
    waiting = (
        select(tenants.c.id)
        .where(exists().where(rows.c.tenant_id == tenants.c.id, is_due))
        .order_by(func.random())
        .limit(places)
        .cte("waiting")
    )
    one = literal_column("1", BigInteger)
    tenant_count = func.greatest(one, func.count(), type_=BigInteger)
    share = select(func.greatest(one, places // tenant_count)).select_from(waiting)
    due = (
        select(rows.c.tenant_id, rows.c.id)
        .where(rows.c.tenant_id == waiting.c.id, is_due)
        .order_by(rows.c.due_at)
        .limit(share.correlate(None).scalar_subquery())
        .with_for_update(skip_locked=True)
        .lateral("due")
    )
    return select(due.c.tenant_id, due.c.id).select_from(waiting.join(due, true())).cte("picked")


def number_attempts(work: WorkTable, claimed: CTE, values: Mapping[str, ColumnElement[Any]] | None = None) -> CTE:
    """SQL: write the attempt of each claim, with the values of the table's own columns."""
    given = {
        "tenant_id": claimed.c.tenant_id,
        work.of: claimed.c.id,
        "number": claimed.c.attempt_count,
        "token": claimed.c.lease_token,
        **(values or {}),
    }
    return insert(work.attempts).from_select(list(given), select(*given.values()).select_from(claimed)).cte("numbered")


# ─── Begin, release ───────────────────────────────────────────────────────


_HELD = ("held_tenants", Uuid), ("held_ids", Uuid), ("held_tokens", BigInteger)
_HELD_COLUMNS = column("tenant_id", Uuid), column("id", Uuid), column("token", BigInteger)
_WAITS = bindparam("held_waits", type_=ARRAY(Double))


def held_values(claims: Iterable[tuple[Key, int]]) -> dict[str, Any]:
    """The parameters that name claims, by row and token: those of `lock_claims` and `lock_held`."""
    pairs = list(claims)
    return {
        "held_tenants": [tenant for (tenant, _), _ in pairs],
        "held_ids": [id for (_, id), _ in pairs],
        "held_tokens": [token for _, token in pairs],
    }


def begin_values(claims: Iterable[tuple[Key, int]], deadline: timedelta) -> dict[str, Any]:
    """The parameters of `begin_rows`; `deadline` is the time that the work may take."""
    return {**held_values(claims), "claim_deadline": deadline}


def release_values(claims: Iterable[tuple[Key, int]], waits: Sequence[float]) -> dict[str, Any]:
    """The parameters of `release_rows`; `waits` are the seconds until each row is due again."""
    return {**held_values(claims), "held_waits": list(waits)}


def _held(*more: tuple[ColumnElement[Any], Any]) -> TableValuedAlias:
    arrays = [bindparam(name, type_=ARRAY(of)) for name, of in _HELD]
    unnested = func.unnest(*arrays, *(array for array, _ in more))
    return unnested.table_valued(*_HELD_COLUMNS, *(of for _, of in more)).render_derived(name="held")


_RELEASED = _held((_WAITS, column("wait", Double)))
WAIT: ColumnElement[timedelta] = func.make_interval(0, 0, 0, 0, 0, 0, _RELEASED.c.wait, type_=Interval)
"""SQL: how long a released row waits, for the values of `release_rows`."""


def lock_claims(work: WorkTable) -> Select[Any]:
    """SQL: lock claimed rows until the end of the transaction, in the order of their keys, and return key and token.

    All that lock several rows of a table do so in this order: they wait for each other instead of deadlocking.
    """
    rows, held = work.rows, _held()
    return (
        select(held.c.tenant_id, held.c.id, held.c.token)
        .join(rows, _is_row(rows, held))
        .order_by(rows.c.tenant_id, rows.c.id)
        .with_for_update(of=rows)
    )


def lock_held(work: WorkTable) -> Select[Any]:
    """SQL: `lock_claims` without the claims that were lost: the fence, before the end of claimed work is recorded."""
    held = lock_claims(work)
    token = held.selected_columns.token
    return held.where(work.rows.c.lease_token == token, work.rows.c.lease_until.is_not(None))


def begin_rows(
    work: WorkTable,
    *may_begin: ColumnElement[bool],
    returning: Sequence[ColumnElement[Any]] = (),
    values: Mapping[str, ColumnElement[Any]] | None = None,
) -> CTE:
    """SQL: mark claims as begun that are leased still, with time for the work, and for which `may_begin` holds.

    Returns key and number of the attempt, and what is named in `returning`; run with `begin_values`.
    """
    rows, mine = work.rows, lock_claims(work).cte("mine")
    return (
        update(rows)
        .where(
            _is_row(rows, mine),
            rows.c.lease_token == mine.c.token,
            rows.c.lease_until > func.now() + bindparam("claim_deadline", type_=Interval),
            *may_begin,
        )
        .values(status=work.working, **(values or {}))
        .returning(rows.c.tenant_id, rows.c.id, rows.c.attempt_count, *returning)
        .cte("begun")
    )


def start_attempts(work: WorkTable, begun: CTE) -> CTE:
    """SQL: write down when the attempts of begun rows started."""
    attempts = work.attempts
    return (
        update(attempts)
        .where(
            attempts.c.tenant_id == begun.c.tenant_id,
            attempts.c[work.of] == begun.c.id,
            attempts.c.number == begun.c.attempt_count,
        )
        .values(started_at=func.now())
        .cte("started")
    )


def release_rows(work: WorkTable, values: Mapping[str, ColumnElement[Any]] | None = None) -> Delete:
    """SQL: undo claims that were not begun, so that no attempt is counted; run with `release_values`."""
    rows = work.rows
    is_mine = and_(
        _is_row(rows, _RELEASED),
        rows.c.lease_token == _RELEASED.c.token,
        rows.c.status == work.waiting,
        rows.c.lease_until.is_not(None),
    )
    return _return_rows(work, is_mine, due_at=func.now() + WAIT, **(values or {}))


def end_lease(work: WorkTable) -> dict[str, ColumnElement[Any] | None]:
    """The values of a row whose lease ends without its worker: its token is of no use any more."""
    return {"lease_until": None, "lease_token": work.rows.c.lease_token + 1}


def _return_rows(work: WorkTable, which: ColumnElement[bool], **values: ColumnElement[Any]) -> Delete:
    """SQL: end the leases of rows that were not begun; their attempts were none."""
    rows, attempts = work.rows, work.attempts
    returned = (
        update(rows)
        .where(which)
        .values(attempt_count=rows.c.attempt_count - 1, **end_lease(work), **values)
        .returning(rows.c.tenant_id, rows.c.id, (rows.c.attempt_count + 1).label("number"))
        .cte("returned")
    )
    return delete(attempts).where(
        tuple_(attempts.c.tenant_id, attempts.c[work.of], attempts.c.number).in_(
            select(returned.c.tenant_id, returned.c.id, returned.c.number)
        )
    )


async def postpone(connection: AsyncConnection, work: WorkTable, keys: Sequence[Key], pause: timedelta) -> None:
    """Make rows that are not claimed due again after a pause; no attempt is counted."""
    rows = work.rows
    is_free = rows.c.status == work.waiting, rows.c.lease_until.is_(None)
    await connection.execute(update(rows).where(_is_one_of(rows, keys), *is_free).values(due_at=func.now() + pause))


# ─── Reclaim ──────────────────────────────────────────────────────────────


async def lock_lost(connection: AsyncConnection, work: WorkTable, *, limit: int) -> list[Key]:
    """Lock rows whose lease ran out, those that ended first; rows that others have locked are skipped."""
    rows = work.rows
    lost = (
        select(rows.c.tenant_id, rows.c.id)
        .where(rows.c.lease_until < func.now())
        .order_by(rows.c.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [(row.tenant_id, row.id) for row in await connection.execute(lost)]


def never_began(work: WorkTable) -> ColumnElement[bool]:
    """SQL: whether a claimed row's work was certainly not begun."""
    rows, attempts = work.rows, work.attempts
    started = exists().where(
        attempts.c.tenant_id == rows.c.tenant_id,
        attempts.c[work.of] == rows.c.id,
        attempts.c.number == rows.c.attempt_count,
        attempts.c.started_at.is_not(None),
    )
    return and_(rows.c.status == work.waiting, ~started)


async def return_unbegun(connection: AsyncConnection, work: WorkTable, keys: Sequence[Key]) -> None:
    """Make those of the lost rows due again whose work was not begun."""
    which = and_(_is_one_of(work.rows, keys), never_began(work))
    await connection.execute(_return_rows(work, which, due_at=func.now()))


def _is_row(rows: Table, other: FromClause) -> ColumnElement[bool]:
    return and_(rows.c.tenant_id == other.c.tenant_id, rows.c.id == other.c.id)


def _is_one_of(rows: Table, keys: Sequence[Key]) -> ColumnElement[bool]:
    return tuple_(rows.c.tenant_id, rows.c.id).in_(keys)
