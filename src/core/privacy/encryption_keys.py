"""Encryption keys: rotating values to the current key, counting values by key, and finding keys that are missing here.

Rotation locks nothing while it opens values. It replaces a value only if it is still the one that was read, so a
concurrent change or erasure wins. Values under the current key are skipped, so an interrupted rotation is repeated.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    LargeBinary,
    MetaData,
    Row,
    Table,
    bindparam,
    case,
    func,
    text,
    update,
)

from core.addresses import lookup_form
from core.database import Database, walk_table
from core.idempotency import idempotency_keys
from core.inbox.tables import inbox
from core.liveness import keys_missing_anywhere
from core.nouns import PersonalData, SealedWork
from core.ports import Severity
from core.privacy.erase import erasures
from core.problems.store import Extent, NewProblem, close_missing, open_problems
from core.problems.tables import OPERATOR, ClosedBy
from core.sealing import SealBroken, SealedColumn, SealedTable, Sealer, is_readable, sealed_tables

log = structlog.get_logger(__name__)

BATCH = 500
FINGERPRINTS = "idempotency_keys.request_hash"
_BARE = 16
"""Bytes of a fingerprint of an earlier version, which does not contain its key's name."""
_AT_ONCE = 10_000
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class RotationStep:
    """What one step did: how many values of a table were sealed anew, and how many cannot be opened here."""

    table: str
    sealed: int
    unreadable: int


async def rotate_keys(
    database: Database, sealer: Sealer, tables: MetaData, *, batch: int = BATCH
) -> AsyncIterator[RotationStep]:
    """Seal all values of these tables anew that are not sealed with the current key; needs a worker's rights.

    `tables` is `api.migrations.metadata`: only the composition root knows that every noun's tables are in it.
    """
    for one in sealed_tables(tables):
        async for rows in walk_table(
            database, one.table, [_if_old(column, sealer) for column in one.columns], size=batch
        ):
            step = await _seal_anew(database, sealer, one, rows)
            if step.sealed or step.unreadable:
                yield step


def _if_old(one: SealedColumn, sealer: Sealer) -> ColumnElement[Any]:
    """A column's value if it is not sealed with the current key; other values are not read."""
    head = sealer.head()
    return case((func.substring(one.column, 1, len(head), type_=LargeBinary) != head, one.column)).label(
        one.column.name
    )


async def _seal_anew(database: Database, sealer: Sealer, one: SealedTable, rows: Sequence[Row[Any]]) -> RotationStep:
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
    return RotationStep(one.table.name, done, unreadable)


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


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """How many values of one column are sealed with each key; the name None stands for values without a name."""

    place: str
    values: Mapping[str | None, int]


async def count_by_key(database: Database, tables: MetaData) -> Sequence[KeyUsage]:
    """Count sealed values by key and column, and fingerprints of requests, which expire and are not rotated."""
    found: list[KeyUsage] = []
    for one in sealed_tables(tables):
        found += await _count(database, one.table, [column.column for column in one.columns])
    return [*found, *await _count(database, idempotency_keys, [idempotency_keys.c.request_hash])]


async def _count(database: Database, table: Table, columns: Sequence[Column[bytes]]) -> list[KeyUsage]:
    counted: list[Counter[str | None]] = [Counter() for _ in columns]
    first = len(table.primary_key.columns)
    async for rows in walk_table(database, table, [_name(column) for column in columns], size=_AT_ONCE):
        for row in rows:
            for place, name in enumerate(row[first:]):
                if name is not None:
                    counted[place][bytes(name).decode(errors="replace") or None] += 1
    return [KeyUsage(f"{table.name}.{one.name}", dict(count)) for one, count in zip(columns, counted, strict=True)]


def _name(value: Column[bytes]) -> ColumnElement[Any]:
    """The name of a value's key, empty where it has none: the second byte is its length, and the name follows."""
    said = func.substring(value, 3, func.get_byte(value, 1), type_=LargeBinary)
    return case((func.octet_length(value) > _BARE, said), (value.is_not(None), b"")).label(f"{value.name}_key")


_OURS = (
    SealedWork(inbox.c.event_sealed, "status = 'RECEIVED'"),
    SealedWork(erasures.c.recipient_sealed, "finished_at IS NULL"),
)


def _due(work: SealedWork) -> str:
    table, column = work.sealed.table.name, work.sealed.name
    return f"""
        SELECT '{table}' AS place, substring({column}, 3, get_byte({column}, 1)) AS key FROM {table}
        WHERE {work.condition} AND due_at <= now() AND NOT {is_readable(column)} LIMIT {_MOST}"""  # noqa: S608  # constants


async def count_waiting_for_keys(
    database: Database, sealer: Sealer, nouns: Sequence[PersonalData]
) -> Mapping[str, Mapping[str, int]]:
    """Count due rows that are sealed with a key missing here, by key and table, up to 1,000 of each."""
    works = [*(work for noun in nouns for work in noun.work), *_OURS]
    waiting = text(
        f"SELECT place, key, count(*) AS number FROM (({') UNION ALL ('.join(map(_due, works))})) waiting"  # noqa: S608
        " GROUP BY place, key ORDER BY key, place"
    ).bindparams(bindparam("keys", type_=ARRAY(LargeBinary)))
    async with database.transaction() as connection:
        rows = (await connection.execute(waiting, {"keys": sealer.encoded_names})).all()
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(bytes(row.key).decode(errors="replace"), {})[row.place] = row.number
    return found


def log_missing_keys(found: Mapping[str, Mapping[str, int]]) -> None:
    """Log the names of missing keys, and how much waits for each."""
    for key, places in found.items():
        log.error(
            "key_missing",
            key=key,
            **places,
            advice=f"add it {_WHERE}",
        )


_WHERE = "after the current one to ENCRYPTION_KEYS of every process: docs/how-to/lost-keys.md"
_PREFIX = "encryption-key:"


async def record_missing_keys(database: Database, found: Mapping[str, Mapping[str, int]]) -> None:
    """Open a problem for each key that is missing here, and close those of keys that no live worker lacks."""
    missing = [
        NewProblem(
            f"{_PREFIX}{key}",
            "ENCRYPTION_KEY_MISSING",
            Severity.CRITICAL,
            "An encryption key is missing, and work that needs it waits.",
            f"The key {key} is missing.",
            f"Add it {_WHERE}.",
            extent=Extent(sum(places.values()), "rows"),
        )
        for key, places in found.items()
    ]
    async with database.transaction(OPERATOR) as connection:
        lacking = {*found, *await keys_missing_anywhere(connection)}
        await open_problems(connection, missing)
        await close_missing(connection, _PREFIX, [f"{_PREFIX}{key}" for key in lacking], ClosedBy.NOUN)
