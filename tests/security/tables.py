"""Every table of the database catalogue, and a row of each of two tenants in those that belong to tenants."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

OUR_TENANT, OTHER_TENANT = UUID("3fea8953-6801-4312-8af1-47d803b5847a"), UUID("63a1330b-9877-4674-a978-d883b37f2ada")
# Shared tables: a table is either here, or has a tenant's column and policies.
# Users belong to no tenant: one may be a member of several, and is a member of none at first.
SHARED_TABLES = {
    "alembic_version",
    "contracts",
    "users",
    "ended_sessions",
    "workers",
    "servers",
    "pulses",
    "probe_turns",
    "daily_counts",
    "provider_calls",
    "lookup_keys",
}

_TABLES = """
SELECT relname AS name, relrowsecurity AS is_protected, relforcerowsecurity AS is_forced,
    EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant_id') AS has_tenant
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
"""
_NEEDED = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND NOT atthasdef AND attidentity = ''
    -- Sealed values may be missing only in rows that say since when.
    AND (attnotnull OR attname ~ '_sealed$' OR attname ~ '_hash$')
"""
# An expression for a column of each type; a type that is missing here is to be added with the table that brings it.
_VALUES = {
    "uuid": "gen_random_uuid()",
    "text": "gen_random_uuid()::text",
    "bytea": "decode(md5(random()::text), 'hex')",
    "jsonb": "'{}'::jsonb",
    "boolean": "false",
    "smallint": "1",
    "integer": "1",
    "bigint": "1",
    "numeric": "1",
    "date": "current_date",
    "timestamp with time zone": "now()",
    "interval": "interval '1 day'",
    "text[]": "'{}'::text[]",
}


@dataclass(frozen=True)
class Table:
    """A table of tenants' rows; `owner` is the column that says whose a row is."""

    name: str
    owner: str
    columns: dict[str, str]

    def insertion(self, tenant: UUID) -> str:
        """A statement that gives a tenant another row; what it would refer to is not looked at."""
        columns = self.columns | {self.owner: f"'{tenant}'::uuid"}
        return f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


async def all_tables(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch(_TABLES)]


async def tenant_tables(connection: asyncpg.Connection) -> list[Table]:
    """The tables whose rows belong to tenants."""
    found = []
    for row in await all_tables(connection):
        if row["name"] not in SHARED_TABLES:
            needed = await connection.fetch(_NEEDED, row["name"])
            owner = "tenant_id" if row["has_tenant"] else "id"
            found.append(Table(row["name"], owner, {one["name"]: _VALUES[one["type"]] for one in needed}))
    return found


async def fill_tables(superuser: asyncpg.Connection, tables: list[Table]) -> None:
    """A row of each tenant in every table, foreign keys left aside: what is looked at here is whose a row is."""
    await superuser.execute("SET session_replication_role = replica")
    for table in tables:
        for tenant in (OUR_TENANT, OTHER_TENANT):
            await superuser.execute(table.insertion(tenant))
    await superuser.execute("SET session_replication_role = DEFAULT")
