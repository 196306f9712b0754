"""From a verified session to a principal: unknown people are recorded, and removed ones stay out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from cachetools import TTLCache

from core.access.directory import ENDED_SESSIONS_KEPT, Subject, Tenants, apply_directory_event, delete_old_session_ends
from core.access.sessions import CACHE_SECONDS, CACHE_SIZE, Sessions
from core.database import Database
from core.ports import (
    ActiveOrganization,
    DirectoryChanged,
    Identity,
    InvalidToken,
    Membership,
    OrganizationNamed,
    Person,
    SessionEnded,
    Tenancy,
    TokenFault,
)
from core.ports.identity import DEFAULT_TENANT, Scope
from core.sealing import Sealer
from tests.databases import Urls

NOW = datetime(2026, 11, 23, 14, tzinfo=UTC)
READ = frozenset({Scope.MESSAGES_READ})
ANA = Identity(
    subject="user_Ana",
    session_id="sess_1",
    issued_at=NOW,
    expires_at=NOW + timedelta(minutes=1),
    tenancy=Tenancy.ORGANIZATION,
    scopes=READ,
    organization=ActiveOrganization("org_Acme", "acme", "org:member"),
)
ALONE = replace(ANA, organization=None, tenancy=Tenancy.DEFAULT)
OWN = replace(ANA, organization=None, tenancy=Tenancy.OWN)


@dataclass
class Verifier:
    """Believes the names of identities it was given."""

    known: dict[str, Identity] = field(default_factory=dict)
    cookies: Sequence[str] = ()

    async def verify(self, token: str, *, needs_party: bool = False) -> Identity:
        return self.known[token]

    def scopes_of_role(self, role: str) -> frozenset[Scope]:
        return frozenset(Scope) if role == "org:admin" else READ


@dataclass
class SessionChecks:
    """Sessions over our own tables, and a stopped clock."""

    sessions: Sessions
    verifier: Verifier
    now: float = 0.0

    async def ask(self, identity: Identity):  # type: ignore[no-untyped-def]
        self.verifier.known["token"] = identity
        return await self.sessions.authenticate("token")

    async def fault(self, identity: Identity) -> TokenFault:
        with pytest.raises(InvalidToken) as caught:
            await self.ask(identity)
        return caught.value.reason


@pytest.fixture
def checks(app_database: Database) -> SessionChecks:
    verifier = Verifier()
    made = SessionChecks(None, verifier)  # type: ignore[arg-type]
    made.sessions = Sessions(app_database, verifier, lambda: made.now)
    return made


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.direct)
    yield connection
    await connection.close()


async def tell(database: Database, sealer: Sealer, subject: Subject, **how) -> None:  # type: ignore[no-untyped-def]
    at = NOW + timedelta(seconds=how.pop("seconds", 0))
    async with database.transaction() as connection:
        await apply_directory_event(connection, sealer, DirectoryChanged("k", "t", "", subject=subject, at=at, **how))


async def test_the_first_call_notes_the_person_the_organisation_and_that_they_belong_together(
    checks: SessionChecks, owner: asyncpg.Connection
) -> None:
    principal = await checks.ask(ANA)
    row = await owner.fetchrow(
        "SELECT t.id, t.name, m.role, u.subject FROM memberships m JOIN users u ON u.id = user_id "
        "JOIN tenants t ON t.id = tenant_id"
    )
    assert tuple(row.values()) == (principal.tenant_id, "org_Acme", "org:member", "user_Ana")
    assert principal.tenant_id != DEFAULT_TENANT
    assert (principal.subject, principal.scopes) == ("user_Ana", READ)
    assert principal.expires_at == ANA.expires_at.timestamp()


async def test_two_organisations_are_two_tenants_and_one_person_may_belong_to_both(checks: SessionChecks) -> None:
    other = replace(ANA, organization=ActiveOrganization("org_Other", None, "org:admin"))
    first, second = await checks.ask(ANA), await checks.ask(other)
    assert first.tenant_id != second.tenant_id
    assert (await checks.ask(ANA)).tenant_id == first.tenant_id


async def test_without_an_organisation_a_session_is_of_the_default_or_a_personal_tenant(checks: SessionChecks) -> None:
    assert (await checks.ask(ALONE)).tenant_id == DEFAULT_TENANT
    own = (await checks.ask(OWN)).tenant_id
    others = (await checks.ask(replace(OWN, subject="user_Bia"))).tenant_id
    assert len({own, others, DEFAULT_TENANT}) == 3


async def test_many_first_calls_at_once_make_one_row_of_each(checks: SessionChecks, owner: asyncpg.Connection) -> None:
    found = await asyncio.gather(*(checks.ask(ANA) for _ in range(20)))
    assert len({principal.tenant_id for principal in found}) == 1
    assert await owner.fetchval("SELECT count(*) FROM users") == 1
    assert await owner.fetchval("SELECT count(*) FROM tenants WHERE slug <> 'default'") == 1


async def test_the_webhook_that_comes_later_brings_the_names(
    checks: SessionChecks, worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    tenant = (await checks.ask(ANA)).tenant_id
    await tell(worker_database, sealer, OrganizationNamed("org_Acme", "Acme Ltda"), seconds=-60)
    await tell(worker_database, sealer, Membership("user_Ana", "org_Acme", "org:admin"), seconds=-60)
    assert await owner.fetchval("SELECT name FROM tenants WHERE id = $1", tenant) == "Acme Ltda"
    assert await owner.fetchval("SELECT role FROM memberships") == "org:admin"
    checks.now += CACHE_SECONDS + 1
    assert (await checks.ask(ANA)).tenant_id == tenant


@pytest.mark.parametrize("gone", [Person("user_Ana"), OrganizationNamed("org_Acme")])
async def test_a_deleted_user_stays_out_even_with_a_recent_token(
    checks: SessionChecks, worker_database: Database, sealer: Sealer, gone: Person | OrganizationNamed
) -> None:
    await checks.ask(ANA)
    await tell(worker_database, sealer, gone, is_deleted=True)
    checks.now += CACHE_SECONDS + 1
    assert await checks.fault(ANA) is TokenFault.GONE
    assert await checks.fault(replace(ANA, issued_at=NOW + timedelta(days=1))) is TokenFault.GONE


async def test_a_user_deleted_before_their_first_call_is_not_recorded(
    checks: SessionChecks, worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await tell(worker_database, sealer, Person("user_Ana"), is_deleted=True)
    assert await checks.fault(ANA) is TokenFault.GONE
    assert await owner.fetchval("SELECT count(*) FROM memberships") == 0


async def test_a_former_member_may_return_with_a_token_made_since(
    checks: SessionChecks, worker_database: Database, sealer: Sealer
) -> None:
    await checks.ask(ANA)
    await tell(worker_database, sealer, Membership("user_Ana", "org_Acme"), seconds=5, is_deleted=True)
    checks.now += CACHE_SECONDS + 1
    assert await checks.fault(ANA) is TokenFault.GONE
    assert await checks.ask(replace(ANA, issued_at=NOW + timedelta(seconds=6)))
    # In another organisation nothing has changed.
    assert await checks.ask(replace(ANA, organization=ActiveOrganization("org_Other", None, "org:member")))


async def test_a_former_member_stays_out_of_the_organisation_at_processes_that_never_saw_them(
    app_database: Database, checks: SessionChecks, worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    """Memberships are read without a tenant list: a policy that hides a row must not hide a departure."""
    other = replace(ANA, organization=ActiveOrganization("org_Other", None, "org:member"))
    await checks.ask(ANA)
    await checks.ask(other)
    await tell(worker_database, sealer, Membership("user_Ana", "org_Acme"), seconds=5, is_deleted=True)
    checks.sessions = Sessions(app_database, checks.verifier)
    assert await checks.fault(ANA) is TokenFault.GONE
    assert await checks.ask(other)
    assert await owner.fetchval("SELECT count(*) FROM memberships WHERE deleted_at IS NOT NULL") == 1
    await tell(worker_database, sealer, OrganizationNamed("org_Other"), is_deleted=True)
    checks.sessions = Sessions(app_database, checks.verifier)
    assert await checks.fault(other) is TokenFault.GONE


@pytest.mark.parametrize("identity", [ANA, ALONE, OWN], ids=["organisation", "the one business", "own"])
async def test_former_members_and_deleted_users_stay_out_of_every_kind_of_tenant(
    app_database: Database, checks: SessionChecks, owner: asyncpg.Connection, identity: Identity
) -> None:
    await checks.ask(identity)
    await owner.execute("UPDATE memberships SET deleted_at = $1", NOW)
    checks.sessions = Sessions(app_database, checks.verifier)
    assert await checks.fault(identity) is TokenFault.GONE
    await owner.execute("UPDATE memberships SET deleted_at = NULL")
    await owner.execute("UPDATE users SET deleted_at = $1", NOW)
    checks.sessions = Sessions(app_database, checks.verifier)
    assert await checks.fault(replace(identity, issued_at=NOW + timedelta(days=1))) is TokenFault.GONE


async def test_a_banned_user_stays_out_until_the_ban_is_lifted(
    checks: SessionChecks, worker_database: Database, sealer: Sealer
) -> None:
    await checks.ask(ANA)
    await tell(worker_database, sealer, Person("user_Ana", is_banned=True), seconds=5)
    # What is older than the ban, and comes later, does not lift it.
    await tell(worker_database, sealer, Person("user_Ana"), seconds=4)
    checks.now += CACHE_SECONDS
    assert await checks.fault(replace(ANA, issued_at=NOW + timedelta(days=1))) is TokenFault.GONE
    await tell(worker_database, sealer, Person("user_Ana"), seconds=6)
    checks.now += CACHE_SECONDS
    assert await checks.ask(ANA)


async def test_a_session_that_has_ended_is_refused_and_no_other_of_that_person(
    checks: SessionChecks, worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    await tell(worker_database, sealer, SessionEnded("sess_1"), is_deleted=True)
    await tell(worker_database, sealer, SessionEnded("sess_1"), is_deleted=True)
    assert await checks.fault(ANA) is TokenFault.GONE
    # Nothing is noted of a person who comes with it.
    assert await owner.fetchval("SELECT count(*) FROM users") == 0
    assert await checks.ask(replace(ANA, session_id="sess_2"))
    async with worker_database.transaction() as connection:
        await delete_old_session_ends(connection)
    assert await owner.fetchval("SELECT count(*) FROM ended_sessions") == (
        datetime.now(UTC) - NOW < ENDED_SESSIONS_KEPT
    )


async def test_of_a_token_older_than_a_lesser_role_no_more_than_that_role_is_left(
    checks: SessionChecks, worker_database: Database, sealer: Sealer
) -> None:
    admin = replace(ANA, scopes=frozenset(Scope), organization=ActiveOrganization("org_Acme", None, "org:admin"))
    assert set((await checks.ask(admin)).scopes) == set(Scope)
    await tell(worker_database, sealer, Membership("user_Ana", "org_Acme", "org:member"), seconds=5)
    checks.now += CACHE_SECONDS
    assert (await checks.ask(admin)).scopes == READ
    # A token issued since is newer: the event about a second change may still be on its way.
    assert set((await checks.ask(replace(admin, issued_at=NOW + timedelta(seconds=6)))).scopes) == set(Scope)
    # A greater role gives an older token nothing.
    await tell(worker_database, sealer, Membership("user_Ana", "org_Acme", "org:admin"), seconds=10)
    checks.now += CACHE_SECONDS
    assert (await checks.ask(ANA)).scopes == READ


async def test_an_accepted_session_stays_accepted_until_one_of_its_rights_ends(
    checks: SessionChecks, worker_database: Database, sealer: Sealer, owner: asyncpg.Connection
) -> None:
    ends: dict[str, tuple[Subject, bool]] = {
        "user_Deleted": (Person("user_Deleted"), True),
        "user_Banned": (Person("user_Banned", is_banned=True), False),
        "user_Left": (Membership("user_Left", "org_Acme"), True),
        "user_Demoted": (Membership("user_Demoted", "org_Acme", "org:member"), False),
        "user_SignedOut": (SessionEnded("sess_user_SignedOut"), True),
        "user_Stays": (Person("user_Stays", "Ana"), False),
    }
    admin = ActiveOrganization("org_Acme", None, "org:admin")
    callers = {
        who: await checks.ask(
            replace(ANA, subject=who, session_id=f"sess_{who}", scopes=frozenset(Scope), organization=admin)
        )
        for who in ends
    }
    assert all([await checks.sessions.is_still_valid(one) for one in callers.values()])
    for subject, is_deleted in ends.values():
        await tell(worker_database, sealer, subject, seconds=5, is_deleted=is_deleted)
    checks.now += CACHE_SECONDS
    found = await asyncio.gather(*(checks.sessions.is_still_valid(one) for one in callers.values()))
    assert dict(zip(callers, found, strict=True)) == {who: who == "user_Stays" for who in callers}
    await tell(worker_database, sealer, OrganizationNamed("org_Acme"), seconds=6, is_deleted=True)
    checks.now += CACHE_SECONDS
    assert not await checks.sessions.is_still_valid(callers["user_Stays"])


async def test_without_the_default_tenant_its_sessions_are_refused_and_nothing_is_created(
    checks: SessionChecks, owner: asyncpg.Connection
) -> None:
    await owner.execute("UPDATE tenants SET id = gen_random_uuid() WHERE slug = 'default'")
    try:
        assert await checks.fault(ALONE) is TokenFault.GONE
        assert not await Tenants(checks.sessions._database).has(DEFAULT_TENANT)
    finally:
        await owner.execute("UPDATE tenants SET id = $1 WHERE slug = 'default'", DEFAULT_TENANT)
    checks.now += CACHE_SECONDS
    assert await checks.ask(ALONE)


async def test_a_looked_up_membership_is_cached_for_a_limited_time(
    checks: SessionChecks, worker_database: Database, sealer: Sealer
) -> None:
    await checks.ask(ANA)
    await tell(worker_database, sealer, Person("user_Ana"), is_deleted=True)
    checks.now += CACHE_SECONDS - 1
    assert await checks.ask(ANA)
    checks.now += 2
    assert await checks.fault(ANA) is TokenFault.GONE


async def test_what_is_remembered_has_an_end(checks: SessionChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.sessions._known.maxsize == CACHE_SIZE
    monkeypatch.setattr(checks.sessions, "_known", TTLCache(3, CACHE_SECONDS, lambda: checks.now))
    for number in range(6):
        await checks.ask(replace(ANA, subject=f"user_{number}"))
    assert len(checks.sessions._known) == 3
