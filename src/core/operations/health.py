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

from core.database import Database
from core.live.shared_values import SharedValues
from core.ports import Mode
from core.providers.circuit import Circuits, CircuitState, CircuitView
from core.providers.ledger import CallSummary, summarize
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


LATELY, _FRESHLY = timedelta(hours=1), timedelta(minutes=5)
_FAILING_SHARE = 0.5


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
    """The health of one integration; `since` is when this process started, if nothing is known.

    The last calls are those of the last hour, of all tenants and processes.
    """

    status: HealthStatus
    credentials: CredentialStatus
    summary: str
    since: datetime
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecentCalls:
    """The calls of one integration in the last hour and in the last five minutes."""

    hour: CallSummary
    minutes: CallSummary


def assess(integration: IntegrationView, circuit: CircuitView, calls: RecentCalls, began_at: datetime) -> Health:
    """Assess the health of an integration; `began_at` is when this process started."""
    status, summary = _judge(integration, circuit, calls)
    since = began_at
    if integration.state is State.COMPLETE:
        since = circuit.opened_at or circuit.changed_at or began_at
    hour = calls.hour
    return Health(
        status, _credentials(integration, circuit, hour), summary, since, hour.last_success_at, hour.last_failure_at
    )


def _judge(integration: IntegrationView, circuit: CircuitView, calls: RecentCalls) -> tuple[HealthStatus, str]:
    if integration.state is not State.COMPLETE:
        return HealthStatus.DISABLED, "It is not configured."
    match circuit.state:
        case CircuitState.OPEN if circuit.has_refused_us:
            return HealthStatus.DOWN, "It refuses us: look at its credentials."
        case CircuitState.OPEN:
            return HealthStatus.DOWN, "It keeps failing; nothing is sent for now."
        case CircuitState.HALF_OPEN:
            return HealthStatus.DEGRADED, "It failed; single calls try whether it is back."
    if (calls.minutes.error_rate or 0.0) >= _FAILING_SHARE:
        return HealthStatus.DEGRADED, "At least half of the calls of the last five minutes failed."
    if calls.hour.last_success_at is None:
        return HealthStatus.UNKNOWN, "No call to it succeeded in the last hour."
    return HealthStatus.HEALTHY, "It answered calls in the last hour."


def _credentials(integration: IntegrationView, circuit: CircuitView, hour: CallSummary) -> CredentialStatus:
    if integration.state is not State.COMPLETE:
        return CredentialStatus.UNTESTED
    accepted, refused = hour.last_success_at, hour.last_refusal_at
    if circuit.has_refused_us or (refused is not None and (accepted is None or refused > accepted)):
        return CredentialStatus.REFUSED
    return CredentialStatus.UNTESTED if accepted is None else CredentialStatus.ACCEPTED


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
        """Read all of them: two statements, and one round trip to Redis. Raises Overloaded."""
        circuits = await self.circuits.read(list(self.integrations))
        async with self.database.transaction(tenant) as connection:
            hour = await summarize(connection, LATELY)
            minutes = await summarize(connection, _FRESHLY)
        calls = {
            name: RecentCalls(hour.get(name, CallSummary()), minutes.get(name, CallSummary()))
            for name in self.integrations
        }
        judged = {
            name: assess(one, circuits[name], calls[name], self.began_at) for name, one in self.integrations.items()
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
