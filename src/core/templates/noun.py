"""Templates as a noun: a provider's event that its catalogue changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from core.nouns import EventOutcomes, EventType, InboxEvent, Noun
from core.ports import TemplatesChanged
from core.sealing import Sealer
from core.templates.catalogue_sync import request_sync


def _encode(_event: TemplatesChanged) -> Mapping[str, Any]:
    return {}


def _decode(key: str, name: str, _data: Mapping[str, Any]) -> TemplatesChanged:
    return TemplatesChanged(key, name, "")


async def _apply(connection: AsyncConnection, _sealer: Sealer, events: Sequence[InboxEvent]) -> EventOutcomes:
    for integration in dict.fromkeys(kept.integration for kept in events):
        await request_sync(connection, integration)
    return EventOutcomes(processed=dict.fromkeys((kept.place for kept in events), None))


NOUN = Noun("templates", events=(EventType("templates", TemplatesChanged, _encode, _decode, _apply),))
