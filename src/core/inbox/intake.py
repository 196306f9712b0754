"""Stores webhooks that arrive at the same time in one group."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from core.database import is_contention
from core.errors import Overloaded
from core.group_commit import GroupCommit, GroupLimits, ProcessSeparately
from core.ports import ProviderEvent

MOST = 500
"""Events of a group; a single webhook may hold more."""

Events = Sequence[ProviderEvent]
Store = Callable[[str, Sequence[Events]], Awaitable[Sequence[int]]]
"""Stores the webhooks of an integration in one transaction; says of each how many of its events were new."""


class Intake:
    """A queue for each integration, stored group by group. A caller who leaves has its events stored all the same."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[str, GroupCommit[Events, int]] = {}

    async def keep(self, integration: str, events: Events) -> int:
        """Store a webhook's events, each once; returns how many were new. Raises Overloaded."""
        if integration not in self._queues:
            limits = GroupLimits(items=MOST, weight=MOST)
            self._queues[integration] = GroupCommit(partial(self._store_group, integration), limits, weight_of=len)
        return await self._queues[integration].submit(events)

    async def _store_group(self, integration: str, webhooks: Sequence[Events]) -> Sequence[int]:
        try:
            return await self._store(integration, webhooks)
        except Exception as error:
            is_away = isinstance(error, Overloaded) and not is_contention(error.__cause__)
            if len(webhooks) == 1 or is_away:
                raise
            raise ProcessSeparately from error
