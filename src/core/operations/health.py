"""The health of integrations: from their configuration, their circuits, and messages that they took in the last hour.

It is read for all integrations together, and watched by any number of subscribers at the cost of one.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.ids import uuid7_floor
from core.live.shared_values import SharedValues
from core.messages.status import AttemptOutcome
from core.messages.tables import attempts
from core.ports import Mode
from core.providers.circuit import Circuits, CircuitState, CircuitView
from core.pubsub import Hub
from core.settings import Problem, State


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """An integration of this installation. `mode` and `webhook_url` are None while it is not configured."""

    name: str
    title: str
    state: State
    mode: Mode | None
    problems: Sequence[Problem]
    webhook_url: str | None


LATELY = timedelta(hours=1)


class HealthStatus(StrEnum):
    """Whether an integration works. UNKNOWN: there is no sign of a failure, and none of a success."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"
    DISABLED = "DISABLED"
    UNKNOWN = "UNKNOWN"


class CredentialStatus(StrEnum):
    """Whether the provider accepts our credentials."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    UNTESTED = "UNTESTED"


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one integration; `since` is when this process started, if nothing is known."""

    status: HealthStatus
    credentials: CredentialStatus
    summary: str
    since: datetime


def assess(
    integration: IntegrationView, circuit: CircuitView, last_success: datetime | None, began_at: datetime
) -> Health:
    """Assess the health of an integration; `began_at` is when this process started."""
    if integration.state is not State.COMPLETE:
        return Health(HealthStatus.DISABLED, CredentialStatus.UNTESTED, "It is not configured.", began_at)
    accepted = CredentialStatus.UNTESTED if last_success is None else CredentialStatus.ACCEPTED
    credentials = CredentialStatus.REFUSED if circuit.has_refused_us else accepted
    since = circuit.opened_at or circuit.changed_at or began_at
    match circuit.state:
        case CircuitState.OPEN if circuit.has_refused_us:
            return Health(HealthStatus.DOWN, credentials, "It refuses us: look at its credentials.", since)
        case CircuitState.OPEN:
            return Health(HealthStatus.DOWN, credentials, "It keeps failing; nothing is sent for now.", since)
        case CircuitState.HALF_OPEN:
            return Health(HealthStatus.DEGRADED, credentials, "It failed; single calls try whether it is back.", since)
    if last_success is None:
        return Health(HealthStatus.UNKNOWN, credentials, "Nothing was sent through it in the last hour.", since)
    return Health(HealthStatus.HEALTHY, credentials, "It took what we sent in the last hour.", since)


async def last_successes(connection: AsyncConnection, tenant: UUID) -> Mapping[str, datetime]:
    """When each integration last took a message of a tenant, among the messages of the last hour."""
    since = uuid7_floor(datetime.now(UTC) - LATELY)
    rows = await connection.execute(
        select(attempts.c.integration, func.max(attempts.c.finished_at).label("at"))
        .where(
            attempts.c.tenant_id == tenant,
            attempts.c.message_id >= since,
            attempts.c.outcome == AttemptOutcome.ACCEPTED.value,
            attempts.c.finished_at.is_not(None),
        )
        .group_by(attempts.c.integration)
    )
    return {row.integration: row.at for row in rows}


# Seconds added to a wait, so that Redis's clock has reached the moment too.
_A_MOMENT = 0.05


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The health of every integration, by name; `retry_at` is when the first open circuit allows a trial."""

    by_name: Mapping[str, Health]
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HealthReader:
    """Reads and watches the health of the integrations."""

    database: Database
    circuits: Circuits
    hub: Hub
    integrations: Mapping[str, IntegrationView]
    shared_values: SharedValues
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def read(self, tenant: UUID) -> HealthSnapshot:
        """Read all of them: one statement, and one round trip to Redis. Raises Overloaded."""
        circuits = await self.circuits.read(list(self.integrations))
        async with self.database.transaction(tenant) as connection:
            successes = await last_successes(connection, tenant)
        judged = {
            name: assess(one, circuits[name], successes.get(name), self.began_at)
            for name, one in self.integrations.items()
        }
        retries = [circuit.retry_at for circuit in circuits.values() if circuit.retry_at]
        return HealthSnapshot(judged, min(retries, default=None))

    async def watch(self, tenant: UUID) -> AsyncGenerator[Mapping[str, Health], None]:
        """Yield the health of all of them, now and whenever it has changed."""
        shared = self.shared_values.watch(("health", tenant), lambda: self.read(tenant), self._begin)
        async with aclosing(shared) as snapshots:
            async for snapshot in snapshots:
                yield snapshot.by_name

    @contextmanager
    def _begin(self) -> Iterator[Callable[[HealthSnapshot], Awaitable[None]]]:
        with self.hub.listen_to_circuits() as listener:

            async def pause(found: HealthSnapshot) -> None:
                wait = 0.0 if found.retry_at is None else (found.retry_at - datetime.now(UTC)).total_seconds()
                try:
                    async with asyncio.timeout(wait + _A_MOMENT if wait > 0 else None):
                        await listener.wait()
                except TimeoutError:
                    return

            yield pause


@dataclass(frozen=True, slots=True)
class HealthChange:
    """An integration's status changed; `known` is every status sent so far, which makes the cursor."""

    integration: str
    health: Health
    previous: HealthStatus | None
    known: Mapping[str, HealthStatus]


def health_changes(
    known: Mapping[str, HealthStatus], found: Mapping[str, Health], wanted: Collection[str]
) -> list[HealthChange]:
    """The changes since the known statuses, in the order of names."""
    changed: list[HealthChange] = []
    known = dict(known)
    for name in sorted(set(found) & set(wanted)):
        if (previous := known.get(name)) is not found[name].status:
            known[name] = found[name].status
            changed.append(HealthChange(name, found[name], previous, dict(known)))
    return changed
