"""Acts that concern everybody's data at once, done by a command on a server: one event for each tenant."""

from sqlalchemy import select

from core.access.principal import ActorKind
from core.access.tables import tenants
from core.audit.act import Act, Author
from core.database import Database

COMMAND = "interalpha"
"""What the audit log calls a command."""


async def note_for_all(database: Database, action: str) -> None:
    """Write down that a command does something to every tenant's data; needs a worker's rights."""
    async with database.transaction() as connection:
        for tenant in (await connection.execute(select(tenants.c.id))).scalars().all():
            await Act(tenant, Author(COMMAND, ActorKind.CLI, action)).done(connection)
