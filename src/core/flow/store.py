"""Asking the shared store: never for longer than half a second, and not at every turn while it is away.

Whoever asks in the same turn of the event loop goes in one message: each costs this process as much as a dozen scripts
in it, and under load every request has something to ask.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from core.recurring import Recurring
from core.store_faults import told

_LIMIT = 0.5
_REST = 1.0


@dataclass(eq=False, slots=True)
class _Asked:
    """A script to be run, and who waits for what it returns."""

    script: str
    keys: Sequence[bytes]
    arguments: Sequence[bytes]
    answer: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def tell(self, answer: Any) -> None:
        """Answer, unless whoever asked has gone."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def give_up(self, error: BaseException) -> None:
        """Raise it in whoever asked; being ended is no error of theirs to read."""
        if isinstance(error, Exception) and not self.answer.done():
            self.answer.set_exception(error)
        self.answer.cancel()


class SharedStore:
    """Runs scripts for one asker; `rest` is how many seconds it is left alone after it did not answer."""

    def __init__(self, redis: Redis, asker: str, *, rest: float = _REST) -> None:
        self._redis = redis
        self._asker = asker
        self._rest = rest
        self._troubles = Recurring()
        self._quiet_until = 0.0
        self._asked: list[_Asked] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, script: str, keys: Sequence[str], *arguments: str | int | float) -> Any:
        """Return what the script returns; None when the store is away, which is logged at growing intervals.

        The script goes by its hash, and in full when the store does not know it (any more).
        """
        if time.monotonic() < self._quiet_until:
            return None
        # Here, where it is nobody else's harm if there is something that cannot be written.
        one = _Asked(script, [_written(key) for key in keys], [_written(argument) for argument in arguments])
        self._asked.append(one)
        if len(self._asked) == 1:
            # It begins when everything else of this turn has had its say.
            task = asyncio.create_task(self._ask())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return await one.answer

    async def _ask(self) -> None:
        asked, self._asked = self._asked, []
        try:
            async with asyncio.timeout(_LIMIT):
                answers = await self._send(asked)
        except (RedisError, OSError, TimeoutError) as error:
            answers = [error] * len(asked)
        except BaseException as error:
            # A bug, or we are being ended in the middle: nobody is left waiting.
            for one in asked:
                one.give_up(error)
            raise
        for one, answer in zip(asked, answers, strict=True):
            is_lost = isinstance(answer, Exception)
            self._note(answer if is_lost else None)
            one.tell(None if is_lost else answer)

    async def _send(self, asked: Sequence[_Asked]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for one in asked:
            pipeline.evalsha(_hash(one.script), len(one.keys), *one.keys, *one.arguments)
        answers = await pipeline.execute(raise_on_error=False)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for place in unknown:
                one = asked[place]
                pipeline.eval(one.script, len(one.keys), *one.keys, *one.arguments)
            for place, answer in zip(unknown, await pipeline.execute(raise_on_error=False), strict=True):
                answers[place] = answer
        return answers

    def _note(self, error: Exception | None) -> None:
        if error is None:
            self._troubles.succeeded("flow_store_back", asker=self._asker)
        else:
            self._quiet_until = time.monotonic() + self._rest
            self._troubles.failed("flow_store_away", asker=self._asker, **told(error))


def _written(value: str | int | float) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode()


@cache
def _hash(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
