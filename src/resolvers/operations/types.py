"""Integrations and how they are configured."""

from enum import Enum

import strawberry

from core.operations.health import IntegrationView
from core.ports import Mode
from core.ports.principal import Scope
from core.settings import State
from resolvers.arguments import given
from resolvers.context import Info
from resolvers.fields import computed
from resolvers.identifiers import to_global_id
from resolvers.node import Node
from resolvers.operations.circuit import CircuitBreaker, circuit_of
from resolvers.operations.health import IntegrationHealth, health_of
from resolvers.operations.kinds import IntegrationKind
from resolvers.scalars import URL


@strawberry.enum(description="Whether an integration has what it needs.")
class ConfigurationState(Enum):
    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    INVALID = "INVALID"


@strawberry.type(description="One setting that is missing or wrong.")
class ConfigurationProblem:
    setting: str
    message: str


@strawberry.type(description="What an integration was told, without its secrets.")
class IntegrationConfiguration:
    state: ConfigurationState
    mode: Mode | None = strawberry.field(description="Null while it is not configured.")
    problems: list[ConfigurationProblem] = strawberry.field(
        description="Settings that are missing or wrong, by name. Never a value."
    )
    webhook_url: URL | None = strawberry.field(description="The address the company should send its webhooks to.")


@strawberry.type(description="A company we work through, and how well that is going.")
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
