"""How much a caller may ask in a minute, counted in points: one account for all processes, in the shared store.

A budget fills evenly and is full after a minute (GCRA, as pacing does it: one moment is all there is to keep). While
the store is away each process counts for itself: a caller may then get as much from each of them, and never nothing.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from core.flow.store import SharedStore

WINDOW = 60.0
_MICROSECONDS = 1_000_000
_MOST_KEPT = 10_000

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
class Allowance:
    """What is left after something was asked for: `resets_in` seconds until all, `wait` until the same may be asked."""

    is_granted: bool
    limit: int
    remaining: int
    cost: int
    resets_in: float
    wait: float = 0.0

    @property
    def resets_at(self) -> datetime:
        """When the budget is full again, as far as is known now."""
        return datetime.now(UTC) + timedelta(seconds=self.resets_in)

    @property
    def affordable_at(self) -> datetime:
        """When the same may be asked with success."""
        return datetime.now(UTC) + timedelta(seconds=self.wait)


class Budget:
    """Every caller's account."""

    def __init__(self, redis: Redis) -> None:
        self._store = SharedStore(redis, "budget")
        self._own: dict[str, float] = {}

    async def spend(self, who: str, cost: int, points: int) -> Allowance:
        """Take points from an account of so many a minute, or say when there will be enough; never raises.

        What costs more than a whole minute holds is granted to nobody: `wait` says nothing then.
        """
        found = await self._store.run(SPEND, [f"interalpha:budget:{who}"], cost, points, int(WINDOW * _MICROSECONDS))
        if found is None:
            return self._spend_here(who, cost, points)
        granted, left, full, wait = (int(one) for one in found)
        return _allowance(points, bool(granted), left, cost, full / _MICROSECONDS, wait / _MICROSECONDS)

    def _spend_here(self, who: str, cost: int, points: int) -> Allowance:
        now, each = time.monotonic(), WINDOW / points
        due = max(self._own.get(who, now), now)
        after = due + cost * each
        if after > now + WINDOW + 1e-6:
            return _allowance(points, False, int((now + WINDOW - due) / each), cost, due - now, after - now - WINDOW)
        if len(self._own) >= _MOST_KEPT:
            self._own = {one: moment for one, moment in self._own.items() if moment > now}
        self._own[who] = after
        return _allowance(points, True, int((now + WINDOW - after) / each + 0.001), cost, after - now, 0.0)


def _allowance(points: int, granted: bool, left: int, cost: int, full: float, wait: float) -> Allowance:
    return Allowance(granted, points, max(0, left), cost, full, wait)
