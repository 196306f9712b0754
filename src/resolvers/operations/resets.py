"""Closing a circuit by hand."""

import strawberry

from core.errors import NotConfigured
from core.ports.principal import Scope
from core.words import say
from resolvers.context import Info
from resolvers.errors import OperateError, unavailable
from resolvers.operations.kinds import IntegrationKind
from resolvers.operations.types import Integration, integration_of


@strawberry.input(description="Which circuit to close.")
class ResetCircuitInput:
    kind: IntegrationKind


@strawberry.type(description="The integration with its circuit closed, or why there is none to close.")
class ResetCircuitPayload:
    integration: Integration | None
    errors: list[OperateError]


async def reset_circuit(info: Info, input: ResetCircuitInput) -> ResetCircuitPayload:
    principal, name = info.context.require(Scope.OPERATIONS_WRITE), input.kind.value
    integration = integration_of(info, name)
    if info.context.services.integrations[name].mode is None:
        words = say(
            "NOTHING_TO_RESET",
            "{name} is not configured on this server, so nothing calls it: `interalpha check`.",
            name=integration.name,
        )
        refusal = NotConfigured(words, integration=name, path=["input", "kind"])
        return ResetCircuitPayload(integration=None, errors=[unavailable(info, refusal)])
    await info.context.services.circuits.reset(name, by=principal.subject)
    async with info.context.services.database.transaction(principal.tenant_id) as connection:
        await info.context.act.done(connection, "Integration", [name])
    return ResetCircuitPayload(integration=integration, errors=[])
