"""viewer: the caller and its scopes; people and organisations of others are not visible."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from core.access.directory import apply_directory_event
from core.database import Database, make_engine
from core.ports import DirectoryChanged, Person
from core.ports.identity import DEFAULT_TENANT, Principal, Scope
from resolvers.global_ids import to_global_id
from tests.databases import Urls
from tests.graph.callers import PLENTY, Caller, NewCaller

VIEWER = """
{ viewer {
  user { id name email avatarUrl createdAt }
  organization { id name timeZone defaultCurrency }
  scopes
  expiresAt
} }
"""
NODE = "query ($id: ID!) { node(id: $id) { __typename id ... on User { name } ... on Organization { timeZone } } }"
ANA = Person("user_Ana", "Ana Souza", "ana@example.com", "https://img.clerk.com/a")


def acting_as(caller: Caller, subject: str, expires_at: float | None = None) -> Caller:
    assert caller.principal is not None
    return replace(caller, principal=replace(caller.principal, subject=subject, expires_at=expires_at))


@pytest.fixture
async def worker(graph_urls: Urls) -> AsyncIterator[Database]:
    database = Database(make_engine(graph_urls.worker))
    yield database
    await database.close()


async def tell(worker: Database, caller: Caller, person: Person) -> None:
    event = DirectoryChanged("k", "t", "", subject=person, at=datetime.now(UTC))
    async with worker.transaction() as connection:
        await apply_directory_event(connection, caller.application.sealer, event)


async def user_id(caller: Caller) -> str:
    return str((await caller.ask("{ viewer { user { id } } }"))["viewer"]["user"]["id"])


async def test_the_caller_sees_who_they_are_and_what_they_may_do(caller: Caller, worker: Database) -> None:
    await tell(worker, caller, ANA)
    viewer = (await acting_as(caller, "user_Ana", 1_795_442_460).ask(VIEWER))["viewer"]
    assert viewer["user"].pop("createdAt")
    assert viewer["user"].pop("id")
    assert viewer["user"] == {"name": "Ana Souza", "email": "ana@example.com", "avatarUrl": "https://img.clerk.com/a"}
    tenant = to_global_id("Organization", caller.tenant.bytes)
    assert viewer["organization"] == {"id": tenant, "name": "Another", "timeZone": "UTC", "defaultCurrency": "EUR"}
    assert viewer["scopes"] == [scope.value for scope in Scope]
    assert viewer["expiresAt"] == "2026-11-23T14:01:00.000Z"


async def test_a_user_without_a_stored_profile_is_still_a_user(caller: Caller) -> None:
    unknown = acting_as(caller, "user_Unknown")
    first, second = (await unknown.ask(VIEWER))["viewer"], (await unknown.ask(VIEWER))["viewer"]
    assert first == second
    assert (first["user"]["name"], first["user"]["email"], first["expiresAt"]) == (None, None, None)


async def test_only_the_scopes_of_the_credentials_are_shown(new_caller: NewCaller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_SEND, Scope.MESSAGES_READ}))
    assert (await reader.ask("{ viewer { scopes } }"))["viewer"]["scopes"] == ["MESSAGES_READ", "MESSAGES_SEND"]


async def test_the_caller_sees_what_may_still_be_asked(caller: Caller) -> None:
    before = datetime.now(UTC)
    found = (await caller.ask("{ viewer { rateLimit { limit remaining cost resetsAt } } }"))["viewer"]["rateLimit"]
    assert datetime.fromisoformat(found.pop("resetsAt")) >= before.replace(microsecond=0)
    assert found == {"limit": PLENTY.limit, "remaining": PLENTY.remaining, "cost": PLENTY.cost}


async def test_an_anonymous_viewer_is_null(anonymous: Caller) -> None:
    assert await anonymous.ask(VIEWER) == {"viewer": None}


async def test_people_and_organisations_are_found_by_their_ids(caller: Caller) -> None:
    viewer = (await acting_as(caller, "user_Dora").ask(VIEWER))["viewer"]
    for type_name, part in (("User", "user"), ("Organization", "organization")):
        found = (await acting_as(caller, "user_Dora").ask(NODE, id=viewer[part]["id"]))["node"]
        assert (found["__typename"], found["id"]) == (type_name, viewer[part]["id"])


async def test_another_tenant_finds_neither(caller: Caller, stranger: Caller) -> None:
    person = await user_id(acting_as(caller, "user_Eva"))
    for one in (person, to_global_id("Organization", caller.tenant.bytes)):
        assert await acting_as(stranger, "user_Zoe").ask(NODE, id=one) == {"node": None}


@pytest.mark.parametrize("type_name", ["User", "Organization"])
@pytest.mark.parametrize("key", [b"", b"short", bytes(16), UUID(int=7).bytes, DEFAULT_TENANT.bytes])
async def test_unknown_ids_find_nothing(caller: Caller, type_name: str, key: bytes) -> None:
    assert await caller.ask(NODE, id=to_global_id(type_name, key)) == {"node": None}


async def test_colleagues_are_visible_only_to_operators(caller: Caller, stranger: Caller, owner: asyncpg.Pool) -> None:
    # A caller of an organisation is one of its people.
    person = await user_id(acting_as(caller, "user_Fabio"))
    operator = acting_as(caller, "user_Gil")
    assert (await operator.ask(NODE, id=person))["node"]["__typename"] == "User"
    assert operator.principal is not None
    clerk = replace(operator, principal=Principal(operator.tenant, "user_Gil", frozenset({Scope.MESSAGES_READ})))
    assert await clerk.ask(NODE, id=person) == {"node": None}
    assert await acting_as(stranger, "user_Zoe").ask(NODE, id=person) == {"node": None}
    await owner.execute("UPDATE memberships SET deleted_at = now() WHERE tenant_id = $1", caller.tenant)
    assert await operator.ask(NODE, id=person) == {"node": None}
