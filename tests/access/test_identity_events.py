"""Events about people and organisations: in any order and any number of times, they leave the same rows."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.access.directory import Profile, apply_directory_event, open_profile
from core.database import Database
from core.inbox.apply import apply_due_events
from core.ports import DirectoryChanged, Membership, OrganizationNamed, Person, ProviderEvent
from core.pubsub import Hub
from core.sealing import Sealer
from tests.contributed import EVENT_TYPES
from tests.databases import Urls
from tests.delivery.pipeline import store_events

BEGIN = datetime(2026, 11, 23, 14, tzinfo=UTC)
Subject = Person | OrganizationNamed | Membership


def told(subject: Subject, minute: int, *, is_deleted: bool = False) -> DirectoryChanged:
    at = BEGIN + timedelta(minutes=minute)
    key = f"{type(subject).__name__}-{minute}-{is_deleted}"
    return DirectoryChanged(key, "user.updated", "{}", subject=subject, at=at, is_deleted=is_deleted)


ANA, ACME = "user_Ana", "org_Acme"
PERSON = [
    told(Person(ANA, "Ana", "ana@example.com"), 0),
    told(Person(ANA, "Ana Souza", "ana@example.com", "https://img.clerk.com/a"), 1),
    told(Person(ANA, "Ana Lima", "lima@example.com"), 2),
]
GONE = told(Person(ANA), 3, is_deleted=True)
ORGANIZATION = [
    told(OrganizationNamed(ACME, name), minute) for minute, name in enumerate(("Acme", "Acme Ltda", "Ácme"))
]
CLOSED = told(OrganizationNamed(ACME), 3, is_deleted=True)
MEMBER = [
    told(Membership(ANA, ACME, "org:member"), 0),
    told(Membership(ANA, ACME, "org:admin"), 1),
    told(Membership(ANA, ACME, "org:admin"), 2, is_deleted=True),
    told(Membership(ANA, ACME, "org:member"), 4),
]
EVERYTHING = [*PERSON, GONE, *ORGANIZATION, CLOSED, *MEMBER]


async def apply(database: Database, sealer: Sealer, events: Sequence[DirectoryChanged]) -> None:
    for event in events:
        async with database.transaction() as connection:
            await apply_directory_event(connection, sealer, event)


async def rows(owner: asyncpg.Connection, sealer: Sealer) -> dict[str, Any]:
    """Everything that is known, without ids and what was made when."""
    users = await owner.fetch("SELECT * FROM users")
    tenants = await owner.fetch("SELECT * FROM tenants WHERE clerk_organization_id IS NOT NULL")
    members = await owner.fetch(
        "SELECT subject, clerk_organization_id, m.role, m.clerk_updated_at, m.deleted_at FROM memberships m "
        "JOIN users u ON u.id = user_id JOIN tenants t ON t.id = tenant_id"
    )
    return {
        "users": [
            (
                one["subject"],
                open_profile(sealer, UUID(str(one["id"])), one["profile_sealed"]),
                one["clerk_updated_at"],
                one["deleted_at"],
            )
            for one in users
        ],
        "tenants": [
            tuple(one[name] for name in ("clerk_organization_id", "name", "clerk_updated_at", "deleted_at"))
            for one in tenants
        ],
        "members": [tuple(one.values()) for one in members],
    }


async def forget(owner: asyncpg.Connection) -> None:
    await owner.execute("DELETE FROM memberships; DELETE FROM users; DELETE FROM tenants WHERE slug <> 'default'")


@pytest.fixture
async def owner(urls: Urls) -> Any:
    connection = await asyncpg.connect(urls.direct)
    yield connection
    await connection.close()


async def test_in_their_own_order_they_come_to_this(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await apply(worker_database, sealer, [*PERSON, *ORGANIZATION, *MEMBER])
    minute = [BEGIN + timedelta(minutes=number) for number in range(5)]
    assert await rows(owner, sealer) == {
        "users": [(ANA, Profile("Ana Lima", "lima@example.com"), minute[2], None)],
        "tenants": [(ACME, "Ácme", minute[2], None)],
        "members": [(ANA, ACME, "org:member", minute[4], None)],
    }


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(order=st.permutations(EVERYTHING), again=st.lists(st.sampled_from(EVERYTHING), max_size=6))
async def test_in_any_order_and_however_often_they_come_to_the_same(
    worker_database: Database,
    sealer: Sealer,
    owner: asyncpg.Connection,
    order: list[DirectoryChanged],
    again: list[DirectoryChanged],
) -> None:
    await forget(owner)
    await apply(worker_database, sealer, [*order, *again])
    minute = [BEGIN + timedelta(minutes=number) for number in range(5)]
    assert await rows(owner, sealer) == {
        "users": [(ANA, Profile(), minute[2], minute[3])],
        "tenants": [(ACME, "Ácme", minute[2], minute[3])],
        "members": [(ANA, ACME, "org:member", minute[4], None)],
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a_removed_member_is_gone_regardless_of_the_order_of_events(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection, order: Sequence[int]
) -> None:
    await apply(worker_database, sealer, [MEMBER[number] for number in order])
    left = BEGIN + timedelta(minutes=2)
    assert (await rows(owner, sealer))["members"] == [(ANA, ACME, None, left, left)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_at_the_same_moment_the_end_wins(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection, order: Sequence[int]
) -> None:
    both = [told(Membership(ANA, ACME, "org:admin"), 1), told(Membership(ANA, ACME), 1, is_deleted=True)]
    await apply(worker_database, sealer, [both[number] for number in order])
    assert (await rows(owner, sealer))["members"][0][2] is None
    assert (await rows(owner, sealer))["members"][0][4] is not None


async def test_many_at_once_make_one_row_of_each(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await asyncio.gather(*(apply(worker_database, sealer, [event]) for event in [*MEMBER, *PERSON, *ORGANIZATION] * 3))
    found = await rows(owner, sealer)
    assert [len(found[name]) for name in ("users", "tenants", "members")] == [1, 1, 1]
    assert found["users"][0][1].name == "Ana Lima"


async def test_a_person_who_was_deleted_leaves_nothing_personal_behind(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await apply(worker_database, sealer, [PERSON[0], GONE, PERSON[2]])
    assert await owner.fetchval("SELECT count(*) FROM users WHERE profile_sealed IS NOT NULL") == 0


async def test_names_and_addresses_are_not_readable_in_the_database(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await apply(worker_database, sealer, [told(Person(ANA, "Zuleica", "zuleica@example.com"), 0)])
    dump = str(await owner.fetch("SELECT u::text FROM users u"))
    assert b"zuleica".hex() not in dump.lower()
    assert "zuleica" not in dump.lower()


async def test_a_new_tenant_takes_time_zone_and_currency_from_the_first(
    worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await apply(worker_database, sealer, [ORGANIZATION[0]])
    found = await owner.fetchrow("SELECT * FROM tenants WHERE clerk_organization_id = $1", ACME)
    assert (found["time_zone"], found["default_currency"], found["name"]) == ("America/Sao_Paulo", "BRL", "Acme")


@pytest.mark.parametrize("organization", ["NULL", "'default'"])
async def test_no_organisation_reaches_the_first_tenant(
    urls: Urls, owner: asyncpg.Connection, organization: str
) -> None:
    """The function makes tenants of organisations; a role that got hold of it can do no more."""
    before = await owner.fetchrow("SELECT * FROM tenants")
    app = await asyncpg.connect(urls.app)
    await app.execute(f"SELECT keep_organization(gen_random_uuid(), {organization}, 'Loot', now(), now())")
    await app.close()
    assert await owner.fetchrow("SELECT * FROM tenants WHERE slug = 'default'") == before


@pytest.mark.parametrize("event", EVERYTHING, ids=lambda event: event.dedupe_key)
def test_events_are_read_back_as_they_were_written(event: DirectoryChanged) -> None:
    kept = EVENT_TYPES.decode(EVENT_TYPES.encode(event))
    assert isinstance(kept, DirectoryChanged)
    assert (kept.subject, kept.at, kept.is_deleted) == (event.subject, event.at, event.is_deleted)


async def test_the_worker_applies_them_from_the_inbox_each_once(
    app_database: Database, worker_database: Database, sealer: Sealer, hub: Hub, owner: asyncpg.Connection
) -> None:
    news: Sequence[ProviderEvent] = [*reversed(MEMBER), *PERSON]
    assert await store_events(app_database, sealer, "clerk", news) == len(news)
    assert await store_events(app_database, sealer, "clerk", news) == 0
    assert await apply_due_events(worker_database, sealer, hub, EVENT_TYPES) == len(news)
    assert {one["status"] for one in await owner.fetch("SELECT status FROM inbox")} == {"PROCESSED"}
    found = await rows(owner, sealer)
    assert found["members"] == [(ANA, ACME, "org:member", BEGIN + timedelta(minutes=4), None)]
    assert found["users"][0][1] == Profile("Ana Lima", "lima@example.com")
