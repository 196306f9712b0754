"""Access as a noun: the identity provider's events about people and organisations."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.directory import apply_directory_event, subject_from_json, subject_to_json
from core.nouns import EventOutcomes, EventType, InboxEvent, Noun
from core.ports import DirectoryChanged
from core.sealing import Sealer


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


NOUN = Noun("access", events=(EventType("directory", DirectoryChanged, _encode, _decode, _apply),))
