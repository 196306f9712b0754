"""The health of every integration, read together, and watched by however many."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from core.boards import Boards
from core.database import Database
from core.flow.circuits import Circuits
from core.operations.health import Health, HealthStatus, judge, last_successes
from core.operations.integrations import IntegrationView
from core.pubsub import Hub

# So that the store's clock has come to it, too.
_A_MOMENT = 0.05


@dataclass(frozen=True, slots=True)
class Healths:
    """The health of every integration, by name; `retry_at` is when the first circuit opens for a trial by itself."""

    by_name: Mapping[str, Health]
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HealthDesk:
    """Knows how the integrations do."""

    database: Database
    circuits: Circuits
    hub: Hub
    integrations: Mapping[str, IntegrationView]
    boards: Boards
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def read(self, tenant: UUID) -> Healths:
        """Look at all of them: one statement, one round trip to the store of circuits. Raises Overloaded."""
        circuits = await self.circuits.read(list(self.integrations))
        async with self.database.transaction(tenant) as connection:
            successes = await last_successes(connection, tenant)
        judged = {
            name: judge(one, circuits[name], successes.get(name), self.began_at)
            for name, one in self.integrations.items()
        }
        retries = [circuit.retry_at for circuit in circuits.values() if circuit.retry_at]
        return Healths(judged, min(retries, default=None))

    async def watch(self, tenant: UUID) -> AsyncGenerator[Mapping[str, Health], None]:
        """Yield the health of all of them, now and whenever it may have changed."""
        async with aclosing(self.boards.watch(("health", tenant), lambda: self.read(tenant), self._begin)) as found:
            async for healths in found:
                yield healths.by_name

    @contextmanager
    def _begin(self) -> Iterator[Callable[[Healths], Awaitable[None]]]:
        with self.hub.listen_to_circuits() as listener:

            async def pause(found: Healths) -> None:
                wait = 0.0 if found.retry_at is None else (found.retry_at - datetime.now(UTC)).total_seconds()
                try:
                    async with asyncio.timeout(wait + _A_MOMENT if wait > 0 else None):
                        await listener.wait()
                except TimeoutError:
                    return

            yield pause


@dataclass(frozen=True, slots=True)
class HealthChange:
    """An integration came to another status; `known` is every status told so far, which makes the cursor."""

    integration: str
    health: Health
    previous: HealthStatus | None
    known: Mapping[str, HealthStatus]


def changes(
    known: Mapping[str, HealthStatus], found: Mapping[str, Health], wanted: Collection[str]
) -> list[HealthChange]:
    """What is new to somebody who knows these statuses, in the order of names."""
    told: list[HealthChange] = []
    known = dict(known)
    for name in sorted(set(found) & set(wanted)):
        if (previous := known.get(name)) is not found[name].status:
            known[name] = found[name].status
            told.append(HealthChange(name, found[name], previous, dict(known)))
    return told
