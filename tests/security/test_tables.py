"""Raw SQL in the application's name, on every table of the catalogue: row-level security refuses foreign rows.

The roles are given every right on every table first, so that only row-level security can refuse.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from core.ports.identity import DEFAULT_TENANT
from tests.databases import SharedStores, Urls
from tests.security.tables import OTHER_TENANT, OUR_TENANT, SHARED_TABLES, Table, all_tables, fill_tables, tenant_tables

OWN_RULE, SWEEPING = "of_the_tenants_named", "of_all_while_none_is_named"
GARBAGE = [
    "nonsense",
    ",",
    f"{OTHER_TENANT}x",
    f"{OUR_TENANT},nonsense,{OTHER_TENANT}",
    f"{OUR_TENANT} {OTHER_TENANT}",
    f"{OTHER_TENANT};",
    f"'{OTHER_TENANT}'",
    f"{{{OTHER_TENANT},{OUR_TENANT}}}",
    "*",
    "%",
    "NULL",
    "ALL",
    "' OR true --",
    "00000000-0000-0000-0000-000000000000",
]


@dataclass
class RoleDatabase:
    """One database with rows of two tenants, and a connection of each role to it."""

    tables: list[Table]
    roles: dict[str, asyncpg.Connection]

    @asynccontextmanager
    async def acting(self, role: str, named: str | None) -> AsyncIterator[asyncpg.Connection]:
        """A transaction of a role with tenants named, or nothing said at all; rolled back at the end."""
        connection = self.roles[role]
        transaction = connection.transaction()
        await transaction.start()
        try:
            if named is not None:
                await connection.execute("SELECT set_config('app.tenants', $1, true)", named)
            yield connection
        finally:
            await transaction.rollback()

    async def owners(self, connection: asyncpg.Connection, table: Table) -> set[UUID]:
        """Whose rows can be seen; the tenant that every installation begins with is left aside."""
        rows = await connection.fetch(f"SELECT {table.owner} AS owner FROM {table.name}")
        return {row["owner"] for row in rows} & {OUR_TENANT, OTHER_TENANT}


@pytest.fixture(scope="module")
async def urls_here(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="module")
async def role_database(urls_here: Urls) -> AsyncIterator[RoleDatabase]:
    superuser = await asyncpg.connect(urls_here.superuser)
    tables = await tenant_tables(superuser)
    await fill_tables(superuser, tables)
    await superuser.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO interalpha_app, interalpha_worker")
    roles = {"app": urls_here.app, "worker": urls_here.worker, "owner": urls_here.direct}
    opened = {name: await asyncpg.connect(url) for name, url in roles.items()}
    yield RoleDatabase(tables, opened)
    for connection in (superuser, *opened.values()):
        await connection.close()


async def test_every_table_is_shared_or_protected(role_database: RoleDatabase) -> None:
    found = await all_tables(role_database.roles["app"])
    assert len(found) > 12
    for table in found:
        name = table["name"]
        if name in SHARED_TABLES:
            assert not table["has_tenant"], f"{name} has a tenant_id: give it policies"
        else:
            assert (table["is_protected"], table["is_forced"]) == (True, True), f"{name} lacks row-level security"
            assert table["has_tenant"] or name == "tenants", f"{name} says of no row whose it is"


async def test_every_protected_table_has_the_two_rules_and_no_other(role_database: RoleDatabase) -> None:
    rows = await role_database.roles["app"].fetch("SELECT * FROM pg_policies WHERE schemaname = 'public'")
    # People belong to several tenants or none, and so do their sessions: theirs are looked at below.
    rows = [row for row in rows if row["tablename"] not in ("users", "ended_sessions")]
    assert {(row["tablename"], row["policyname"]) for row in rows} == {
        (table.name, rule) for table in role_database.tables for rule in (OWN_RULE, SWEEPING)
    }
    for row in rows:
        to = {"public"} if row["policyname"] == OWN_RULE else {"interalpha_worker", "interalpha_migrate"}
        assert (set(row["roles"]), row["cmd"], row["with_check"]) == (to, "ALL", None), row
    # The same words everywhere, but for the name of the column.
    assert len({(row["policyname"], row["qual"].replace("(id =", "(tenant_id =")) for row in rows}) == 2


async def test_nothing_shows_rows_in_the_owners_name_but_these_functions(role_database: RoleDatabase) -> None:
    app = role_database.roles["app"]
    assert await app.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'public'") == []
    assert await app.fetch("SELECT matviewname FROM pg_matviews WHERE schemaname = 'public'") == []
    rows = await app.fetch("""
        SELECT proname, prosecdef, proconfig, prosqlbody IS NOT NULL AS is_bound,
            has_function_privilege('interalpha_app', oid, 'EXECUTE') AS app,
            has_function_privilege('interalpha_worker', oid, 'EXECUTE') AS worker
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype
        ORDER BY proname
    """)
    expected = {
        "prosecdef": True,
        "proconfig": ["search_path=pg_catalog, pg_temp"],
        "is_bound": True,
        "app": True,
    }
    # The worker, too, makes tenants of organisations and records users: it applies the events about them.
    # What finds keys whose maker is gone runs in the caller's name, and what revokes them is the worker's alone.
    keys = {row["proname"]: dict(row) for row in rows if row["proname"].endswith("orphaned_keys")}
    assert keys == {
        "orphaned_keys": {"proname": "orphaned_keys"} | expected | {"prosecdef": False, "worker": False},
        "revoke_orphaned_keys": {"proname": "revoke_orphaned_keys"} | expected | {"app": False, "worker": True},
    }
    rows = [row for row in rows if row["proname"] not in keys]
    assert [dict(row) for row in rows] == [
        {"proname": name} | expected | {"worker": name.startswith("keep_")}
        for name in (
            "how_they_stand",
            "keep_organization",
            "keep_person",
            "keys_presented",
            "messages_waiting",
            "owners_of_addresses",
            "sessions_presented",
            "settle_attempt_as_sent",
        )
    ]


@pytest.mark.parametrize("role", ["app", "worker", "owner"])
async def test_others_rows_are_not_there(role_database: RoleDatabase, role: str) -> None:
    async with role_database.acting(role, str(OUR_TENANT)) as connection:
        for table in role_database.tables:
            assert await role_database.owners(connection, table) == {OUR_TENANT}, table.name
            for tail in ("FOR UPDATE", "FOR KEY SHARE SKIP LOCKED"):
                where = f"{table.owner} = '{OTHER_TENANT}'"
                assert await connection.fetch(f"SELECT FROM {table.name} WHERE {where} {tail}") == [], table.name
            assert await connection.fetchval(f"SELECT count(*) FROM {table.name}") == 1, table.name


@pytest.mark.parametrize("role", ["app", "worker", "owner"])
async def test_several_tenants_may_be_named(role_database: RoleDatabase, role: str) -> None:
    async with role_database.acting(role, f"{OUR_TENANT},{OTHER_TENANT}") as connection:
        for table in role_database.tables:
            assert await role_database.owners(connection, table) == {OUR_TENANT, OTHER_TENANT}, table.name


@pytest.mark.parametrize("role", ["app", "worker", "owner"])
async def test_others_rows_are_not_changed_nor_deleted(role_database: RoleDatabase, role: str) -> None:
    async with role_database.acting(role, str(OUR_TENANT)) as connection:
        await connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for table in role_database.tables:
            for statement in (
                f"UPDATE {table.name} SET {table.owner} = {table.owner} WHERE {table.owner} <> '{OUR_TENANT}'",
                f"DELETE FROM {table.name} WHERE {table.owner} <> '{OUR_TENANT}'",
            ):
                assert (await connection.execute(statement)).endswith(" 0"), statement


@pytest.mark.parametrize("role", ["app", "worker", "owner"])
async def test_nothing_is_written_for_others_nor_given_to_them(role_database: RoleDatabase, role: str) -> None:
    for table in role_database.tables:
        for statement in (
            table.insertion(OTHER_TENANT),
            f"UPDATE {table.name} SET {table.owner} = '{OTHER_TENANT}' WHERE {table.owner} = '{OUR_TENANT}'",
            table.insertion(OTHER_TENANT) + " ON CONFLICT DO NOTHING",
        ):
            async with role_database.acting(role, str(OUR_TENANT)) as connection:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                    await connection.execute(statement)


@pytest.mark.parametrize("named", [None, ""])
async def test_a_transaction_without_a_tenant_sees_no_row(role_database: RoleDatabase, named: str | None) -> None:
    async with role_database.acting("app", named) as connection:
        for table in role_database.tables:
            assert await connection.fetchval(f"SELECT count(*) FROM {table.name}") == 0, table.name
            assert await connection.execute(f"DELETE FROM {table.name}") == "DELETE 0"
    for table in role_database.tables:
        async with role_database.acting("app", named) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await connection.execute(table.insertion(OUR_TENANT))


@pytest.mark.parametrize("named", [None, ""])
@pytest.mark.parametrize("role", ["worker", "owner"])
async def test_a_sweep_sees_every_tenant_without_a_tenant_list(
    role_database: RoleDatabase, role: str, named: str | None
) -> None:
    async with role_database.acting(role, named) as connection:
        for table in role_database.tables:
            assert await role_database.owners(connection, table) == {OUR_TENANT, OTHER_TENANT}, table.name


ROLES = ["app", "worker", "owner"]


async def test_an_invalid_tenant_list_matches_no_tenant(subtests: pytest.Subtests, role_database: RoleDatabase) -> None:
    for role in ROLES:
        for named in GARBAGE:
            with subtests.test(f"{role}: {named!r}"):
                for table in role_database.tables:
                    async with role_database.acting(role, named) as connection:
                        try:
                            assert await connection.fetch(f"SELECT FROM {table.name}") == [], table.name
                        except asyncpg.InvalidTextRepresentationError:
                            continue


async def test_the_application_learns_the_owner_of_an_address_and_no_more(role_database: RoleDatabase) -> None:
    async with role_database.acting("app", "") as connection:
        row = await role_database.roles["owner"].fetchrow("SELECT * FROM senders WHERE tenant_id = $1", OTHER_TENANT)
        asked = "SELECT * FROM owners_of_addresses($1, $2)"
        assert [dict(one) for one in await connection.fetch(asked, row["integration"], [row["address"], "+1"])] == [
            {"address": row["address"], "tenant_id": OTHER_TENANT}
        ]
        assert await connection.fetch(asked, row["integration"], ["%", ""]) == []
        assert await connection.fetch(asked, "%", [row["address"]]) == []
    async with role_database.acting("app", str(OUR_TENANT)) as connection:
        assert await connection.fetch(asked, row["integration"], [row["address"]]) == []


async def test_the_application_learns_the_membership_of_one_user_in_one_tenant_and_no_more(
    role_database: RoleDatabase,
) -> None:
    async with role_database.acting("owner", "") as owner:
        await owner.execute("UPDATE tenants SET clerk_organization_id = id::text")
        user = await owner.fetchval(
            "INSERT INTO users (id, subject) VALUES (gen_random_uuid(), 'user_Eva') RETURNING id"
        )
        member = "INSERT INTO memberships (tenant_id, user_id, deleted_at) VALUES ($1, $2, $3) RETURNING deleted_at"
        left_at = await owner.fetchval(member, OTHER_TENANT, user, datetime(2026, 11, 23, tzinfo=UTC))
        # The body runs as this same owner, for any caller; tests/access/test_sessions.py calls as the application.
        asked = "SELECT * FROM how_they_stand('user_Eva', $1)"

        async def told(organization: str | None) -> list[tuple[object, ...]]:
            return [tuple(row) for row in await owner.fetch(asked, organization)]

        assert await told(str(OTHER_TENANT)) == [(OTHER_TENANT, user, False, left_at)]
        assert await told(str(OUR_TENANT)) == [(OUR_TENANT, None, False, None)]
        assert await told("%") == [(None, None, False, None)]
        assert await told(None) == [(DEFAULT_TENANT, None, False, None)]
        await owner.execute("UPDATE users SET deleted_at = now() WHERE id = $1", user)
        assert [row[2] for row in [*await told(str(OTHER_TENANT)), *await told("%"), *await told(None)]] == [True] * 3


async def test_of_sessions_the_application_reads_only_those_it_can_name(role_database: RoleDatabase) -> None:
    async with role_database.acting("owner", "") as owner:
        await owner.execute("UPDATE tenants SET clerk_organization_id = id::text")
        user = await owner.fetchval(
            "INSERT INTO users (id, subject) VALUES (gen_random_uuid(), 'user_Eva') RETURNING id"
        )
        member = "INSERT INTO memberships (tenant_id, user_id, role) VALUES ($1, $2, 'org:member')"
        await owner.execute(member, OTHER_TENANT, user)
        await owner.execute("INSERT INTO ended_sessions VALUES ('sess_Over', now())")
        asked = "SELECT * FROM sessions_presented($1, $2, $3) ORDER BY place"

        async def told(*sessions: tuple[str, str | None, str]) -> list[tuple[object, ...]]:
            rows = await owner.fetch(asked, *(list(column) for column in zip(*sessions, strict=True)))
            return [(row["tenant_id"], row["is_known"], row["is_gone"], row["role"]) for row in rows]

        theirs, ours = str(OTHER_TENANT), str(OUR_TENANT)
        assert await told(
            ("user_Eva", theirs, "sess_1"),
            ("user_Eva", theirs, "sess_Over"),
            ("user_Eva", ours, "sess_1"),
            ("%", theirs, "%"),
            ("user_Eva", "%", "sess_1"),
            ("user_Eva", None, "sess_1"),
        ) == [
            (OTHER_TENANT, True, False, "org:member"),
            (OTHER_TENANT, True, True, "org:member"),
            (OUR_TENANT, False, False, None),
            (OTHER_TENANT, False, False, None),
            (None, False, False, None),
            (DEFAULT_TENANT, False, False, None),
        ]
        await owner.execute("UPDATE users SET is_banned = true WHERE id = $1", user)
        assert await told(("user_Eva", theirs, "sess_1")) == [(OTHER_TENANT, True, True, "org:member")]


# ─── people ─────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
async def people(role_database: RoleDatabase) -> dict[str, set[UUID]]:
    """A user of each tenant, a user of both, and a user of none."""
    owner, found = role_database.roles["owner"], {}
    for name, tenants in {
        "Ana": [OUR_TENANT],
        "Bia": [OTHER_TENANT],
        "Caio": [OUR_TENANT, OTHER_TENANT],
        "Davi": [],
    }.items():
        async with owner.transaction():
            user = await owner.fetchval(
                "INSERT INTO users (id, subject, profile_sealed) VALUES (gen_random_uuid(), $1, 'x') RETURNING id", name
            )
            for tenant in tenants:
                await owner.execute("INSERT INTO memberships (tenant_id, user_id) VALUES ($1, $2)", tenant, user)
        found[name] = user
    return {
        "ours": {found["Ana"], found["Caio"]},
        "theirs": {found["Bia"], found["Caio"]},
        "everybody": set(found.values()),
    }


async def people_seen(connection: asyncpg.Connection, people: dict[str, set[UUID]]) -> set[UUID]:
    rows = await connection.fetch("SELECT id FROM users")
    return {row["id"] for row in rows} & people["everybody"]


async def test_the_application_sees_people_of_the_tenants_it_names_and_no_others(
    role_database: RoleDatabase, people: dict[str, set[UUID]]
) -> None:
    for named, seen in (
        (str(OUR_TENANT), people["ours"]),
        (str(OTHER_TENANT), people["theirs"]),
        (f"{OUR_TENANT},{OTHER_TENANT}", people["ours"] | people["theirs"]),
        ("", set()),
        (None, set()),
        ("00000000-0000-0000-0000-000000000000", set()),
    ):
        async with role_database.acting("app", named) as connection:
            assert await people_seen(connection, people) == seen, named
            # By name as little as by looking through.
            by_name = await connection.fetch("SELECT id FROM users WHERE subject = ANY('{Ana,Bia,Caio,Davi}')")
            assert {row["id"] for row in by_name} == seen, named
    for named in GARBAGE:
        async with role_database.acting("app", named) as connection:
            try:
                assert await people_seen(connection, people) == set(), named
            except asyncpg.InvalidTextRepresentationError:
                continue


async def test_the_worker_and_the_owner_see_every_user(
    role_database: RoleDatabase, people: dict[str, set[UUID]]
) -> None:
    for role in ("worker", "owner"):
        for named in (None, "", str(OUR_TENANT)):
            async with role_database.acting(role, named) as connection:
                assert await people_seen(connection, people) == people["everybody"], (role, named)


async def test_the_application_cannot_change_a_user(role_database: RoleDatabase, people: dict[str, set[UUID]]) -> None:
    async with role_database.acting("app", f"{OUR_TENANT},{OTHER_TENANT}") as connection:
        assert await connection.execute("UPDATE users SET subject = 'Eva'") == "UPDATE 0"
        assert await connection.execute("DELETE FROM users") == "DELETE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute("INSERT INTO users (id, subject) VALUES (gen_random_uuid(), 'Eva')")


async def test_a_recorded_user_is_returned_by_id_alone(
    role_database: RoleDatabase, people: dict[str, set[UUID]]
) -> None:
    for named in ("", str(OUR_TENANT)):
        async with role_database.acting("app", named) as connection:
            bia = await connection.fetchval("SELECT keep_person(gen_random_uuid(), 'Bia')")
            assert bia in people["theirs"] - people["ours"]
            new = await connection.fetchval("SELECT keep_person(gen_random_uuid(), 'Eva')")
            assert new == await connection.fetchval("SELECT keep_person(gen_random_uuid(), 'Eva')")
            assert await connection.fetch("SELECT FROM users WHERE id = ANY($1)", [bia, new]) == []


async def test_a_temporary_table_of_the_caller_does_not_replace_ours(role_database: RoleDatabase) -> None:
    async with role_database.acting("app", "") as connection:
        await connection.execute("CREATE TEMPORARY TABLE senders (integration text, address text, tenant_id uuid)")
        await connection.execute("INSERT INTO pg_temp.senders VALUES ('twilio', '+1999', $1)", OUR_TENANT)
        assert await connection.fetch("SELECT * FROM owners_of_addresses('twilio', ARRAY['+1999'])") == []
