"""The rate limiter before a provider: how many messages a worker may claim now, shared by all workers.

One hash in Redis holds an integration's circuit and its rate limit. Both are advice: while Redis is away, the circuit
counts as closed and each worker keeps to its own share of the rate.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis

from core.ports import Pace
from core.providers.circuit import MICROSECONDS, Allowance, CallOutcomes, CircuitRules, CircuitState, limiter_key
from core.providers.scripts import ADMIT, ALLOW, GIVE_BACK, RENEW, REPORT
from core.rate_limit import SharedScripts

log = structlog.get_logger(__name__)

_LONGEST_PAUSE = 3_600.0
_FAILING_ADVICE = (
    "It answers with failures: its status page may say more. Messages wait, and one is tried when the time is over."
)
_REFUSED_ADVICE = (
    "It refuses us, not the messages: run `interalpha check --probe`, fix what it names, then reset the circuit."
)


class RateLimiter(Protocol):
    """What a delivery asks before and after it calls a provider.

    `workers` is the number of workers that share the rate while Redis is away.
    """

    workers: int

    @property
    def paces_recipients(self) -> bool:
        """Whether `admit` can delay a message."""
        ...

    async def allow(self, wanted: int) -> Allowance:
        """Say how many of the wanted messages may be claimed now."""
        ...

    async def give_back(self, allowance: Allowance, count: int) -> None:
        """Return the part of an allowance that was not used."""
        ...

    async def admit(self, recipients: Sequence[bytes]) -> list[float]:
        """Say for each recipient whether a message may go to them now (0.0), or in how many seconds."""
        ...

    async def report(self, *outcomes: CallOutcomes) -> None:
        """Record how calls ended."""
        ...


class Unlimited:
    """A rate limiter without a limit, for deliveries without Redis."""

    workers = 1
    paces_recipients = False

    async def allow(self, wanted: int) -> Allowance:
        """Grant all of them."""
        return Allowance(wanted, 0.0, CircuitState.CLOSED)

    async def give_back(self, allowance: Allowance, count: int) -> None:
        """Do nothing: nothing was counted."""

    async def admit(self, recipients: Sequence[bytes]) -> list[float]:
        """Admit all of them."""
        return [0.0] * len(recipients)

    async def report(self, *outcomes: CallOutcomes) -> None:
        """Do nothing: there is no circuit."""


class SharedRateLimiter:
    """The rate limiter and circuit of one integration."""

    def __init__(
        self,
        redis: Redis,
        integration: str,
        pace: Pace | None,
        *,
        rules: CircuitRules | None = None,
        store: SharedScripts | None = None,
    ) -> None:
        # Until the workers are counted: too slow for a moment is better than too fast.
        self.workers = 2
        self._integration = integration
        self._pace = pace
        self._rules = rules or CircuitRules()
        self._store = store or SharedScripts(redis, integration)
        self._local = LocalRateLimit(pace)
        self._key = limiter_key(integration)
        # The scripts read 0 as no rate limit.
        self._interval = MICROSECONDS / pace.per_second if pace else 0
        # By ticket: the trials of this worker, whose leases are renewed.
        self._trials: dict[int, asyncio.Task[None]] = {}

    @property
    def paces_recipients(self) -> bool:
        """Whether the provider limits what one recipient may be sent."""
        return self._pace is not None and self._pace.recipient_interval is not None

    async def allow(self, wanted: int) -> Allowance:
        """Say how many of the wanted messages may be claimed now; one round trip."""
        burst, lease = self._pace.burst if self._pace else 1, self._rules.trial_lease * MICROSECONDS
        answer = await self._store.run(ALLOW, [self._key], wanted, self._interval, burst, lease)
        if answer is None:
            count, retry_in = self._local.allow(wanted, self.workers)
            return Allowance(count, retry_in, CircuitState.CLOSED)
        count, wait, state, ticket, has_changed = answer
        if has_changed:
            log.info("circuit_half_open", integration=self._integration)
        if count and state == b"HALF_OPEN":
            # Only here: if the worker is canceled before the answer comes, nothing renews the lease and it expires.
            self._trials[ticket] = asyncio.create_task(self._renew(ticket))
        return Allowance(count, wait / MICROSECONDS, CircuitState(state.decode()), ticket)

    async def give_back(self, allowance: Allowance, count: int) -> None:
        """Return the part of an allowance that was not used; a trial without a message is free for other workers."""
        if count <= 0:
            return
        if allowance.ticket is None:
            self._local.give_back(count, self.workers)
        else:
            self._end_trial(allowance.ticket)
            await self._store.run(GIVE_BACK, [self._key], count, self._interval, allowance.ticket)

    async def admit(self, recipients: Sequence[bytes]) -> list[float]:
        """Say for each recipient whether a message may go to them now (0.0), or in how many seconds.

        Recipients are hashes. An admitted message counts at once. While Redis is away all are admitted: the provider's
        own limit answers then, and the message is tried again.
        """
        if not recipients or self._pace is None or self._pace.recipient_interval is None:
            return [0.0] * len(recipients)
        keys = [f"interalpha:pair:{self._integration}:{recipient.hex()}" for recipient in recipients]
        interval, burst = self._pace.recipient_interval * MICROSECONDS, self._pace.recipient_burst
        waits = await self._store.run(ADMIT, keys, interval, burst)
        return [0.0] * len(recipients) if waits is None else [wait / MICROSECONDS for wait in waits]

    async def report(self, *outcomes: CallOutcomes) -> None:
        """Record how calls ended; one round trip. Calls that began before the circuit last changed do not count.

        Outcomes without a ticket carry only the pause that the provider asked for, an hour at most.
        """
        pause = min(max((one.pause for one in outcomes), default=0.0), _LONGEST_PAUSE)
        if pause > 0:
            self._local.pause(pause)
        for one in outcomes:
            self._end_trial(one.ticket)
        groups = [_group(one) for one in outcomes if one.ticket is not None]
        if not groups and pause <= 0:
            return
        rules = self._rules
        answer = await self._store.run(
            REPORT,
            [self._key],
            rules.failures,
            rules.refusals,
            rules.first_pause * MICROSECONDS,
            rules.longest_pause * MICROSECONDS,
            random.random(),  # noqa: S311  # spreads load; no secret depends on it
            pause * MICROSECONDS,
            rules.active_for,
            json.dumps(groups),
        )
        if answer is not None:
            self._log_change(*answer)

    async def _renew(self, ticket: int) -> None:
        """Renew a trial's lease until its call has ended or has taken too long."""
        lease, end = self._rules.trial_lease, time.monotonic() + self._rules.longest_trial
        try:
            while time.monotonic() < end:
                await asyncio.sleep(lease / 3)
                if await self._store.run(RENEW, [self._key], lease * MICROSECONDS, ticket) == 0:
                    return
        finally:
            self._trials.pop(ticket, None)

    def _end_trial(self, ticket: int | None) -> None:
        if ticket is not None and (renewal := self._trials.pop(ticket, None)) is not None:
            renewal.cancel()

    def _log_change(self, state: bytes, failures: int, refusals: int, wait: Any, has_changed: int) -> None:
        if not has_changed:
            return
        if state == b"CLOSED":
            # At the level of its opening, so that both are seen.
            log.warning("circuit_closed", integration=self._integration)
            return
        log.warning(
            "circuit_opened",
            integration=self._integration,
            failures=failures,
            retry_in=round(wait / MICROSECONDS, 1),
            advice=_REFUSED_ADVICE if refusals >= self._rules.refusals else _FAILING_ADVICE,
        )


