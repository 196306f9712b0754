"""Providers' ids of messages: sealed, found by a hash whose key is never rotated, and held by one attempt each.

WhatsApp's ids hold the person's number in base64. Until the contract is applied (`migrations/contracts`), they are kept
in clear as well, for processes of the version before; afterwards the database empties that column on every write.

A provider's answer to a call and its signed reports say which attempt an id belongs to. A record in the provider's list
only looks like an attempt, so an id that was assigned from a list is withdrawn when a report contradicts it.
"""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Table,
    Text,
    bindparam,
    case,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, savepoint, walk_table
from core.masking import MARK, stored_forms
from core.messages.record import EventRecord, MessageKey
from core.messages.state_machine import Attempt, MessageState, withdrawn
from core.messages.status import EventSource, ProviderId
from core.messages.tables import attempts, messages
from core.sealing import NO_TENANT, SealBroken, Sealer, numbered, prepare_lookups

log = structlog.get_logger(__name__)

_COLUMN = "provider_id"
ERASED = f"^{MARK}[0-9a-f]{{32}}$"
"""A pattern of PostgreSQL for what the version before left in the clear column of an erased id: its hash."""


def seal_for_attempt(sealer: Sealer, tenant: UUID, message: UUID, number: int, id: str) -> ProviderId:
    """Make the forms of a provider's id that an attempt holds."""
    sealed = sealer.seal(id, tenant=tenant, row=message, column=numbered(_COLUMN, number))
    return ProviderId(sealed, sealer.id_hash(id), id)


def seal_for_message(sealer: Sealer, tenant: UUID, message: UUID, id: str) -> ProviderId:
    """Make the forms of a provider's id that an inbound message holds."""
    return ProviderId(sealer.seal(id, tenant=tenant, row=message, column=_COLUMN), sealer.id_hash(id), id)


def open_id(
    sealer: Sealer, kept: ProviderId | None, tenant: UUID, message: UUID, number: int | None = None
) -> str | None:
    """Read an id; None where there is none, or it was erased. Raises SealBroken."""
    if kept is None:
        return None
    if kept.sealed is not None:
        column = _COLUMN if number is None else numbered(_COLUMN, number)
        return sealer.open(kept.sealed, tenant=tenant, row=message, column=column)
    return None if kept.clear is None or hash_of_erased(kept.clear) else kept.clear


def open_id_or_none(
    sealer: Sealer, kept: ProviderId | None, tenant: UUID, message: UUID, number: int | None = None
) -> str | None:
    """Read an id; None, and a line in the log, where it cannot be opened."""
    try:
        return open_id(sealer, kept, tenant, message, number)
    except SealBroken as error:
        log.warning("provider_id_unreadable", message_id=str(message), reason=str(error))
        return None


def lookups(sealer: Sealer, id: str) -> Sequence[bytes]:
    """Every hash under which a row may hold an id: its own, and those that replaced it when it was erased."""
    return [sealer.id_hash(id), *sealer.lookup_hashes(id, tenant=NO_TENANT)]


def clear_forms(sealer: Sealer, id: str) -> Sequence[str]:
    """Every form in which the version before may have stored an id."""
    return stored_forms(sealer, id)


def hash_of_erased(clear: str) -> bytes | None:
    """The hash that the version before left in the clear column for an erased id; None for an id."""
    return bytes.fromhex(clear.removeprefix(MARK)) if re.search(ERASED, clear) else None


# ─── Which attempt holds an id ──────────────────────────────────────────────

LOOK_AGAIN = timedelta(minutes=1)
"""The pause after an id was withdrawn from an attempt: its own report is probably on its way."""

ProviderName = tuple[str, str]
"""An integration and an id of its provider."""

