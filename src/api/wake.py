"""Waking workers through SAQ: a hint that a channel, or the inbox, has work. Losing one loses nothing but a second.

Many wake-ups in a row are one job: the first goes out at once, those within the next moment are sent together.
"""

import asyncio
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError
from saq.queue.redis import RedisQueue

from core.log_throttle import ThrottledLog
from core.store_faults import told

QUEUE = "interalpha"
JOB = "wake"
INBOX = "INBOX"
_LIMIT = 0.5
_MOMENT = 0.05


class WakeUps:
    """Sends wake-ups, at most one per topic (a channel, or INBOX) each twentieth of a second."""

    def __init__(self, redis: Redis) -> None:
        self._queue = RedisQueue(redis, name=QUEUE)
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._troubles = ThrottledLog()

    async def wake(self, topic: str) -> None:
        """Ask for work to be done soon; returns at once and never fails."""
        if topic in self._sending:
            self._again.add(topic)
            return
        self._sending[topic] = asyncio.create_task(self._send(topic))

    async def _send(self, topic: str) -> None:
        try:
            while True:
                self._again.discard(topic)
                await self._enqueue(topic)
                await asyncio.sleep(_MOMENT)
                if topic not in self._again:
                    return
        finally:
            # In the same breath as the last look: who comes after it sends anew.
            del self._sending[topic]

    async def _enqueue(self, topic: str) -> None:
        try:
            async with asyncio.timeout(_LIMIT):
                # The key's bucket of time lets a wake-up through whose predecessor died in a worker's hands.
                key = f"{topic}:{time.time_ns() // 50_000_000}"
                await self._queue.enqueue(JOB, topic=topic, key=key, retries=1, timeout=10, ttl=-1, retry_delay=1)
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("wake_up_not_sent", **told(error))
        else:
            self._troubles.succeeded("wake_ups_sent")

    async def close(self) -> None:
        """Let the last wake-ups go out."""
        if self._sending:
            await asyncio.wait(self._sending.values(), timeout=1)
