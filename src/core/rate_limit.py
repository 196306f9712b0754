"""Limits counted in Redis, for all processes together: running scripts there, and callers' budgets of points.

A script waits for half a second at most, and Redis is left alone for a second after it did not answer. Scripts asked
for in one turn of the event loop go in one pipeline: a round trip costs this process as much as a dozen scripts in it.

A budget fills evenly and is full after a minute (GCRA, like the rate limits of providers: one moment is the whole
state). While Redis is away each process counts for itself: a caller may then get as much from each, and never nothing.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from core.log_throttle import ThrottledLog
from core.store_faults import fault_fields

_LIMIT = 0.5
_REST = 1.0
WINDOW = 60.0
_MICROSECONDS = 1_000_000
_MOST_KEPT = 10_000


@dataclass(eq=False, slots=True)
class _Call:
    """A script to run, and the future of what it returns."""

    script: str
    keys: Sequence[bytes]
    arguments: Sequence[bytes]
    answer: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def finish(self, answer: Any) -> None:
        """Give the answer, unless the caller was canceled."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Raise an error in the caller; where this task is canceled, cancel the caller instead."""
        if isinstance(error, Exception) and not self.answer.done():
            self.answer.set_exception(error)
        self.answer.cancel()


class SharedScripts:
    """Runs scripts for one user of Redis, named in logs; `rest` is how many seconds it waits after a failure."""

    def __init__(self, redis: Redis, asker: str, *, rest: float = _REST) -> None:
        self._redis = redis
        self._asker = asker
        self._rest = rest
        self._troubles = ThrottledLog()
        self._quiet_until = 0.0
        self._asked: list[_Call] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, script: str, keys: Sequence[str], *arguments: str | int | float) -> Any:
        """Return what the script returns; None while Redis is away, which is logged at growing intervals.

        The script is called by its hash, and in full when Redis does not know it (any more).
        """
        if time.monotonic() < self._quiet_until:
            return None
        # Encoded here, so that a value that cannot be encoded fails its own caller only.
        one = _Call(script, [_written(key) for key in keys], [_written(argument) for argument in arguments])
        self._asked.append(one)
        if len(self._asked) == 1:
            # The task starts after the other tasks of this turn, which may add calls.
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
            # A bug, or this task is canceled: no caller may wait for ever.
            for one in asked:
                one.fail(error)
            raise
        for one, answer in zip(asked, answers, strict=True):
            is_lost = isinstance(answer, Exception)
            self._note(answer if is_lost else None)
            one.finish(None if is_lost else answer)

    async def _send(self, asked: Sequence[_Call]) -> list[Any]:
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
            self._troubles.failed("flow_store_away", asker=self._asker, **fault_fields(error))


def _written(value: str | int | float) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode()


@cache
def _hash(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


SPEND = """
-- points wanted, points a minute holds, microseconds of a minute
-- returns whether they were granted, points left, microseconds until the budget is full, and until these are there
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wanted, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local each = window / limit
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = due + wanted * each
if after > now + window + 1 then
  return {0, math.floor((now + window - due) / each), math.ceil(due - now), math.ceil(after - now - window)}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.max(1, math.ceil((after - now) / 1000)))
return {1, math.floor((now + window - after) / each + 0.001), math.ceil(after - now), 0}
"""


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """A budget after a request: `resets_in` seconds until it is full, `wait` until the same cost can be paid."""

    is_granted: bool
    limit: int
    remaining: int
    cost: int
    resets_in: float
    wait: float = 0.0

    @property
    def resets_at(self) -> datetime:
        """When the budget is full again, if nothing more is spent."""
        return datetime.now(UTC) + timedelta(seconds=self.resets_in)

    @property
    def affordable_at(self) -> datetime:
        """When the same cost can be paid."""
        return datetime.now(UTC) + timedelta(seconds=self.wait)


class Budget:
    """The budgets of all callers."""

    def __init__(self, redis: Redis) -> None:
        self._store = SharedScripts(redis, "budget")
        self._own: dict[str, float] = {}

    async def spend(self, who: str, cost: int, points: int) -> BudgetResult:
        """Spend points of a budget of `points` a minute, or say when there will be enough; never raises.

        A cost above the budget of a whole minute is never granted, and `wait` has no meaning then.
        """
        found = await self._store.run(SPEND, [f"interalpha:budget:{who}"], cost, points, int(WINDOW * _MICROSECONDS))
        if found is None:
            return self._spend_here(who, cost, points)
        granted, left, full, wait = (int(one) for one in found)
        return _allowance(points, bool(granted), left, cost, full / _MICROSECONDS, wait / _MICROSECONDS)

    def _spend_here(self, who: str, cost: int, points: int) -> BudgetResult:
        now, each = time.monotonic(), WINDOW / points
        due = max(self._own.get(who, now), now)
        after = due + cost * each
        if after > now + WINDOW + 1e-6:
            return _allowance(points, False, int((now + WINDOW - due) / each), cost, due - now, after - now - WINDOW)
        if len(self._own) >= _MOST_KEPT:
            self._own = {one: moment for one, moment in self._own.items() if moment > now}
        self._own[who] = after
        return _allowance(points, True, int((now + WINDOW - after) / each + 0.001), cost, after - now, 0.0)


def _allowance(points: int, granted: bool, left: int, cost: int, full: float, wait: float) -> BudgetResult:
    return BudgetResult(granted, points, max(0, left), cost, full, wait)
