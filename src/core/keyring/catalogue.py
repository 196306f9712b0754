"""Every sealed column there is, found in the tables' own definitions: a new one is rotated from its first day.

A column `X_sealed` is sealed for its row's tenant (nobody's, in a table that belongs to none), the row's `id`, and the
name `X`. A table without an id says in `info["sealed_for"]` which two columns stand for it: the row's id, and a number
that is added to the name. A column `X_hash` beside it is the look-up hash of the same address, made anew with it; a
column `X_lookup` is a hash that is never made anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, LargeBinary, MetaData, Table

from core.sealing import NOBODYS

_SEALED, _HASH = "_sealed", "_hash"


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A sealed column, the name its values are sealed for, and the hash beside it, if there is one."""

    column: Column[bytes]
    name: str
    hash: Column[bytes] | None


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed columns; `tenant` is None in one that belongs to nobody.

    `number` tells the rows that share an id apart, where several do.
    """

    table: Table
    id: Column[UUID]
    tenant: Column[UUID] | None
    columns: Sequence[SealedColumn]
    number: Column[int] | None = None

    def place(self, row: Any, column: SealedColumn) -> dict[str, Any]:
        """What a value of a row is sealed for, as the sealer takes it; the row holds the table's primary key."""
        number = None if self.number is None else getattr(row, self.number.name)
        return {
            "tenant": NOBODYS if self.tenant is None else getattr(row, self.tenant.name),
            "row": getattr(row, self.id.name),
            "column": column.name if number is None else numbered(column.name, number),
        }


def numbered(name: str, number: int) -> str:
    """The name a value is sealed for in a table whose rows share an id."""
    return f"{name} {number}"


def sealed_tables(metadata: MetaData) -> list[SealedTable]:
    """Find every table that holds sealed values; raises LookupError for one whose rows have no `id`."""
    found = []
    for table in metadata.sorted_tables:
        columns = [
            SealedColumn(column, name, table.c.get(f"{name}{_HASH}"))
            for column in table.columns
            if isinstance(column.type, LargeBinary) and column.name.endswith(_SEALED)
            if (name := column.name.removesuffix(_SEALED))
        ]
        id, number = table.info.get("sealed_for", ("id", None))
        if columns and id not in table.c:
            raise LookupError(f"{table.name} holds sealed values, and no `id` they could be sealed for.")
        if columns:
            counted = None if number is None else table.c[number]
            found.append(SealedTable(table, table.c[id], table.c.get("tenant_id"), columns, counted))
    return found
