"""SAQ's queue, calmed: while Redis is away it waits between tries instead of spinning a core."""

import asyncio
import random

import structlog
from redis.exceptions import RedisError
from saq.job import Job
from saq.queue.redis import RedisQueue

log = structlog.get_logger(__name__)


class CalmQueue(RedisQueue):
    """A Redis queue whose consumers back off: up to half a minute with the store away, at once when it is back."""

    _failures = 0

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
        try:
            job: Job | None = await super().dequeue(timeout, poll_interval)
        except (RedisError, OSError) as error:
            self._failures = min(self._failures + 1, 6)
            if self._failures == 1:
                log.warning("wake_ups_interrupted", error=type(error).__name__)
            # Consumers that failed together should not all knock together.
            await asyncio.sleep(random.uniform(0.2, 0.5) * 2**self._failures)  # noqa: S311
            return None
        self._failures = 0
        return job
