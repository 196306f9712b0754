"""The caller that adapters are handed: a deadline, the circuit breaker, and the ledger for each call."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis

from core.errors import FailureScope, OutcomeUnknown, ProviderError, ProviderUnavailable
from core.ports.calls import CallEnd, always_answered, end_of
from core.providers.circuit import CallOutcomes, CircuitRules, CircuitState, requested_pause
from core.providers.ledger import Ledger
from core.providers.rate_limiter import SharedRateLimiter

Answer = TypeVar("Answer")

CALL_DEADLINE = 30.0
"""Seconds that a call may take where its adapter names no deadline."""
# Shorter pauses than for messages: a person or a page waits for these calls.
_RULES = CircuitRules(longest_pause=30.0)


class CountedCalls:
    """Makes the calls of one integration."""

    def __init__(self, integration: str, ledger: Ledger, redis: Redis) -> None:
        self._integration = integration
        self._ledger = ledger
        # Without a pace: only the circuit is asked.
        self._circuit = SharedRateLimiter(redis, integration, None, rules=_RULES)

    async def call(
        self,
        operation: str,
        work: Callable[[], Awaitable[Answer]],
        *,
        judge: Callable[[Answer], CallEnd] = always_answered,
        deadline: float | None = None,
        through_circuit: bool = False,
    ) -> Answer:
        """Make one call of a named operation, as `ProviderCalls` says."""
        ticket = await self._enter() if through_circuit else None
        began = time.monotonic()
        # What is neither an answer nor a provider's error broke on our side, or was canceled: it is not counted.
        try:
            answer = await self._within(deadline or CALL_DEADLINE, operation, work)
        except ProviderError as error:
            await self._count(operation, end_of(error), began, ticket, requested_pause(error))
            raise
        await self._count(operation, judge(answer), began, ticket)
        return answer

    async def _count(self, operation: str, end: CallEnd, began: float, ticket: int | None, pause: float = 0.0) -> None:
        self._ledger.record(self._integration, operation, end, time.monotonic() - began)
        if ticket is not None:
            await self._circuit.report(_outcomes(ticket, end, pause))

    async def _within(self, deadline: float, operation: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(deadline) as limit:
                return await work()
        except TimeoutError:
            if not limit.expired():
                raise
            words = f"{self._integration} did not answer within {deadline:g} s ({operation})."
            raise OutcomeUnknown(words, provider=self._integration, scope=FailureScope.PROVIDER) from None

    async def _enter(self) -> int | None:
        allowance = await self._circuit.allow(1)
        if allowance.count:
            return allowance.ticket
        state = "open" if allowance.circuit is CircuitState.OPEN else "being tried"
        raise ProviderUnavailable(
            f"{self._integration} is not called for now: its circuit breaker is {state}.",
            provider=self._integration,
            retry_after=allowance.retry_in,
            scope=FailureScope.OURS,
        )


def _outcomes(ticket: int | None, end: CallEnd, pause: float) -> CallOutcomes:
    return CallOutcomes(
        ticket,
        successes=int(not end.is_error),
        failures=int(end in (CallEnd.FAILED, CallEnd.UNKNOWN)),
        refusals=int(end is CallEnd.REFUSED),
        pause=pause,
    )
