"""How many values lie under which key, so that it is known when an earlier key may go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import LargeBinary, SmallInteger, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.idempotency import idempotency_keys
from core.keyring.catalogue import sealed_tables
from core.tables import metadata

FINGERPRINTS = "idempotency_keys.request_hash"
_BARE = 16
"""Bytes of a fingerprint an earlier version wrote, which does not say its key."""


@dataclass(frozen=True, slots=True)
class Under:
    """How many values of one place lie under each key; the name None is that of values that do not say."""

    place: str
    values: Mapping[str | None, int]


async def status(connection: AsyncConnection) -> Sequence[Under]:
    """Count sealed values by key, column by column, and fingerprints, which no key opens: they end by themselves."""
    found = []
    for one in sealed_tables(metadata):
        for column in one.columns:
            # The second byte says how long the key's name is, and the name follows.
            name = func.substring(column.column, 3, func.get_byte(column.column, 1), type_=LargeBinary)
            rows = await connection.execute(
                select(name.label("name"), func.count().label("number"))
                .where(column.column.is_not(None), func.octet_length(column.column) > 2)
                .group_by(name)
            )
            found.append(Under(f"{one.table.name}.{column.column.name}", {_named(r.name): r.number for r in rows}))
    return [*found, await _fingerprints(connection)]


async def _fingerprints(connection: AsyncConnection) -> Under:
    value = idempotency_keys.c.request_hash
    name = case(
        (
            func.octet_length(value) > _BARE,
            func.substring(value, 3, cast(func.get_byte(value, 1), SmallInteger), type_=LargeBinary),
        )
    )
    rows = await connection.execute(
        select(name.label("name"), func.count().label("number"))
        .where(idempotency_keys.c.expires_at > func.now())
        .group_by(name)
    )
    return Under(FINGERPRINTS, {_named(row.name): row.number for row in rows})


def _named(name: bytes | None) -> str | None:
    return None if name is None else bytes(name).decode(errors="replace")
