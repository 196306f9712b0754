"""API keys whose creator is gone: found through the keys that made them, listed, and revoked on request."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from core.access.api_keys import ACTION, orphaned_keys, revoke_orphaned_keys
from core.database import Database
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls

PEOPLE = ("stays", "deleted", "banned", "left", "elsewhere")


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.direct)
    yield connection
    await connection.close()


async def key(owner: asyncpg.Connection, maker: str, *, tenant: UUID = DEFAULT_TENANT, revoked: bool = False) -> str:
    """A key made by a user; return the part it is found by."""
    name = uuid4().hex[:12]
    await owner.execute(
        "INSERT INTO api_keys (tenant_id, id, public_id, secret_hash, name, kind, scopes, created_by, revoked_at)"
        " VALUES ($1, $2, $3, 'x', 'n', 'LIVE', '{}', $4, CASE WHEN $5 THEN now() END)",
        tenant,
        uuid4(),
        name,
        maker,
        revoked,
    )
    return name


async def people(owner: asyncpg.Connection) -> UUID:
    """People of the default tenant, most of them gone; one has left another tenant, whose id is given."""
    other = uuid4()
    tenant = "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, $2, 'O', 'UTC', 'BRL')"
    await owner.execute(tenant, other, other.hex)
    for who in PEOPLE:
        user = uuid4()
        await owner.execute("INSERT INTO users (id, subject) VALUES ($1, $2)", user, f"user_{who}")
        await owner.execute("INSERT INTO memberships (tenant_id, user_id) VALUES ($1, $2)", DEFAULT_TENANT, user)
        if who == "elsewhere":
            gone = "INSERT INTO memberships (tenant_id, user_id, deleted_at) VALUES ($1, $2, now())"
            await owner.execute(gone, other, user)
    await owner.execute("UPDATE users SET deleted_at = now() WHERE subject = 'user_deleted'")
    await owner.execute("UPDATE users SET is_banned = true WHERE subject = 'user_banned'")
    await owner.execute(
        "UPDATE memberships SET deleted_at = now() FROM users WHERE user_id = users.id AND subject = 'user_left'"
    )
    return other


async def test_keys_whose_maker_is_gone_are_found_and_revoked_and_no_others(
    owner: asyncpg.Connection, app_database: Database, worker_database: Database
) -> None:
    other = await people(owner)
    made = {who: await key(owner, f"user_{who}") for who in PEOPLE}
    made["cli"], made["dev"], made["nobody"] = [await key(owner, who) for who in ("cli", "dev", "user_unknown")]
    # A key that a key made; the one between was revoked, as when a key is replaced.
    between = await key(owner, f"key:{made['left']}", revoked=True)
    made["of a key"] = await key(owner, f"key:{between}")
    replaced = await key(owner, "user_stays", revoked=True)
    made["of a replaced key"] = await key(owner, f"key:{replaced}")
    made["in a circle"] = await key(owner, "key:circle")
    await owner.execute("UPDATE api_keys SET public_id = 'circle' WHERE public_id = $1", made["in a circle"])
    made["in a circle"] = "circle"
    made["of the other tenant"] = await key(owner, "user_elsewhere", tenant=other)
    gone = {"deleted", "banned", "left", "of a key"}

    async def names(ids: set[UUID]) -> set[str]:
        rows = await owner.fetch("SELECT public_id FROM api_keys WHERE id = ANY ($1)", list(ids))
        return {who for row in rows for who, name in made.items() if name == row["public_id"]}

    # Also as the application, which the command line works as, sees it.
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        assert await names(set(await orphaned_keys(connection, DEFAULT_TENANT))) == gone
    async with app_database.transaction(other) as connection:
        assert await names(set(await orphaned_keys(connection, other))) == {"of the other tenant"}

    async with worker_database.transaction() as connection:
        assert await revoke_orphaned_keys(connection) == len(gone) + 1
    async with worker_database.transaction() as connection:
        assert await revoke_orphaned_keys(connection) == 0
    living = await owner.fetch("SELECT public_id FROM api_keys WHERE revoked_at IS NULL")
    assert {row["public_id"] for row in living} == {name for who, name in made.items() if who not in gone} - {
        made["of the other tenant"]
    }
    events = await owner.fetch("SELECT kind, action, target_type, outcome FROM audit_events")
    assert {tuple(row) for row in events} == {("SYSTEM", ACTION, "ApiKey", "DONE")}
    assert len(events) == len(gone) + 1
