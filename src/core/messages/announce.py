"""Saying that messages were stored: one wake-up for each channel, and one hint to all who listen."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.messages.member import Member, Stored
from core.messages.values import MessageStatus
from core.ports import Channel
from core.pubsub import Change, Hub


class Announcer:
    """Tells workers and listeners. Nobody waits for the store of hints: what comes meanwhile goes out together."""

    def __init__(self, hub: Hub, wake: Callable[[Channel], Awaitable[None]]) -> None:
        self._hub = hub
        self._wake = wake
        self._news: list[Change] = []
        self._publishing: asyncio.Task[None] | None = None

    async def announce(self, stored: Sequence[tuple[Member, Stored]]) -> None:
        """Say so, as far as anybody has something to do."""
        queued = [member for member, one in stored if one.status is MessageStatus.QUEUED]
        for channel in dict.fromkeys(member.checked.route[0].channel for member in queued):
            await self._wake(channel)
        self._news += [Change(member.tenant_id, member.message_id) for member, _ in stored]
        if self._publishing is None:
            self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        try:
            while self._news:
                news, self._news = self._news, []
                await self._hub.publish(news)
        finally:
            self._publishing = None
