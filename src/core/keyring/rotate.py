"""Sealing anew, under the current key, what lies under an earlier one: in small steps, while everything goes on.

Nothing is locked while values are opened. A value is replaced only if it is still the one that was read, so whoever
erases or changes it meanwhile wins; and what is done is passed over, so a rotation that ended in the middle is
continued by beginning it again.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import ColumnElement, LargeBinary, Row, bindparam, case, func, update

from core.addresses import lookup_form
from core.database import Database, metadata
from core.keyring.catalogue import SealedColumn, SealedTable, sealed_tables
from core.keyring.walk import walk
from core.sealing import SealBroken, Sealer

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
        async for rows in walk(database, one.table, [_if_old(column, sealer) for column in one.columns], size=batch):
            step = await _seal_anew(database, sealer, one, rows)
            if step.sealed or step.unreadable:
                yield step


def _if_old(one: SealedColumn, sealer: Sealer) -> ColumnElement[Any]:
    """A column's value if it does not lie under the current key, so that nothing else travels."""
    head = sealer.head()
    return case((func.substring(one.column, 1, len(head), type_=LargeBinary) != head, one.column)).label(
        one.column.name
    )


async def _seal_anew(database: Database, sealer: Sealer, one: SealedTable, rows: Sequence[Row[Any]]) -> Step:
    done = unreadable = 0
    for column in one.columns:
        changes = []
        for row in rows:
            old: bytes | None = getattr(row, column.column.name)
            if old is None:
                continue
            try:
                changes.append(_change(sealer, one, column, row, old))
            except SealBroken as error:
                unreadable += 1
                id = str(getattr(row, one.id.name))
                log.warning("value_unreadable", table=one.table.name, id=id, reason=str(error))
        if changes:
            async with database.transaction() as connection:
                await connection.execute(_replacing(one, column), changes)
        done += len(changes)
    return Step(one.table.name, done, unreadable)


def _change(sealer: Sealer, one: SealedTable, column: SealedColumn, row: Row[Any], old: bytes) -> dict[str, Any]:
    place = one.place(row, column)
    plain = sealer.open(old, **place)
    change = {"of_id": place["row"], "old": old, "new": sealer.seal(plain, **place)}
    if one.tenant is not None:
        change["of_tenant"] = place["tenant"]
    if one.number is not None:
        change["of_number"] = getattr(row, one.number.name)
    if column.hash is not None:
        change["new_hash"] = sealer.lookup_hash(lookup_form(plain), tenant=place["tenant"])
    return change


def _replacing(one: SealedTable, column: SealedColumn) -> Any:
    values: dict[str, Any] = {column.column.name: bindparam("new")}
    if column.hash is not None:
        values[column.hash.name] = bindparam("new_hash")
    statement = update(one.table).where(one.id == bindparam("of_id"), column.column == bindparam("old")).values(values)
    for named, of in ((one.tenant, "of_tenant"), (one.number, "of_number")):
        if named is not None:
            statement = statement.where(named == bindparam(of))
    return statement
