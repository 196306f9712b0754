"""Storing one webhook, for tests that are about what becomes of it."""

from collections.abc import Sequence

from core.database import Database
from core.ports import ProviderEvent
from core.sealing import Sealer
from core.webhooks.inbox import keep_together


async def keep(database: Database, sealer: Sealer, integration: str, events: Sequence[ProviderEvent]) -> int:
    """Store its events, each once; returns how many were new."""
    [new] = await keep_together(database, sealer, integration, [events])
    return new
