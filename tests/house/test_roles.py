"""What the database roles of the application and the worker may not do, even under an attacker's control."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.databases import SharedStores

ANY_ROLE = [
    "CREATE TABLE loot (id int)",
    "CREATE SCHEMA loot",
    "CREATE FUNCTION loot() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE loot",
    "CREATE DATABASE loot",
    "DROP TABLE messages CASCADE",
    "ALTER TABLE messages ADD COLUMN loot text",
    "ALTER TABLE messages DISABLE TRIGGER ALL",
    "CREATE INDEX ON messages (status)",
    "TRUNCATE inbox",
    "DELETE FROM messages",
    "DELETE FROM inbox",
    "UPDATE message_events SET status = 'READ'",
    "DELETE FROM message_events",
    "INSERT INTO tenants VALUES (gen_random_uuid(), 'loot', 'Loot', 'UTC', 'EUR')",
    "UPDATE tenants SET name = 'Loot'",
    "UPDATE senders SET address = '+1'",
    "DELETE FROM users",
    "DELETE FROM memberships",
    "UPDATE tenants SET clerk_organization_id = 'org_loot'",
    "ALTER FUNCTION keep_organization SECURITY INVOKER",
    "DELETE FROM api_keys",
    "UPDATE api_keys SET scopes = '{OPERATIONS_WRITE}'",
    "UPDATE api_keys SET kind = 'LIVE'",
    "UPDATE api_keys SET secret_hash = ''",
    "UPDATE api_keys SET expires_at = NULL",
    "UPDATE api_keys SET tenant_id = gen_random_uuid()",
    "ALTER FUNCTION keys_presented SECURITY INVOKER",
    "DELETE FROM templates",
    "DELETE FROM template_catalogues",
    "UPDATE audit_events SET actor = 'somebody else'",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    "DELETE FROM erasures",
    "UPDATE alembic_version SET version_num = '0000'",
    "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY of_the_tenants_named ON messages",
    "CREATE POLICY loot ON messages USING (true)",
    "SET LOCAL row_security = off; SELECT * FROM messages",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE CURRENT_USER SET app.tenants = '01900000-0000-7000-8000-000000000001'",
    "ALTER FUNCTION owners_of_addresses SECURITY INVOKER",
    "CREATE VIEW loot AS SELECT * FROM messages",
    "CREATE TRIGGER loot AFTER INSERT ON messages EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "GRANT interalpha_migrate TO CURRENT_USER",
    "SET ROLE interalpha_migrate",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY messages TO '/tmp/loot'",
    "COPY messages TO PROGRAM 'cat'",
]
APPLICATION = [
    "UPDATE messages SET content_sealed = ''",
    "UPDATE messages SET to_sealed = ''",
    "UPDATE messages SET lease_token = 0",
    "UPDATE inbox SET event_sealed = ''",
    "UPDATE inbox SET dedupe_key = ''",
    "UPDATE users SET profile_sealed = ''",
    "UPDATE users SET deleted_at = NULL",
    "UPDATE messages SET simulated_only = false",
    "UPDATE memberships SET deleted_at = NULL",
    "INSERT INTO users (id, subject) VALUES (gen_random_uuid(), 'loot')",
    "INSERT INTO users (id, subject, deleted_at) VALUES (gen_random_uuid(), 'loot', now())",
    "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
    "INSERT INTO memberships (tenant_id, user_id, deleted_at) VALUES (gen_random_uuid(), gen_random_uuid(), now())",
    "UPDATE external_ids SET message_id = gen_random_uuid()",
    "DELETE FROM external_ids",
    "UPDATE dead_letters SET error = ''",
    "INSERT INTO daily_counts VALUES ('twilio', now(), 1, 1)",
    "INSERT INTO attempts (tenant_id, message_id, number) VALUES (gen_random_uuid(), gen_random_uuid(), 1)",
    "UPDATE attempts SET outcome = 'ACCEPTED'",
    "DELETE FROM attempts",
    "DELETE FROM idempotency_keys",
    "INSERT INTO senders VALUES (gen_random_uuid(), 'twilio', '+1')",
    "INSERT INTO workers (name) VALUES ('loot')",
    "INSERT INTO templates (tenant_id, id) VALUES (gen_random_uuid(), gen_random_uuid())",
    "UPDATE templates SET approval = 'APPROVED'",
    "SELECT * FROM template_catalogues",
    "DELETE FROM workers",
    "UPDATE erasures SET finished_at = now()",
    "INSERT INTO erasures (tenant_id, id, finished_at) VALUES (gen_random_uuid(), gen_random_uuid(), now())",
    "UPDATE messages SET to_sealed = NULL, erased_at = now()",
    "UPDATE messages SET made_by = NULL",
    "UPDATE api_keys SET recipients_sealed = NULL",
    "UPDATE inbox SET raw_sealed = NULL",
]
WORKER = [
    "INSERT INTO external_ids VALUES (gen_random_uuid(), 'loot', gen_random_uuid())",
    "INSERT INTO idempotency_keys (tenant_id, key) VALUES (gen_random_uuid(), 'loot')",
    "INSERT INTO erasures (tenant_id, id) VALUES (gen_random_uuid(), gen_random_uuid())",
    "UPDATE external_ids SET message_id = gen_random_uuid()",
    "UPDATE idempotency_keys SET resource_id = gen_random_uuid()",
    "DELETE FROM senders",
    "SELECT * FROM owners_of_addresses('twilio', '{+1}')",
    "SELECT * FROM how_they_stand('loot', 'org_loot')",
    "SELECT * FROM messages_waiting('{SMS}', 1)",
    "SELECT * FROM keys_presented('{loot}')",
    "SELECT * FROM api_keys",
    "INSERT INTO api_keys (tenant_id, id) VALUES (gen_random_uuid(), gen_random_uuid())",
    "UPDATE api_keys SET revoked_at = NULL",
]


@pytest.fixture(scope="module")
async def connections(stores: SharedStores) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """One connection per role, to one database: nothing here gets as far as changing it."""
    async with stores.database() as urls:
        opened = {name: await asyncpg.connect(getattr(urls, name)) for name in ("app", "worker", "direct")}
        yield opened
        for connection in opened.values():
            await connection.close()


FORBIDDEN_STATEMENTS = (
    [(role, one) for role in ("app", "worker") for one in ANY_ROLE]
    + [("app", one) for one in APPLICATION]
    + [("worker", one) for one in WORKER]
)


async def test_it_is_refused(subtests: pytest.Subtests, connections: dict[str, asyncpg.Connection]) -> None:
    for role, statement in FORBIDDEN_STATEMENTS:
        with subtests.test(f"{role}: {statement}"), pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connections[role].execute(statement)


async def test_the_owner_of_the_tables_could(connections: dict[str, asyncpg.Connection]) -> None:
    for statement in ("CREATE TABLE loot (id int)", "UPDATE messages SET status = 'READ'", "DELETE FROM attempts"):
        transaction = connections["direct"].transaction()
        await transaction.start()
        await connections["direct"].execute(statement)
        await transaction.rollback()


@pytest.mark.parametrize("role", ["app", "worker", "direct"])
async def test_no_role_is_a_superuser(connections: dict[str, asyncpg.Connection], role: str) -> None:
    row = await connections[role].fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
    assert not any(row[name] for name in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication"))
