"""Templates as a noun: a provider's event that its catalogue changed, and a loop that syncs each catalogue."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from core.nouns import EventOutcomes, EventType, InboxEvent, Loop, Noun, WorkerContext, WorkerPlan
from core.ports import TemplatesChanged
from core.sealing import Sealer
from core.templates.catalogue_sync import CatalogueSync, request_sync

_TICK = 2.0


def _encode(_event: TemplatesChanged) -> Mapping[str, Any]:
    return {}


def _decode(key: str, name: str, _data: Mapping[str, Any]) -> TemplatesChanged:
    return TemplatesChanged(key, name, "")


async def _apply(connection: AsyncConnection, _sealer: Sealer, events: Sequence[InboxEvent]) -> EventOutcomes:
    for integration in dict.fromkeys(kept.integration for kept in events):
        await request_sync(connection, integration)
    return EventOutcomes(processed=dict.fromkeys((kept.place for kept in events), None))


def _plan_work(context: WorkerContext) -> WorkerPlan:
    """One loop for each provider that keeps templates for us."""
    installation = context.installation
    syncs = [
        CatalogueSync(name, channel, connected.templates, installation.database)
        for channel, name in installation.channels.items()
        if (connected := installation.connected.get(name)) is not None and connected.templates is not None
    ]
    return WorkerPlan([Loop(f"templates {one.channel}", partial(_sync, one)) for one in syncs])


async def _sync(sync: CatalogueSync) -> None:
    """Read a provider's templates if it is time, and look again in a moment."""
    await sync.read_if_due()
    await asyncio.sleep(_TICK)


NOUN = Noun(
    "templates",
    events=(EventType("templates", TemplatesChanged, _encode, _decode, _apply),),
    worker=_plan_work,
)
