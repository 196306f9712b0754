"""SAQ's queue, calmed: while Redis is away it waits between tries instead of spinning a core, and says why."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError
from saq.job import Job
from saq.queue.redis import RedisQueue
from saq.types import WorkerInfo

from core.log_throttle import ThrottledLog
from core.store_faults import told


class CalmQueue(RedisQueue):
    """A Redis queue whose consumers back off: up to half a minute with the store away, at once when it is back.

    SAQ's own log is silent here, since it prints jobs; what fails again and again is told by this class.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._failures = 0
        self._troubles = ThrottledLog()

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
        try:
            with self._noted("taking jobs"):
                job: Job | None = await super().dequeue(timeout, poll_interval)
        except (RedisError, OSError):
            self._failures = min(self._failures + 1, 6)
            # Consumers that failed together should not all knock together.
            await asyncio.sleep(random.uniform(0.2, 0.5) * 2**self._failures)  # noqa: S311
            return None
        self._failures = 0
        return job

    async def schedule(self, lock: int = 1) -> list[str]:
        with self._noted("scheduling jobs"):
            return await super().schedule(lock)

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        with self._noted("sweeping jobs"):
            return await super().sweep(lock, abort)

    async def write_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        with self._noted("telling of the worker"):
            await super().write_worker_info(worker_id, info, ttl)

    async def _enqueue(self, job: Job) -> Job | None:
        with self._noted("scheduling jobs"):
            return await super()._enqueue(job)

    @contextmanager
    def _noted(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            fields = told(error)
            kind = f"{fields.pop('kind')} {doing}" if fields["error"] == "NoPermissionError" else fields.pop("kind")
            self._troubles.failed("wake_ups_interrupted", kind, doing=doing, **fields)
            raise
        self._troubles.succeeded("wake_ups_resumed")
