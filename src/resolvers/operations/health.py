"""How well work with an integration goes."""

from datetime import datetime

import strawberry

from core.operations.health import CredentialStatus, HealthStatus
from resolvers.context import Info


@strawberry.type(description="How well work with a company goes, as far as is known here.")
class IntegrationHealth:
    status: HealthStatus
    credentials: CredentialStatus
    summary: str = strawberry.field(description="One sentence for whoever has to act.")
    since: datetime = strawberry.field(
        description="Since when; where nothing has happened yet, since this server looks."
    )


async def health_of(info: Info, name: str) -> IntegrationHealth:
    """The health of an integration; those of one operation are read together."""
    found = await info.context.healths.load(name)
    return IntegrationHealth(
        status=found.status, credentials=found.credentials, summary=found.summary, since=found.since
    )
