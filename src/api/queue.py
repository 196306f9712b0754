"""SAQ: wake-ups that tell a worker of due work, and a queue that backs off while Redis is away."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from saq.job import Job
from saq.queue.redis import RedisQueue
from saq.types import WorkerInfo

from core.log_throttle import ThrottledLog
from core.store_faults import fault_fields

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
            self._troubles.failed("wake_up_not_sent", **fault_fields(error))
        else:
            self._troubles.succeeded("wake_ups_sent")

    async def close(self) -> None:
        """Let the last wake-ups go out."""
        if self._sending:
            await asyncio.wait(self._sending.values(), timeout=1)


# SAQ's queue with a pause between tries while Redis is unavailable, and the reason in the log.


class BackoffQueue(RedisQueue):
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
            fields = fault_fields(error)
            kind = f"{fields.pop('kind')} {doing}" if fields["error"] == "NoPermissionError" else fields.pop("kind")
            self._troubles.failed("wake_ups_interrupted", kind, doing=doing, **fields)
            raise
        self._troubles.succeeded("wake_ups_resumed")
