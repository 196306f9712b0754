"""Which addresses are whose: decides the tenant of an inbound message."""

from collections.abc import Iterable

from sqlalchemy.dialects.postgresql import insert

from core.access.principal import DEFAULT_TENANT
from core.access.tables import senders
from core.database import Database


async def register_senders(database: Database, addresses: Iterable[tuple[str, str]]) -> None:
    """Give configured addresses, as (integration, address), to the default tenant unless another has them already."""
    rows = [
        {"tenant_id": DEFAULT_TENANT, "integration": integration, "address": address}
        for integration, address in addresses
    ]
    if rows:
        async with database.transaction(DEFAULT_TENANT) as connection:
            await connection.execute(insert(senders).values(rows).on_conflict_do_nothing())
