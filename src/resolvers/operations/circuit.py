"""The circuit breaker before an integration."""

from datetime import datetime

import strawberry

from core.providers.circuit import CircuitState
from resolvers.context import Info


@strawberry.type(description="The switch that stops us from calling a company that keeps failing.")
class CircuitBreaker:
    state: CircuitState = strawberry.field(
        description="`CLOSED` also while the store that holds it is away: nobody is held back then."
    )
    consecutive_failures: int = strawberry.field(description="Failures in a row.")
    opened_at: datetime | None = strawberry.field(description="Since when calls do not flow freely.")
    retry_at: datetime | None = strawberry.field(description="When the next trial call is allowed.")


async def circuit_of(info: Info, name: str) -> CircuitBreaker:
    """The circuit of an integration; those of one operation are read together."""
    view = await info.context.circuits.load(name)
    return CircuitBreaker(
        state=view.state,
        consecutive_failures=view.consecutive_failures,
        opened_at=view.opened_at,
        retry_at=view.retry_at,
    )
