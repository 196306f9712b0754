"""The pace one worker keeps by itself while the shared store is away."""

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


class LocalRateLimit:
    """A worker's share of a pace, by its own clock: GCRA like the shared one."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._due = 0.0
        self._paused_until = 0.0

    def allow(self, wanted: int, workers: int) -> tuple[int, float]:
        """How many may be sent now, and in how many seconds to ask for the rest."""
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


# The gate before a company: how many messages a worker may claim now, as all workers together have left it.
#
# One hash in the shared store holds the circuit and the pace. Both are advice: while the store is away the circuit
# counts
# as closed and every worker keeps to its share of the pace.


log = structlog.get_logger(__name__)

_LONGEST_PAUSE = 3_600.0
_FAILING_ADVICE = (
    "It answers with failures: its status page may say more. Messages wait, and one is tried when the time is over."
)
_REFUSED_ADVICE = (
    "It refuses us, not the messages: run `interalpha check --probe`, mend what it names, then reset the circuit."
)


class RateLimiter(Protocol):
    """What a courier asks before and after it calls a company.

    `workers` is among how many the pace is shared while nobody can be asked about it.
    """

    workers: int

    @property
    def paces_recipients(self) -> bool:
        """Whether `admit` can make anybody wait."""
        ...

    async def allow(self, wanted: int) -> Allowance:
        """Say how many of the wanted messages may be claimed now."""
        ...

    async def give_back(self, allowance: Allowance, count: int) -> None:
        """Return what an allowance granted and nobody used."""
        ...

    async def admit(self, recipients: Sequence[bytes]) -> list[float]:
        """Say for each recipient whether a message may go to them now (0.0), or in how many seconds."""
        ...

    async def report(self, *outcomes: CallOutcomes) -> None:
        """Tell how calls ended."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let nobody call for a while, since the company asked for it."""
        ...


class Unlimited:
    """A gate that lets everything through, for whoever has no shared store."""

    workers = 1
    paces_recipients = False

    async def allow(self, wanted: int) -> Allowance:
        """Grant it all."""
        return Allowance(wanted, 0.0, CircuitState.CLOSED)

    async def give_back(self, allowance: Allowance, count: int) -> None:
        """Take nothing back, since nothing was counted."""

    async def admit(self, recipients: Sequence[bytes]) -> list[float]:
        """Let everybody have theirs."""
        return [0.0] * len(recipients)

    async def report(self, *outcomes: CallOutcomes) -> None:
        """Hear it and change nothing."""

    async def pause(self, seconds: float) -> None:
        """Hear it and change nothing."""


class SharedRateLimiter:
    """The gate before one integration."""

    def __init__(
        self,
        redis: Redis,
        integration: str,
        pace: Pace | None,
        *,
        rules: CircuitRules | None = None,
        store: SharedScripts | None = None,
    ) -> None:
        # Until somebody has counted: too slow for a moment is better than too fast.
        self.workers = 2
        self._integration = integration
        self._pace = pace
        self._rules = rules or CircuitRules()
        self._store = store or SharedScripts(redis, integration)
        self._local = LocalRateLimit(pace)
        self._key = limiter_key(integration)
        # What the scripts read as "unpaced" is no time between two messages.
        self._interval = MICROSECONDS / pace.per_second if pace else 0
        # By ticket: the trials under way here, whose leases are renewed.
        self._trials: dict[int, asyncio.Task[None]] = {}

    @property
    def paces_recipients(self) -> bool:
        """Whether the company limits what one recipient may be sent."""
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
            # Only here: a worker that gave up before the answer came renews nothing, and the lease ends by itself.
            self._trials[ticket] = asyncio.create_task(self._renew(ticket))
        return Allowance(count, wait / MICROSECONDS, CircuitState(state.decode()), ticket)

    async def give_back(self, allowance: Allowance, count: int) -> None:
        """Return what an allowance granted and nobody used; a trial with nothing to try is free for others."""
        if count <= 0:
            return
        if allowance.ticket is None:
            self._local.give_back(count, self.workers)
        else:
            self._end_trial(allowance.ticket)
            await self._store.run(GIVE_BACK, [self._key], count, self._interval, allowance.ticket)

    async def admit(self, recipients: Sequence[bytes]) -> list[float]:
        """Say for each recipient whether a message may go to them now (0.0), or in how many seconds.

        Recipients are hashes. What may go is counted at once. With the store away all may go: the company's own limit
        then answers, and the message is tried again.
        """
        if not recipients or self._pace is None or self._pace.recipient_interval is None:
            return [0.0] * len(recipients)
        keys = [f"interalpha:pair:{self._integration}:{recipient.hex()}" for recipient in recipients]
        interval, burst = self._pace.recipient_interval * MICROSECONDS, self._pace.recipient_burst
        waits = await self._store.run(ADMIT, keys, interval, burst)
        return [0.0] * len(recipients) if waits is None else [wait / MICROSECONDS for wait in waits]

    async def report(self, *outcomes: CallOutcomes) -> None:
        """Tell how calls ended; one round trip. Calls begun before the circuit last changed do not count."""
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
            self._tell(*answer)

    async def pause(self, seconds: float) -> None:
        """Let nobody call for a while, an hour at most, since the company asked for it; the circuit stays as it is."""
        await self.report(CallOutcomes(None, pause=seconds))

    async def _renew(self, ticket: int) -> None:
        """Renew a trial's lease until its call has ended, or has taken too long."""
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

    def _tell(self, state: bytes, failures: int, refusals: int, wait: Any, has_changed: int) -> None:
        if not has_changed:
            return
        if state == b"CLOSED":
            # As loud as its opening: whoever saw that waits for this.
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
    """Outcomes as the script reads them; a ticket as text, since it is compared with one."""
    suspects = [[each.recipient, each.tenant, each.is_refusal] for each in one.suspects]
    return [str(one.ticket), one.successes, one.failures, one.refusals, suspects, sorted(one.tenants)]
