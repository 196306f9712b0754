"""Automatic persisted queries: what clients registered, by its SHA-256, in Redis and beside it in this process.

A client that sends a hash nobody knows is told so, sends the whole query once, and from then on the hash. Nothing is
lost with the store: while Redis is away every hash is simply unknown, unless this process has seen it.
"""

import asyncio
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.metrics import documents
from core.log_throttle import ThrottledLog
from core.settings.values import digest
from core.store_faults import told
from engine.documents import Room, Shelf

LIFETIME = 7 * 24 * 3600
"""How long a query is kept after it was last looked up, in seconds."""
MOST_QUERIES = 1_000
LONGEST_QUERY = 32_768

_PATIENCE = 0.25
_PREFIX = "interalpha:query:"
_INDEX = "interalpha:queries"
_STRING = '"'


class PersistedQueries:
    """The registered queries; never raises, and never waits long."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._troubles = ThrottledLog()
        self._near: Shelf[str, str] = Shelf(Room(entries=MOST_QUERIES, characters=4_194_304))

    async def find(self, name: str) -> str | None:
        """Take the query of that SHA-256."""
        if near := self._near.find(name):
            return near
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._look_up(name)
                self._troubles.succeeded("persisted_queries_back")
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("persisted_queries_away", **told(error))
            documents.labels("store_away").inc()
            return None
        # Whoever else writes into that Redis must not choose what a hash runs.
        if found is None or digest(found) != name:
            return None
        self._near.keep(name, found, len(found))
        return found

    async def keep(self, document: str) -> None:
        """Register a query, and forget the one that was looked up longest ago if there are too many.

        One with strings in it may name somebody: it stays in this process, and other processes ask for the whole.
        """
        name = digest(document)
        if len(document) > LONGEST_QUERY or self._near.find(name):
            return
        self._near.keep(name, document, len(document))
        if _STRING in document:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._write(name, document)
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("persisted_queries_away", **told(error))

    async def _look_up(self, name: str) -> str | None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.getex(_PREFIX + name, ex=LIFETIME)
            pipeline.zadd(_INDEX, {name: time.time()}, xx=True)
            found, _ = await pipeline.execute()
        return found.decode(errors="replace") if found is not None else None

    async def _write(self, name: str, document: str) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(_PREFIX + name, document, ex=LIFETIME)
            pipeline.zadd(_INDEX, {name: time.time()})
            pipeline.zcard(_INDEX)
            *_, count = await pipeline.execute()
        if count > MOST_QUERIES:
            forgotten = await self._redis.zpopmin(_INDEX, count - MOST_QUERIES)
            await self._redis.delete(*(_PREFIX + oldest.decode() for oldest, _ in forgotten))
