"""Asking the shared store: never for longer than half a second, and not at every turn while it is away."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_LIMIT = 0.5
_REST = 1.0


class SharedStore:
    """Runs scripts for one asker; `rest` is how many seconds it is left alone after it did not answer."""

    def __init__(self, redis: Redis, asker: str, *, rest: float = _REST) -> None:
        self._redis = redis
        self._asker = asker
        self._rest = rest
        self._is_away = False
        self._quiet_until = 0.0

    async def run(self, script: str, keys: Sequence[str], *arguments: str | int | float) -> Any:
        """Return what the script returns; None when the store is away, which is logged once per outage.

        The script goes by its hash, and in full when the store does not know it (any more).
        """
        if time.monotonic() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(_LIMIT):
                answer = await self._redis.register_script(script)(keys=list(keys), args=list(arguments))
        except (RedisError, OSError, TimeoutError) as error:
            self._quiet_until = time.monotonic() + self._rest
            if not self._is_away:
                self._is_away = True
                log.warning("flow_store_away", asker=self._asker, error=type(error).__name__)
            return None
        if self._is_away:
            self._is_away = False
            log.info("flow_store_back", asker=self._asker)
        return answer
