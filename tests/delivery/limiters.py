"""Rate limiters for tests: each with a connection and a memory of its own, as in another worker."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.ports import Pace
from core.providers.circuit import Allowance, CallOutcomes, CircuitRules, Suspect
from core.providers.rate_limiter import SharedRateLimiter
from core.rate_limit import SharedScripts

QUICK_RULES = CircuitRules(failures=3, refusals=2, first_pause=0.1, longest_pause=0.25, trial_lease=0.1)
PATIENT_RULES = replace(QUICK_RULES, first_pause=60.0, longest_pause=300.0, trial_lease=60.0)
"""Opens as soon, and stays so for the length of any test."""

NewLimiter = Callable[..., SharedRateLimiter]


def failed_calls(allowance: Allowance, times: int = 1) -> CallOutcomes:
    return CallOutcomes(allowance.ticket, failures=times)


def refused_calls(allowance: Allowance, times: int = 1) -> CallOutcomes:
    return CallOutcomes(allowance.ticket, refusals=times)


def suspected_calls(allowance: Allowance, *who: str, is_refusal: bool = False) -> CallOutcomes:
    """Calls that failed, each named as tenant and recipient, such as `a1`: the tenant `aa`, and its recipient `a1`."""
    suspects = tuple(Suspect(one, one[0] * 2, is_refusal) for one in who)
    return CallOutcomes(allowance.ticket, suspects=suspects, tenants=frozenset(one.tenant for one in suspects))


def answered_for(allowance: Allowance, *tenants: str) -> CallOutcomes:
    """One call of each of these tenants was answered."""
    return CallOutcomes(allowance.ticket, successes=len(tenants), tenants=frozenset(one * 2 for one in tenants))


def answered_calls(allowance: Allowance, times: int = 1) -> CallOutcomes:
    return CallOutcomes(allowance.ticket, successes=times)


@asynccontextmanager
async def limiters(url: str, integration: str) -> AsyncIterator[NewLimiter]:
    """Make rate limiters for one integration."""
    opened: list[Redis] = []

    def make(pace: Pace | None = None, rules: CircuitRules = QUICK_RULES, *, at: str = url) -> SharedRateLimiter:
        redis = Redis.from_url(at, retry=Retry(NoBackoff(), 0))
        opened.append(redis)
        return SharedRateLimiter(
            redis, integration, pace, rules=rules, store=SharedScripts(redis, integration, rest=0.0)
        )

    yield make
    for redis in opened:
        await redis.aclose()
