"""Integrations in GraphQL: kind, configuration, health and circuit breaker."""

import pkgutil
from datetime import datetime
from enum import Enum, EnumType
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import strawberry

from core.operations.dashboard import TimeWindow
from core.operations.health import CredentialStatus, HealthStatus, IntegrationView
from core.ports import Mode
from core.ports.identity import DEFAULT_TENANT, Scope
from core.providers.circuit import CircuitState
from core.settings import State
from resolvers.context import Info
from resolvers.fields import Node, computed, given
from resolvers.global_ids import to_global_id
from resolvers.scalars import URL


def _spoken_to() -> list[str]:
    """The folders with an adapter; looked at, not imported: who they are is not a resolver's business."""
    spec = find_spec("integrations")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = pkgutil.iter_modules(folders)
    return sorted(
        module.name
        for module in found
        if module.ispkg and any((Path(folder) / module.name / "adapter.py").is_file() for folder in folders)
    )


IntegrationKind: Any = strawberry.enum(
    cast("EnumType", Enum("IntegrationKind", {name.upper(): name for name in _spoken_to()})),
    name="IntegrationKind",
    description="The integrations of this server.",
)


# The circuit breaker of an integration.


@strawberry.type(description="The circuit breaker: it stops calls to a provider that keeps failing.")
class CircuitBreaker:
    state: CircuitState = strawberry.field(
        description="`CLOSED` also while Redis is unavailable: calls are not stopped then."
    )
    consecutive_failures: int = strawberry.field(description="The number of consecutive failures.")
    opened_at: datetime | None = strawberry.field(description="The time since when calls are limited.")
    retry_at: datetime | None = strawberry.field(description="The time of the next trial call.")


async def circuit_of(info: Info, name: str) -> CircuitBreaker:
    """The circuit of an integration; those of one operation are read together."""
    view = await info.context.circuits.load(name)
    return CircuitBreaker(
        state=view.state,
        consecutive_failures=view.consecutive_failures,
        opened_at=view.opened_at,
        retry_at=view.retry_at,
    )


# The health of an integration.


@strawberry.type(description="The health of an integration, as far as this server knows it.")
class IntegrationHealth:
    status: HealthStatus
    credentials: CredentialStatus
    summary: str = strawberry.field(description="One sentence that says what to do.")
    since: datetime = strawberry.field(
        description="Since when it has this status; for the first status, since this server started."
    )
    last_success_at: datetime | None = strawberry.field(
        description="The last call that it answered, within the last hour. Null unless the caller belongs to the"
        " operator."
    )
    last_failure_at: datetime | None = strawberry.field(
        description="The last call that failed, or was refused because of our credentials, within the last hour. Null"
        " unless the caller belongs to the operator."
    )


async def health_of(info: Info, name: str) -> IntegrationHealth:
    """The health of an integration; those of one operation are read together."""
    found = await info.context.healths.load(name)
    return IntegrationHealth(
        status=found.status,
        credentials=found.credentials,
        summary=found.summary,
        since=found.since,
        last_success_at=found.last_success_at if _is_operator(info) else None,
        last_failure_at=found.last_failure_at if _is_operator(info) else None,
    )


# Response times of an integration.


@strawberry.type(description="The calls to an integration in a window: how long they took and how many failed.")
class LatencySummary:
    window: TimeWindow
    request_count: int | None = strawberry.field(
        description="The number of calls. Null unless the caller belongs to the operator: it includes other tenants."
    )
    error_rate: float | None = strawberry.field(
        description="Calls that failed divided by all, from 0 to 1. Refused messages and rate limits are no failures."
        " Null without calls."
    )
    p50_ms: float | None = strawberry.field(description="Half of the calls took at most this long.")
    p95_ms: float | None
    p99_ms: float | None


async def latency_of(info: Info, name: str, window: TimeWindow) -> LatencySummary:
    """The response times of an integration; those of one operation are read together."""
    found = await info.context.calls.load((name, window))
    p50, p95, p99 = (_milliseconds(found.percentile(share)) for share in (0.5, 0.95, 0.99))
    return LatencySummary(
        window=window,
        request_count=found.count if _is_operator(info) else None,
        error_rate=found.error_rate,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def _is_operator(info: Info) -> bool:
    """Whether the caller may see what the calls of all tenants tell."""
    return info.context.require(Scope.OPERATIONS_READ).tenant_id == DEFAULT_TENANT


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 1)


# Integrations and how they are configured.


@strawberry.enum(description="Whether an integration has all settings that it needs.")
class ConfigurationState(Enum):
    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    INVALID = "INVALID"


@strawberry.type(description="One setting that is missing or wrong.")
class ConfigurationProblem:
    setting: str
    message: str


@strawberry.type(description="The configuration of an integration, without secrets.")
class IntegrationConfiguration:
    state: ConfigurationState
    mode: Mode | None = strawberry.field(description="Null if it is not configured.")
    problems: list[ConfigurationProblem] = strawberry.field(
        description="Settings that are missing or wrong, by name. Never a value."
    )
    webhook_url: URL | None = strawberry.field(description="The URL to which the provider should send its webhooks.")


@strawberry.type(description="An integration: a provider, its configuration and its health.")
class Integration(Node):
    kind: IntegrationKind
    name: str
    configuration: IntegrationConfiguration

    @computed()
    async def health(self, info: Info) -> IntegrationHealth:
        return await health_of(info, self.kind.value)

    @computed()
    async def circuit(self, info: Info) -> CircuitBreaker:
        return await circuit_of(info, self.kind.value)

    @computed("Response times and errors of the calls to it. They are kept for eight days.")
    async def latency(self, info: Info, window: TimeWindow = TimeWindow.LAST_HOUR) -> LatencySummary:
        return await latency_of(info, self.kind.value, window)


def integration_of(info: Info, name: str) -> Integration:
    """An integration by the name of its folder."""
    view = info.context.services.integrations[name]
    return Integration(
        id=to_global_id("Integration", view.name.encode()),
        kind=IntegrationKind(view.name),
        name=view.title,
        configuration=_configuration(view),
    )


def _configuration(view: IntegrationView) -> IntegrationConfiguration:
    state = (
        ConfigurationState.INCOMPLETE if view.state is State.ABSENT else ConfigurationState(view.state.value.upper())
    )
    return IntegrationConfiguration(
        state=state,
        mode=view.mode,
        problems=[ConfigurationProblem(setting=one.setting, message=one.message) for one in view.problems],
        webhook_url=URL(view.webhook_url) if view.webhook_url else None,
    )


def list_integrations(info: Info, kinds: list[IntegrationKind] | None = strawberry.UNSET) -> list[Integration]:
    """Every integration, or those of some kinds, in the order of their names."""
    info.context.require(Scope.OPERATIONS_READ)
    names = info.context.services.integrations
    wanted = set(names) if given(kinds) is None else {kind.value for kind in kinds or []}
    return [integration_of(info, name) for name in names if name in wanted]
