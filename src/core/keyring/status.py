"""How many values lie under which key, so that it is known when an earlier key may go."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Table, case, func

from core.database import Database, metadata
from core.idempotency import idempotency_keys
from core.keyring.catalogue import sealed_tables
from core.keyring.walk import walk

FINGERPRINTS = "idempotency_keys.request_hash"
_BARE = 16
"""Bytes of a fingerprint an earlier version wrote, which does not say its key."""
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Under:
    """How many values of one place lie under each key; the name None is that of values that do not say."""

    place: str
    values: Mapping[str | None, int]


async def status(database: Database) -> Sequence[Under]:
    """Count sealed values by key, column by column, and fingerprints, which no key opens: they end by themselves."""
    found: list[Under] = []
    for one in sealed_tables(metadata):
        found += await _count(database, one.table, [column.column for column in one.columns])
    return [*found, *await _count(database, idempotency_keys, [idempotency_keys.c.request_hash])]


async def _count(database: Database, table: Table, columns: Sequence[Column[bytes]]) -> list[Under]:
    counted: list[Counter[str | None]] = [Counter() for _ in columns]
    first = len(table.primary_key.columns)
    async for rows in walk(database, table, [_name(column) for column in columns], size=_AT_ONCE):
        for row in rows:
            for place, name in enumerate(row[first:]):
                if name is not None:
                    counted[place][bytes(name).decode(errors="replace") or None] += 1
    return [Under(f"{table.name}.{one.name}", dict(count)) for one, count in zip(columns, counted, strict=True)]


def _name(value: Column[bytes]) -> ColumnElement[Any]:
    """The name of a value's key, empty where it says none: the second byte is how long it is, and it follows."""
    said = func.substring(value, 3, func.get_byte(value, 1), type_=LargeBinary)
    return case((func.octet_length(value) > _BARE, said), (value.is_not(None), b"")).label(f"{value.name}_key")
