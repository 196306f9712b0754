"""Every sealed column there is, found in the tables' own definitions: a new one is rotated from its first day.

A column `X_sealed` is sealed for its row's tenant (nobody's, in a table that belongs to none), the row's `id`, and the
name `X`. A column `X_hash` beside it is the look-up hash of the same address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, LargeBinary, MetaData, Table

_SEALED, _HASH = "_sealed", "_hash"


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A sealed column, the name its values are sealed for, and the hash beside it, if there is one."""

    column: Column[bytes]
    name: str
    hash: Column[bytes] | None


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed columns; `tenant` is None in one that belongs to nobody."""

    table: Table
    id: Column[UUID]
    tenant: Column[UUID] | None
    columns: Sequence[SealedColumn]


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
        if columns and "id" not in table.c:
            raise LookupError(f"{table.name} holds sealed values, and no `id` they could be sealed for.")
        if columns:
            found.append(SealedTable(table, table.c.id, table.c.get("tenant_id"), columns))
    return found
