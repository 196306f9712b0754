"""What commands do in the database itself, without a server: API keys and the first templates."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from core.access import api_keys
from core.access.api_keys import ApiKey, NewKey, orphaned_keys
from core.access.directory import tenant_exists
from core.audit.act import Act, Author
from core.database import Database, make_engine
from core.errors import NotFound
from core.operations.audit_log import COMMAND
from core.pagination import PageRequest
from core.ports.identity import DEFAULT_TENANT, ActorKind
from core.sealing import Sealer
from core.templates.starters import Starter, add_starters
from core.words import say

MAKER = "cli"
_PAGE = 100

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ApiKeyAdmin:
    """One tenant's keys in a database. The address may be the application's: no more is needed."""

    database_url: str
    sealer: Sealer
    tenant: UUID

    def create(self, key: NewKey) -> tuple[ApiKey, str]:
        """Make a key and give its text, this once; raises Refused."""

        async def create(connection: AsyncConnection) -> tuple[ApiKey, str]:
            made, secret = await api_keys.create_api_key(
                connection, self.sealer, self.tenant, key, maker=None, created_by=MAKER
            )
            await self._act("api-keys create").done(connection, "ApiKey", [made.id])
            return made, secret

        return self._do(create)

    def read(self) -> Sequence[ApiKey]:
        """All keys, newest first; those whose maker is gone are marked."""

        async def pages(connection: AsyncConnection) -> Sequence[ApiKey]:
            found: list[ApiKey] = []
            has_more = True
            while has_more:
                which = PageRequest(_PAGE, after=found[-1].id if found else None)
                keys, has_more = await api_keys.api_keys_page(connection, self.tenant, which)
                found += keys
            gone = await orphaned_keys(connection, self.tenant)
            return [replace(one, is_orphaned=one.id in gone) for one in found]

        return self._do(pages)

    def revoke(self, public_id: str) -> ApiKey | None:
        """Revoke an API key; None where no key has that name."""

        async def find_and_revoke(connection: AsyncConnection) -> ApiKey | None:
            found = await api_keys.api_key_id(connection, self.tenant, public_id)
            if found is None:
                return None
            await self._act("api-keys revoke").done(connection, "ApiKey", [found])
            return await api_keys.revoke_api_key(connection, self.tenant, found)

        return self._do(find_and_revoke)

    def _act(self, command: str) -> Act:
        """What the audit log is told."""
        return Act(self.tenant, Author(COMMAND, ActorKind.CLI, command))

    def _do(self, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        async def checked(connection: AsyncConnection) -> Result:
            await _require(connection, self.tenant)
            return await work(connection)

        return _run(self.database_url, self.tenant, checked)


def check_tenant(database_url: str, tenant: UUID) -> None:
    """Raise NotFound for a tenant that does not exist or was deleted."""
    _run(database_url, tenant, lambda connection: _require(connection, tenant))


async def _require(connection: AsyncConnection, tenant: UUID) -> None:
    if not await tenant_exists(connection, tenant):
        raise NotFound(say("TENANT_NOT_FOUND", "There is no such tenant, or it was deleted."))


def _run(database_url: str, tenant: UUID, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    async def done() -> Result:
        database = Database(make_engine(database_url, prepared_statements=False, pool_size=1))
        try:
            async with database.transaction(tenant) as connection:
                return await work(connection)
        finally:
            await database.close()

    return asyncio.run(done())


# The first templates of a new installation.


async def seed(database_url: str) -> Sequence[Starter]:
    """Give the default tenant the templates it lacks; returns those. The address must be one that may write them."""
    database = Database(make_engine(database_url, prepared_statements=False, pool_size=1))
    try:
        async with database.transaction(DEFAULT_TENANT) as connection:
            new = await add_starters(connection, DEFAULT_TENANT)
            act = Act(DEFAULT_TENANT, Author(COMMAND, ActorKind.CLI, "seed"))
            await act.done(connection, "Template", [one.id for one in new])
            return new
    finally:
        await database.close()
