"""What a new installation begins with, put there through the database."""

from collections.abc import Sequence

from core.audit.act import Act, Author
from core.database import Database, make_engine
from core.operations.audit_log import COMMAND
from core.ports.principal import DEFAULT_TENANT, ActorKind
from core.templates.starters import Starter, add_starters


async def seed(database_url: str) -> Sequence[Starter]:
    """Give the default tenant the templates it lacks; returns those. The address must be one that may write them."""
    database = Database(make_engine(database_url, prepared_statements=False, pool_size=1))
    try:
        async with database.transaction(DEFAULT_TENANT) as connection:
            new = await add_starters(connection, DEFAULT_TENANT)
            act = Act(DEFAULT_TENANT, Author(COMMAND, ActorKind.CLI, "seed"))
            await act.done(connection, "Template", [one.id for one in new])
            return new
    finally:
        await database.close()
