"""Sealing the provider ids that the version before keeps in clear: in small steps, while everything goes on.

The clear id stays beside the sealed one until the contract takes it away, since processes of the version before look
for it. A walk begins anew after a restart and passes over what is done.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Table, bindparam, case, or_, select, text, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.keyring.lookup import prepare_lookups
from core.keyring.walk import walk
from core.messages.provider_ids import ERASED, hash_of_erased, of_attempt, of_message
from core.messages.tables import attempts, messages
from core.sealing import Sealer

log = structlog.get_logger(__name__)

BATCH = 1_000
_BREATH = 0.01


async def seal_clear_ids(database: Database, sealer: Sealer, *, batch: int = BATCH) -> int:
    """Walk once through attempts and messages and seal what lies in clear alone; returns how many rows that were."""
    await prepare_lookups(database, sealer)
    done = 0
    for table in (messages, attempts):
        is_left = _is_left(table)
        async for rows in walk(database, table, [case((is_left, True)).label("is_left")], size=batch):
            keys: list[tuple[Any, ...]] = [tuple(row[:-1]) for row in rows if row.is_left]
            if keys:
                async with database.transaction() as connection:
                    done += await _seal(connection, sealer, table, keys)
                # Others want the database, too.
                await asyncio.sleep(_BREATH)
    if done:
        log.info("clear_ids_sealed", rows=done)
    return done


def _is_left(table: Table) -> ColumnElement[bool]:
    """Whether a row holds an id in clear alone, or a hash where the version before erased one."""
    clear = table.c.provider_message_id
    erased = clear.regexp_match(ERASED)
    return or_(
        clear.is_not(None) & ~erased & table.c.provider_id_sealed.is_(None),
        erased & table.c.provider_id_lookup.is_(None),
    )


async def _seal(connection: AsyncConnection, sealer: Sealer, table: Table, keys: Sequence[tuple[Any, ...]]) -> int:
    key = list(table.primary_key.columns)
    # Nobody is waited for, so nobody who holds one of these and wants another ever waits in a circle.
    held = select(table).where(tuple_(*key).in_(keys), _is_left(table)).with_for_update(skip_locked=True)
    changes = [_change(sealer, table, row) for row in await connection.execute(held)]
    if not changes:
        return 0
    statement = (
        update(table)
        .where(*(column == bindparam(f"of_{column.name}") for column in key))
        .values(
            provider_id_sealed=bindparam("sealed"),
            provider_id_lookup=bindparam("lookup"),
            provider_message_id=bindparam("clear"),
        )
    )
    if not await _written(connection, statement, changes):
        for change in changes:
            if not await _written(connection, statement, [change]):
                # Two rows hold one id, which only the version before let happen: the other one is found by it.
                place = {name: str(value) for name, value in change.items() if name.startswith("of_")}
                log.warning("provider_id_held_twice", **place)
                # Of an erased id there is nothing but its hash, which the other one keeps.
                clear = None if change["sealed"] is None else change["clear"]
                await connection.execute(statement, {**change, "lookup": None, "clear": clear})
    return len(changes)


async def _written(connection: AsyncConnection, statement: Any, changes: Sequence[Mapping[str, Any]]) -> bool:
    """Write changes; False where the database lets no two rows hold one id, and nothing of them is written."""
    await connection.execute(text("SAVEPOINT sealing"))
    try:
        await connection.execute(statement, changes)
    except IntegrityError:
        await connection.execute(text("ROLLBACK TO SAVEPOINT sealing"))
        return False
    await connection.execute(text("RELEASE SAVEPOINT sealing"))
    return True


def _change(sealer: Sealer, table: Table, row: Row[Any]) -> dict[str, Any]:
    place = {f"of_{column.name}": getattr(row, column.name) for column in table.primary_key.columns}
    clear: str = row.provider_message_id
    if erased := hash_of_erased(clear):
        return place | {"sealed": None, "lookup": erased, "clear": clear}
    if table is attempts:
        kept = of_attempt(sealer, row.tenant_id, row.message_id, row.number, clear)
    else:
        kept = of_message(sealer, row.tenant_id, row.id, clear)
    return place | {"sealed": kept.sealed, "lookup": kept.lookup, "clear": clear}