def _group(one: CallOutcomes) -> list[object]:
    """Outcomes as the script reads them; the ticket is text, since the script compares it with text."""
    suspects = [[each.recipient, each.tenant, each.is_refusal] for each in one.suspects]
    return [str(one.ticket), one.successes, one.failures, one.refusals, suspects, sorted(one.tenants)]


class LocalRateLimit:
    """One worker's share of the rate while Redis is away, by its own clock: GCRA like the shared limit."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._due = 0.0
        self._paused_until = 0.0

    def allow(self, wanted: int, workers: int) -> tuple[int, float]:
        """How many messages may be sent now, and in how many seconds to ask for the rest."""
        now = time.monotonic()
        if now < self._paused_until:
            return 0, self._paused_until - now
        if self._pace is None:
            return wanted, 0.0
        interval, burst = self._share(self._pace, workers)
        due = max(self._due, now)
        granted = max(0, min(wanted, math.floor(burst - (due - now) / interval + 0.001)))
        self._due = due + granted * interval
        return granted, max(0.0, self._due - now - (burst - 1) * interval) if granted < wanted else 0.0

    def give_back(self, count: int, workers: int) -> None:
        """Take back what was allowed and not used."""
        if self._pace is not None:
            self._due -= count * self._share(self._pace, workers)[0]

    def pause(self, seconds: float) -> None:
        """Allow nothing for a while."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    @staticmethod
    def _share(pace: Pace, workers: int) -> tuple[float, int]:
        return workers / pace.per_second, max(1, pace.burst // workers)
