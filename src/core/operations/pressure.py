"""Back-pressure: how much waits for each channel is counted now and then, so that more can be refused in time."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, text

from core.database import Database
from core.ports import Channel

INTERVAL = 2.0
"""Seconds between two looks."""
_TRUSTED = 10.0

# Across tenants, which the application may not read: a function of the database tells these numbers and no more.
_WAITING = text("SELECT tenant_id, channel, number FROM messages_waiting(:channels, :most)").bindparams(
    bindparam("channels", type_=ARRAY(Text))
)


class Pressure:
    """Says whether a channel has too much waiting. `limit` is for a whole channel; what nobody has counted is fine.

    When a channel is full, only tenants that hold more than an even share of it are refused: the others did not fill
    it.
    """

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._waiting: Mapping[Channel, Mapping[UUID, int]] = {}
        self._looked_at = float("-inf")

    async def look(self, channels: Sequence[Channel]) -> None:
        """Count anew. Raises Overloaded."""
        async with self._database.transaction() as connection:
            values = {"channels": [channel.value for channel in channels], "most": self._limit}
            rows = (await connection.execute(_WAITING, values)).all()
        waiting: dict[Channel, Counter[UUID]] = {}
        for row in rows:
            waiting.setdefault(Channel(row.channel), Counter())[row.tenant_id] = row.number
        self._waiting, self._looked_at = waiting, time.monotonic()

    def is_too_high(self, channel: Channel, tenant_id: UUID) -> bool:
        """Whether a tenant has to wait before it hands in more for a channel."""
        if time.monotonic() - self._looked_at > _TRUSTED:
            return False
        waiting = self._waiting.get(channel, {})
        own, total = waiting.get(tenant_id, 0), sum(waiting.values())
        return total >= self._limit and own * len(waiting) >= self._limit