_ONE_AT_A_TIME = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('sighting ' || name, 0)) FROM unnest(:names) AS name"
).bindparams(bindparam("names", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """A message's key and the number of one of its attempts."""

    key: MessageKey
    attempt: int


async def holders_of(
    connection: AsyncConnection, sealer: Sealer, names: Collection[ProviderName]
) -> dict[ProviderName, AttemptKey]:
    """Find the attempts that hold ids; leaves out ids that no attempt holds."""
    if not names:
        return {}
    hashed = {(integration, found): (integration, id) for integration, id in names for found in lookups(sealer, id)}
    clear = {(integration, form): (integration, id) for integration, id in names for form in clear_forms(sealer, id)}
    hash_of = tuple_(attempts.c.integration, attempts.c.provider_id_lookup)
    clear_of = tuple_(attempts.c.integration, attempts.c.provider_message_id)
    # The condition of the partial index, so that it is used.
    is_named = (attempts.c.channel != literal_column("'EMAIL'")) & or_(hash_of.in_(hashed), clear_of.in_(clear))
    rows = await connection.execute(select(attempts).where(is_named))
    return {
        name: AttemptKey(MessageKey(row.tenant_id, row.message_id), row.number)
        for row in rows
        if (name := hashed.get((row.integration, row.provider_id_lookup)))
        or (name := clear.get((row.integration, row.provider_message_id)))
    }


async def lock_names(connection: AsyncConnection, names: Collection[ProviderName]) -> None:
    """Keep other settlers from deciding about the same records of a list until the end of the transaction."""
    # In one order, so that two transactions wait for each other instead of deadlocking.
    wanted = sorted(f"{integration} {name}" for integration, name in names)
    await connection.execute(_ONE_AT_A_TIME, {"names": wanted})


def withdraw_id(
    states: dict[MessageKey, MessageState], holder: AttemptKey, integration: str, source: EventSource
) -> EventRecord | None:
    """Withdraw an id from an attempt that has it from a list; None for an attempt that has it for certain."""
    before = states.get(holder.key)
    held = None if before is None else before.attempts.get(holder.attempt)
    if before is None or held is None or not held.is_from_list:
        return None
    transition = withdrawn(before, holder.attempt, LOOK_AGAIN)
    states[holder.key] = transition.state
    return EventRecord(
        holder.key,
        before,
        transition,
        source,
        attempt=holder.attempt,
        integration=integration,
        detail=f"{integration} says that the record found in its list is another message's",
        is_withdrawn=True,
    )


def holds(sealer: Sealer, attempt: Attempt, id: str) -> bool:
    """Whether an attempt holds an id, in any form."""
    kept = attempt.provider_id
    return kept is not None and (kept.lookup in lookups(sealer, id) or kept.clear in clear_forms(sealer, id))


# ─── Sealing ids of the version before ──────────────────────────────────────

BATCH = 1_000
_PAUSE = 0.01


async def seal_clear_ids(database: Database, sealer: Sealer, *, batch: int = BATCH) -> int:
    """Seal the ids that rows hold in clear only, in small steps, and return how many rows that were.

    The clear id stays until the contract is applied, since processes of the version before look for it.
    """
    await prepare_lookups(database, sealer)
    done = 0
    for table in (messages, attempts):
        is_left = _is_left(table)
        async for rows in walk_table(database, table, [case((is_left, True)).label("is_left")], size=batch):
            keys: list[tuple[Any, ...]] = [tuple(row[:-1]) for row in rows if row.is_left]
            if keys:
                async with database.transaction() as connection:
                    done += await _seal(connection, sealer, table, keys)
                # Leave the database to others in between.
                await asyncio.sleep(_PAUSE)
    if done:
        log.info("clear_ids_sealed", rows=done)
    return done


def _is_left(table: Table) -> ColumnElement[bool]:
    """Whether a row holds an id in clear only, or the hash of an erased one without the look-up column."""
    clear = table.c.provider_message_id
    erased = clear.regexp_match(ERASED)
    return or_(
        clear.is_not(None) & ~erased & table.c.provider_id_sealed.is_(None),
        erased & table.c.provider_id_lookup.is_(None),
    )


async def _seal(connection: AsyncConnection, sealer: Sealer, table: Table, keys: Sequence[tuple[Any, ...]]) -> int:
    key = list(table.primary_key.columns)
    # Locked rows are skipped, so that this never takes part in a deadlock.
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
                # Two rows hold one id, which only the version before allowed: look-ups find the other row.
                place = {name: str(value) for name, value in change.items() if name.startswith("of_")}
                log.warning("provider_id_held_twice", **place)
                # Of an erased id there is only the hash, which the other row holds.
                clear = None if change["sealed"] is None else change["clear"]
                await connection.execute(statement, {**change, "lookup": None, "clear": clear})
    return len(changes)


async def _written(connection: AsyncConnection, statement: Any, changes: Sequence[Mapping[str, Any]]) -> bool:
    """Write changes; False, and nothing is written, where another row holds one of the ids already."""
    try:
        async with savepoint(connection):
            await connection.execute(statement, changes)
    except IntegrityError:
        return False
    return True


def _change(sealer: Sealer, table: Table, row: Row[Any]) -> dict[str, Any]:
    place = {f"of_{column.name}": getattr(row, column.name) for column in table.primary_key.columns}
    clear: str = row.provider_message_id
    if erased := hash_of_erased(clear):
        return place | {"sealed": None, "lookup": erased, "clear": clear}
    if table is attempts:
        kept = seal_for_attempt(sealer, row.tenant_id, row.message_id, row.number, clear)
    else:
        kept = seal_for_message(sealer, row.tenant_id, row.id, clear)
    return place | {"sealed": kept.sealed, "lookup": kept.lookup, "clear": clear}
