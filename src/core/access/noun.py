"""Access as a noun: the identity provider's events, API keys without a maker, and sessions that ended."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.api_keys import revoke_orphaned_keys
from core.access.directory import apply_directory_event, delete_old_session_ends, subject_from_json, subject_to_json
from core.access.personal_data import PERSONAL_DATA
from core.nouns import (
    CronJob,
    EventOutcomes,
    EventType,
    InboxEvent,
    Installation,
    Loop,
    Noun,
    WorkerContext,
    WorkerPlan,
)
from core.ports import DirectoryChanged
from core.sealing import Sealer

log = structlog.get_logger(__name__)

_ORPHANS = 2.0


def _encode(event: DirectoryChanged) -> Mapping[str, Any]:
    return {
        "subject": subject_to_json(event.subject),
        "at": event.at.isoformat(),
        "isDeleted": event.is_deleted,
    }


def _decode(key: str, name: str, data: Mapping[str, Any]) -> DirectoryChanged:
    subject, at = subject_from_json(data["subject"]), datetime.fromisoformat(data["at"])
    return DirectoryChanged(key, name, "", subject=subject, at=at, is_deleted=data["isDeleted"])


async def _apply(connection: AsyncConnection, sealer: Sealer, events: Sequence[InboxEvent]) -> EventOutcomes:
    outcomes = EventOutcomes()
    for kept in events:
        if isinstance(kept.event, DirectoryChanged):
            await apply_directory_event(connection, sealer, kept.event)
            outcomes.processed[kept.place] = None
    return outcomes


def _plan_work(context: WorkerContext) -> WorkerPlan:
    installation = context.installation
    return WorkerPlan(
        [Loop("orphaned keys", partial(_revoke_orphaned_keys, installation))],
        [CronJob("delete_session_ends", "7 * * * *", partial(_delete_session_ends, installation))],
    )


async def _revoke_orphaned_keys(installation: Installation) -> None:
    """Revoke API keys whose maker is gone, where that is wanted, then rest a while."""
    if installation.settings.api_keys_end_with_maker:
        async with installation.database.transaction() as connection:
            if number := await revoke_orphaned_keys(connection):
                log.warning("orphaned_keys_revoked", number=number)
    await asyncio.sleep(_ORPHANS)


async def _delete_session_ends(installation: Installation) -> None:
    async with installation.database.transaction() as connection:
        await delete_old_session_ends(connection)


NOUN = Noun(
    "access",
    events=(EventType("directory", DirectoryChanged, _encode, _decode, _apply),),
    worker=_plan_work,
    personal_data=PERSONAL_DATA,
)
