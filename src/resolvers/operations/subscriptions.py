"""The subscription to the health of integrations."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime

import strawberry

from core.operations.health import HealthChange, HealthStatus, health_changes
from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import given
from resolvers.global_ids import from_global_id, to_global_id
from resolvers.integrations import Integration, IntegrationKind, integration_of
from resolvers.pagination import bad_cursor

_CURSOR = "HealthCursor"
_LONGEST = 1_024


@strawberry.type(description="The health status of an integration changed.")
class IntegrationHealthChange:
    integration: Integration
    previous_status: HealthStatus | None = strawberry.field(
        description="Null for the current state, which comes first."
    )
    at: datetime
    cursor: str = strawberry.field(
        description=(
            "Pass it as `after` to get the differences since then. States that came and went in between are not "
            "reported."
        )
    )


async def integration_health_changed(
    info: Info, kinds: list[IntegrationKind] | None = strawberry.UNSET, after: str | None = strawberry.UNSET
) -> AsyncGenerator[IntegrationHealthChange, None]:
    tenant, services = info.context.require(Scope.OPERATIONS_READ).tenant_id, info.context.services
    known, chosen = _read(given(after)), given(kinds)
    if chosen is not None and not chosen:
        # Of none there is nothing to tell, now or later.
        return
    wanted = set(services.integrations) if chosen is None else {kind.value for kind in chosen}
    async with aclosing(services.health.watch(tenant)) as snapshots:
        async for found in snapshots:
            for change in health_changes(known, found, wanted):
                known = change.known
                yield _change_of(info, change)


def _change_of(info: Info, change: HealthChange) -> IntegrationHealthChange:
    return IntegrationHealthChange(
        integration=integration_of(info, change.integration),
        previous_status=change.previous,
        at=change.health.since,
        cursor=_write(change.known),
    )


def _write(known: Mapping[str, HealthStatus]) -> str:
    return to_global_id(_CURSOR, ",".join(f"{name}={status}" for name, status in sorted(known.items())).encode())


def _read(cursor: str | None) -> Mapping[str, HealthStatus]:
    if cursor is None:
        return {}
    found = from_global_id(cursor, longest=_LONGEST)
    if found is None or found[0] != _CURSOR:
        raise bad_cursor("after")
    pairs = [pair.partition("=") for pair in found[1].decode(errors="replace").split(",")]
    if not all(status in HealthStatus.__members__ for _, _, status in pairs):
        raise bad_cursor("after")
    return {name: HealthStatus(status) for name, _, status in pairs}
