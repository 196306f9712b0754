"""How well work with a company goes, as far as it is known: by its circuit, and by what it took lately."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.flow.values import CircuitState, CircuitView
from core.identifiers import uuid7_floor
from core.messages.status import AttemptOutcome
from core.messages.tables import attempts
from core.operations.integrations import IntegrationView
from core.settings import State

LATELY = timedelta(hours=1)


class HealthStatus(StrEnum):
    """How well it goes. UNKNOWN: nothing speaks against it, and nothing for it either."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"
    DISABLED = "DISABLED"
    UNKNOWN = "UNKNOWN"


class CredentialStatus(StrEnum):
    """What a company says to our credentials."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    UNTESTED = "UNTESTED"


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one integration; `since` is when somebody here began to look, if nothing is known."""

    status: HealthStatus
    credentials: CredentialStatus
    summary: str
    since: datetime


def judge(
    integration: IntegrationView, circuit: CircuitView, last_success: datetime | None, began_at: datetime
) -> Health:
    """Say how well it goes; `began_at` is since when anybody here looks."""
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
    """When each integration last took a message of a tenant, among the messages made lately."""
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
