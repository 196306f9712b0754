"""Personal data in API keys: the people on allow lists, and names that contain an address."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Select, select, update

from core.access.api_key_lookup import RECIPIENTS_COLUMN
from core.access.tables import api_keys
from core.addresses import known_address, lookup_form
from core.nouns import PersonalData, PersonStep
from core.person import erased_name, find_names
from core.sealing import SealBroken

log = structlog.get_logger(__name__)


async def _erase_names(step: PersonStep) -> int:
    """Remove the person from names and allow lists; returns how many contained them."""
    erased = 0
    keys = api_keys.c
    async for page in find_names(step.connection, keys.name, keys.id, step.tenant_id, step.person):
        await step.connection.execute(
            update(api_keys)
            .where(keys.tenant_id == step.tenant_id, keys.id.in_(page))
            .values(name=erased_name(keys.id))
        )
        erased += len(page)
    return erased + await _remove_from_allow_lists(step)


async def _remove_from_allow_lists(step: PersonStep) -> int:
    """Remove the person from the tenant's allow lists. An empty list allows no one."""
    found = 0
    # A worker may read no more than these columns.
    listed = select(api_keys.c.id, api_keys.c.recipients_sealed).with_for_update()
    async for row, recipients in _allow_lists(step, listed):
        left = [one for one in recipients if lookup_form(one) not in step.person.spellings]
        if len(left) == len(recipients):
            continue
        found += 1
        sealed = step.sealer.seal(json.dumps(left), tenant=step.tenant_id, row=row.id, column=RECIPIENTS_COLUMN)
        await step.connection.execute(
            update(api_keys)
            .where(api_keys.c.tenant_id == step.tenant_id, api_keys.c.id == row.id)
            .values(recipients_sealed=sealed, recipients_masked=[known_address(one).masked for one in left])
        )
    return found


async def _allow_lists(step: PersonStep, listed: Select[Any]) -> AsyncIterator[tuple[Any, list[str]]]:
    """The tenant's API keys with an allow list, and the addresses on it; one that cannot be opened is left out."""
    has_list = listed.where(api_keys.c.tenant_id == step.tenant_id, api_keys.c.recipients_sealed.is_not(None))
    for row in await step.connection.execute(has_list.order_by(api_keys.c.id)):
        try:
            yield (
                row,
                json.loads(
                    step.sealer.open(row.recipients_sealed, tenant=step.tenant_id, row=row.id, column=RECIPIENTS_COLUMN)
                ),
            )
        except SealBroken as error:
            log.error("recipients_unreadable", api_key_id=str(row.id), reason=str(error))


async def _export(step: PersonStep, after: UUID | None) -> Sequence[Mapping[str, Any]]:
    """API keys whose allow list contains the person, without the others on it."""
    found: list[Mapping[str, Any]] = []
    listed = select(api_keys.c.id, api_keys.c.name, api_keys.c.created_at, api_keys.c.recipients_sealed)
    if after is not None:
        listed = listed.where(api_keys.c.id > after)
    async for row, recipients in _allow_lists(step, listed):
        theirs = [one for one in recipients if lookup_form(one) in step.person.spellings]
        if theirs and len(found) < step.limit:
            found.append(
                {
                    "type": "ApiKey",
                    "id": str(row.id),
                    "name": row.name,
                    "recipients": theirs,
                    "createdAt": row.created_at.isoformat(),
                }
            )
    return found


PERSONAL_DATA = PersonalData(erase_names=_erase_names, export=_export)
