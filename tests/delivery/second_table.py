"""A second table whose rows are claimed, as a noun would have it: calls that are due, with their attempts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.claims import (
    Key,
    WorkTable,
    begin_rows,
    begin_values,
    claim_rows,
    claim_values,
    end_lease,
    held_values,
    lock_held,
    lock_lost,
    number_attempts,
    release_rows,
    release_values,
    return_unbegun,
    start_attempts,
)
from core.database import make_engine
from core.ports.identity import DEFAULT_TENANT

LEASE, DEADLINE = timedelta(seconds=45), timedelta(seconds=20)

_tables = MetaData()
calls = Table(
    "calls",
    _tables,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="WAITING"),
    Column("due_at", DateTime(timezone=True), server_default=func.now()),
    Column("lease_until", DateTime(timezone=True)),
    Column("lease_owner", Text),
    Column("lease_token", BigInteger, nullable=False, server_default="0"),
    Column("attempt_count", SmallInteger, nullable=False, server_default="0"),
)
call_attempts = Table(
    "call_attempts",
    _tables,
    Column("tenant_id", Uuid, primary_key=True),
    Column("call_id", Uuid, primary_key=True),
    Column("number", SmallInteger, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("started_at", DateTime(timezone=True)),
)

CALLS = WorkTable(calls, call_attempts, of="call_id", waiting="WAITING", working="WORKING")
_claimed = claim_rows(CALLS, calls.c.topic == bindparam("of_topic"), returning=[calls.c.topic])
_CLAIM = select(_claimed).add_cte(number_attempts(CALLS, _claimed))
_begun = begin_rows(CALLS)
_BEGIN = select(_begun).add_cte(start_attempts(CALLS, _begun))
_HELD, _RELEASE = lock_held(CALLS), release_rows(CALLS)


@dataclass(frozen=True, slots=True)
class Call:
    """A claimed call."""

    key: Key
    token: int
    attempt: int


def _pairs(claimed: Sequence[Call]) -> list[tuple[Key, int]]:
    return [(one.key, one.token) for one in claimed]


async def claim(connection: AsyncConnection, worker: str, *, limit: int = 10, topic: str = "any") -> list[Call]:
    values = claim_values(worker=worker, limit=limit, lease=LEASE) | {"of_topic": topic}
    rows = await connection.execute(_CLAIM, values)
    return [Call((row.tenant_id, row.id), row.lease_token, row.attempt_count) for row in rows]


async def begin(connection: AsyncConnection, claimed: Sequence[Call]) -> list[Call]:
    rows = await connection.execute(_BEGIN, begin_values(_pairs(claimed), DEADLINE))
    begun = {(row.tenant_id, row.id) for row in rows}
    return [one for one in claimed if one.key in begun]


async def release(connection: AsyncConnection, claimed: Sequence[Call], waits: Sequence[float]) -> None:
    await connection.execute(_RELEASE, release_values(_pairs(claimed), waits))


async def record(connection: AsyncConnection, claimed: Sequence[Call], status: str = "DONE") -> list[Call]:
    """Record the end of work, except of claims that were lost; in a transaction. Returns those recorded."""
    held = {(row.tenant_id, row.id) for row in await connection.execute(_HELD, held_values(_pairs(claimed)))}
    if held:
        ended = update(calls).where(tuple_(calls.c.tenant_id, calls.c.id).in_(held))
        await connection.execute(ended.values(status=status, due_at=None, lease_until=None))
    return [one for one in claimed if one.key in held]


async def reclaim(connection: AsyncConnection) -> list[Key]:
    """Return lost calls that were not begun, and give up those that were; in a transaction."""
    if keys := await lock_lost(connection, CALLS, limit=100):
        await return_unbegun(connection, CALLS, keys)
        begun = update(calls).where(tuple_(calls.c.tenant_id, calls.c.id).in_(keys), calls.c.lease_until.is_not(None))
        await connection.execute(begun.values(**end_lease(CALLS), status="LOST", due_at=None))
    return keys


@dataclass(slots=True)
class Ledger:
    """The tables' owner: makes rows, lets leases run out, and reads what there is."""

    owner: asyncpg.Connection
    tenants: list[UUID] = field(default_factory=lambda: [DEFAULT_TENANT, uuid4()])

    async def add(self, number: int, *, topic: str = "any") -> list[Key]:
        """Due calls, in turn for each tenant."""
        keys = [(self.tenants[each % len(self.tenants)], uuid4()) for each in range(number)]
        await self.owner.executemany(
            "INSERT INTO calls (tenant_id, id, topic) VALUES ($1, $2, $3)", [(*key, topic) for key in keys]
        )
        return keys

    async def let_expire(self, *keys: Key) -> None:
        """End leases, as time does."""
        ended = "UPDATE calls SET lease_until = now() - interval '1 s' WHERE id = ANY ($1) AND lease_until IS NOT NULL"
        await self.owner.execute(ended, [id for _, id in keys])

    async def make_due(self) -> None:
        await self.owner.execute("UPDATE calls SET due_at = now() WHERE due_at > now()")

    async def statuses(self, topic: str = "any") -> dict[Key, str]:
        rows = await self.owner.fetch("SELECT tenant_id, id, status FROM calls WHERE topic = $1", topic)
        return {(row["tenant_id"], row["id"]): row["status"] for row in rows}

    async def attempts(self) -> list[tuple[int, bool]]:
        """The numbers of all attempts, and whether each was begun."""
        rows = await self.owner.fetch("SELECT number, started_at FROM call_attempts ORDER BY call_id, number")
        return [(row["number"], row["started_at"] is not None) for row in rows]


@asynccontextmanager
async def second_table(direct: str) -> AsyncIterator[Ledger]:
    """Both tables, for as long as one test."""
    owner, engine = await asyncpg.connect(direct), make_engine(direct)
    async with engine.connect() as connection:
        await connection.run_sync(_tables.create_all)
    await engine.dispose()
    try:
        await owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON calls, call_attempts TO interalpha_worker")
        ledger = Ledger(owner)
        guest = ledger.tenants[1]
        await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Guest', 'UTC', 'BRL')", guest, guest.hex)
        yield ledger
    finally:
        await owner.execute("DROP TABLE calls, call_attempts")
        await owner.close()
