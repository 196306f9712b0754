"""What every resolver is given: who is asking, the services of the house, and loaders that batch reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from core.access.principal import Principal, Scope
from core.database import Database
from core.errors import Unauthenticated
from core.messages import history
from core.messages.accept import Outbox
from core.messages.history import AttemptView, EventSlice, EventView
from core.operations.integrations import IntegrationView
from core.pubsub import Hub
from core.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Services:
    """The house as resolvers see it."""

    database: Database
    sealer: Sealer
    hub: Hub
    outbox: Outbox
    integrations: Mapping[str, IntegrationView]


@dataclass(slots=True)
class Context:
    """One operation's context; `principal` is None for a caller without credentials.

    `languages` are those the client reads, best first, as in `pt-br`; none if it does not say.
    """

    services: Services
    principal: Principal | None
    request_id: str
    languages: Sequence[str] = ()
    _attempts: "DataLoader[UUID, list[AttemptView]] | None" = field(default=None, init=False)
    _events: "DataLoader[tuple[UUID, EventSlice], list[EventView]] | None" = field(default=None, init=False)

    def require(self, scope: Scope) -> Principal:
        """Name the caller if it may do this; raises NotAllowed."""
        if self.principal is None:
            raise Unauthenticated("This needs credentials: send the header 'Authorization: Bearer <token>'.")
        return self.principal.require(scope)

    # An operation can be a subscription that lives for hours: loaders batch, and remember nothing.

    @property
    def attempts(self) -> "DataLoader[UUID, list[AttemptView]]":
        if self._attempts is None:
            self._attempts = DataLoader(self._load_attempts, cache=False)
        return self._attempts

    @property
    def events(self) -> "DataLoader[tuple[UUID, EventSlice], list[EventView]]":
        if self._events is None:
            self._events = DataLoader(self._load_events, cache=False)
        return self._events

    async def _load_attempts(self, ids: list[UUID]) -> list[list[AttemptView]]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = await history.attempts_of(connection, tenant, ids)
        return [found.get(one, []) for one in ids]

    async def _load_events(self, keys: list[tuple[UUID, EventSlice]]) -> list[list[EventView]]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        found: dict[tuple[UUID, EventSlice], list[EventView]] = {}
        async with self.services.database.transaction(tenant) as connection:
            # One statement for each distinct slice asked for, which in one operation are few.
            for which in {which for _, which in keys}:
                ids = [one for one, asked in keys if asked == which]
                for one, events in (await history.events_of(connection, tenant, ids, which)).items():
                    found[one, which] = events
        return [found.get(key, []) for key in keys]


Info = strawberry.Info[Context, Any]
