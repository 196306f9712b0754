"""Sealing anew, under the current key, what lies under an earlier one: in small steps, while everything goes on.

Nothing is locked while values are opened. A value is replaced only if it is still the one that was read, so whoever
erases or changes it meanwhile wins; and what is done is no longer found, so a rotation that ended in the middle is
continued by beginning it again.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, LargeBinary, Row, bindparam, func, or_, select, tuple_, update

from core.database import Database
from core.keyring.catalogue import SealedColumn, SealedTable, sealed_tables
from core.sealing import NOBODYS, SealBroken, Sealer
from core.tables import metadata

log = structlog.get_logger(__name__)

BATCH = 500


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: how many values of a table were sealed anew, and how many nobody here can open."""

    table: str
    sealed: int
    unreadable: int


async def rotate(database: Database, sealer: Sealer, *, batch: int = BATCH) -> AsyncIterator[Step]:
    """Seal everything anew that does not lie under the current key, a batch of rows at a time, as a worker may."""
    for one in sealed_tables(metadata):
        place: Sequence[UUID] | None = None
        while (rows := await _read(database, sealer, one, place, batch)) and rows:
            place = _place_of(one, rows[-1])
            yield await _seal_anew(database, sealer, one, rows)


async def _read(
    database: Database, sealer: Sealer, one: SealedTable, after: Sequence[UUID] | None, batch: int
) -> Sequence[Row[Any]]:
    key: list[ColumnElement[Any]] = [column for column in (one.tenant, one.id) if column is not None]
    statement = (
        select(*key, *(column.column for column in one.columns))
        .where(or_(*(is_under_another(column, sealer) for column in one.columns)))
        .order_by(*key)
        .limit(batch)
    )
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    async with database.transaction() as connection:
        return list(await connection.execute(statement))


def is_under_another(one: SealedColumn, sealer: Sealer) -> ColumnElement[bool]:
    """Whether a column's value is there and does not lie under the current key."""
    head = sealer.head()
    return func.substring(one.column, 1, len(head), type_=LargeBinary) != head


def _place_of(one: SealedTable, row: Row[Any]) -> Sequence[UUID]:
    return [row.id] if one.tenant is None else [row.tenant_id, row.id]


async def _seal_anew(database: Database, sealer: Sealer, one: SealedTable, rows: Sequence[Row[Any]]) -> Step:
    head, done, unreadable = sealer.head(), 0, 0
    for column in one.columns:
        changes = []
        for row in rows:
            old = getattr(row, column.column.name)
            if old is None or old.startswith(head):
                continue
            try:
                changes.append(_change(sealer, one, column, row, old))
            except SealBroken as error:
                unreadable += 1
                log.warning("value_unreadable", table=one.table.name, id=str(row.id), reason=str(error))
        if changes:
            async with database.transaction() as connection:
                await connection.execute(_replacing(one, column), changes)
        done += len(changes)
    return Step(one.table.name, done, unreadable)


def _change(sealer: Sealer, one: SealedTable, column: SealedColumn, row: Row[Any], old: bytes) -> dict[str, Any]:
    tenant = NOBODYS if one.tenant is None else row.tenant_id
    plain = sealer.open(old, tenant=tenant, row=row.id, column=column.name)
    change = {"of_id": row.id, "old": old, "new": sealer.seal(plain, tenant=tenant, row=row.id, column=column.name)}
    if one.tenant is not None:
        change["of_tenant"] = tenant
    if column.hash is not None:
        change["new_hash"] = sealer.lookup_hash(plain, tenant=tenant)
    return change


def _replacing(one: SealedTable, column: SealedColumn) -> Any:
    values: dict[str, Any] = {column.column.name: bindparam("new")}
    if column.hash is not None:
        values[column.hash.name] = bindparam("new_hash")
    statement = update(one.table).where(one.id == bindparam("of_id"), column.column == bindparam("old")).values(values)
    return statement if one.tenant is None else statement.where(one.tenant == bindparam("of_tenant"))
