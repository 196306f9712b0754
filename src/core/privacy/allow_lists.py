"""Allow lists of API keys: whoever is erased is struck off them."""

import json
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.key_finder import COLUMN
from core.access.tables import api_keys
from core.addresses import known_address, lookup_form
from core.privacy.person import Person
from core.sealing import SealBroken, Sealer

log = structlog.get_logger(__name__)


async def strike_off(connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person) -> int:
    """Take a person off a tenant's allow lists; returns how many lists named them. One that is empty names nobody."""
    listed = select(api_keys.c.id, api_keys.c.recipients_sealed).where(
        api_keys.c.tenant_id == tenant, api_keys.c.recipients_sealed.is_not(None)
    )
    found = 0
    for row in await connection.execute(listed.with_for_update()):
        try:
            recipients = json.loads(sealer.open(row.recipients_sealed, tenant=tenant, row=row.id, column=COLUMN))
        except SealBroken as error:
            log.error("recipients_unreadable", api_key_id=str(row.id), reason=str(error))
            continue
        left = [one for one in recipients if lookup_form(one) not in person.spellings]
        if len(left) == len(recipients):
            continue
        found += 1
        await connection.execute(
            update(api_keys)
            .where(api_keys.c.tenant_id == tenant, api_keys.c.id == row.id)
            .values(
                recipients_sealed=sealer.seal(json.dumps(left), tenant=tenant, row=row.id, column=COLUMN),
                recipients_masked=[known_address(one).masked for one in left],
            )
        )
    return found
