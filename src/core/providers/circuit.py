"""The circuit breaker of each integration: its values, what the end of a call counts as, and reading and resetting it.

`core/providers/rate_limiter.py` asks it before calls and reports to it after them.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import structlog
from redis.asyncio import Redis

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    OutcomeUnknown,
    Overloaded,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.providers.scripts import NOW, READ, RESET
from core.rate_limit import SharedScripts
from core.words import say

log = structlog.get_logger(__name__)

MICROSECONDS = 1_000_000
_DEFAULT_PAUSE = 1.0
"""Seconds to wait when a provider asks us to slow down and does not say for how long."""
_RESET_WITHIN = 1.0
"""Seconds after which a reset that Redis has not carried out no longer takes effect."""


def limiter_key(integration: str) -> str:
    """The Redis key of an integration's circuit and rate limit."""
    return f"interalpha:gate:{integration}"


class CircuitState(StrEnum):
    """CLOSED lets calls through, OPEN holds them back, HALF_OPEN lets one trial call through."""

    CLOSED = "CLOSED"
    HALF_OPEN = "HALF_OPEN"
    OPEN = "OPEN"


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many messages may be claimed now; `retry_in` seconds later it is worth asking for more.

    `ticket` identifies the period between two changes of the circuit in which the calls begin, and goes into the
    `CallOutcomes` of those calls; None while Redis is away. `retry_in` is 0 when all that was wanted was granted.
    """

    count: int
    retry_in: float
    circuit: CircuitState
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """A call that failed, perhaps because of its recipient or of what its tenant sends; both are hashes in hex."""

    recipient: str
    tenant: str
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class CallOutcomes:
    """How calls that began under one ticket ended: answered, failed, or refused because of who we are.

    `failures` and `refusals` are those that any call would have met, and count one by one; `suspects` count by
    recipient and tenant. `tenants` are the hashes of those whose calls ended. `pause` is how many seconds the
    provider asked us to wait.
    """

    ticket: int | None
    successes: int = 0
    failures: int = 0
    refusals: int = 0
    pause: float = 0.0
    suspects: tuple[Suspect, ...] = ()
    tenants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens and for how long: the failures, or refusals of us, in a row; times in seconds.

    A trial's lease lasts `trial_lease` seconds. The worker that has it renews it until its call has ended, for
    `longest_trial` seconds at most. A lease whose worker stopped or died expires, and another worker may try.
    While another tenant's calls have ended within `active_for` seconds, suspects of one tenant alone open nothing.
    """

    failures: int = 10
    refusals: int = 3
    first_pause: float = 5.0
    longest_pause: float = 300.0
    trial_lease: float = 1.5
    longest_trial: float = 40.0
    active_for: float = 600.0


@dataclass(frozen=True, slots=True)
class CircuitView:
    """A circuit as operators are shown it; `opened_at` is when it last left CLOSED.

    `has_refused_us` says that the provider refused us, not the messages, often enough to open it.
    """

    state: CircuitState = CircuitState.CLOSED
    consecutive_failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    has_refused_us: bool = False
    changed_at: datetime | None = field(default=None, compare=False)


class Verdict(StrEnum):
    """What the end of a call says about the provider: it answered, failed, refuses us, or nothing can be said."""

    ANSWERED = "ANSWERED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    NO_EVIDENCE = "NO_EVIDENCE"


@dataclass(frozen=True, slots=True)
class EndedCall:
    """How one call ended: `error` is None for a success, `ticket` is of the allowance under which it began.

    `recipient` is the hash under which the recipient is looked up.
    """

    ticket: int | None
    error: ProviderError | None
    tenant: UUID
    recipient: bytes

    @property
    def suspect(self) -> Suspect:
        """The call as a failure that its recipient or its tenant may have caused."""
        is_refusal = judge_call(self.error) is Verdict.REFUSED
        return Suspect(_digest(self.recipient), _digest(self.tenant.bytes), is_refusal)


def judge_call(error: ProviderError | None) -> Verdict:
    """Judge the end of a call; None is a success.

    A refusal of one message is an answer, and so are a rate limit and a failure of one recipient or template only.
    """
    if error is None:
        return Verdict.ANSWERED
    if error.scope is FailureScope.OURS:
        return Verdict.NO_EVIDENCE
    is_answer = isinstance(error, ProviderRejected) or error.scope is FailureScope.MESSAGE
    if is_answer or (isinstance(error, ProviderUnavailable) and error.reason is FailureReason.RATE_LIMITED):
        return Verdict.ANSWERED
    if isinstance(error, ProviderMisconfigured):
        return Verdict.REFUSED
    if isinstance(error, ProviderUnavailable | OutcomeUnknown):
        return Verdict.FAILED
    return Verdict.ANSWERED


def requested_pause(error: ProviderError | None) -> float:
    """How many seconds all calls should wait: a limit of the sender counts, a limit of one recipient does not."""
    if (
        isinstance(error, ProviderUnavailable)
        and error.reason is FailureReason.RATE_LIMITED
        and error.party is FailureParty.PROVIDER
        and error.scope is not FailureScope.MESSAGE
    ):
        return _DEFAULT_PAUSE if error.retry_after is None else error.retry_after
    return 0.0


def summarize_calls(ended: Iterable[EndedCall]) -> list[CallOutcomes]:
    """Count the ends of calls, those that began under one ticket together, as the rate limiter takes them."""
    groups: dict[int | None, list[EndedCall]] = defaultdict(list)
    for end in ended:
        groups[end.ticket].append(end)
    return [_count(ticket, ends) for ticket, ends in groups.items()]


def _count(ticket: int | None, ends: list[EndedCall]) -> CallOutcomes:
    verdicts = [judge_call(end.error) for end in ends]
    certain = [how for how, end in zip(verdicts, ends, strict=True) if _concerns_provider(end.error)]
    suspects = [
        end.suspect
        for how, end in zip(verdicts, ends, strict=True)
        if how in (Verdict.FAILED, Verdict.REFUSED) and not _concerns_provider(end.error)
    ]
    return CallOutcomes(
        ticket,
        successes=verdicts.count(Verdict.ANSWERED),
        failures=certain.count(Verdict.FAILED),
        refusals=certain.count(Verdict.REFUSED),
        pause=max(requested_pause(end.error) for end in ends),
        suspects=tuple(dict.fromkeys(suspects)),
        tenants=frozenset(_digest(end.tenant.bytes) for end in ends),
    )


def _concerns_provider(error: ProviderError | None) -> bool:
    return error is not None and error.scope is FailureScope.PROVIDER


def _digest(value: bytes) -> str:
    """A short hash, so that Redis holds no address and no look-up hash."""
    return hashlib.blake2b(value, digest_size=8, person=b"circuit").hexdigest()


class Circuits:
    """Reads and resets the circuits of integrations."""

    def __init__(self, redis: Redis) -> None:
        self._store = SharedScripts(redis, "circuits")

    async def read(self, integrations: Collection[str]) -> Mapping[str, CircuitView]:
        """Read circuits in one round trip; while Redis is away all are closed, as workers treat them."""
        found = await self.read_stored(integrations)
        return dict.fromkeys(integrations, CircuitView()) if found is None else found

    async def read_stored(self, integrations: Collection[str]) -> Mapping[str, CircuitView] | None:
        """Read circuits in one round trip; None while Redis is away."""
        names = list(dict.fromkeys(integrations))
        found = await self._store.run(READ, [limiter_key(name) for name in names]) if names else []
        if found is None:
            return None
        return {
            name: CircuitView(
                CircuitState(state.decode()),
                int(failures),
                _moment(opened),
                _moment(retry),
                has_refused_us=int(refusals) >= CircuitRules().refusals,
                changed_at=_moment(changed),
            )
            for name, (state, failures, opened, retry, refusals, changed) in zip(names, found, strict=True)
        }

    async def reset(self, integration: str, *, by: str) -> None:
        """Close a circuit and delete its failures and any pause; `by` is who asked. Raises Overloaded.

        Calls that began before do not count afterwards.
        """
        now = await self._store.run(NOW, [])
        until = None if now is None else now + int(_RESET_WITHIN * MICROSECONDS)
        was_open = None if until is None else await self._store.run(RESET, [limiter_key(integration)], until)
        if was_open is None or was_open < 0:
            text = say(
                "CIRCUITS_AWAY",
                "The store that holds the circuit breakers does not answer, so it is not known whether the circuit was"
                " reset. Reset it again.",
            )
            raise Overloaded(text, retry_after=1.0)
        log.info("circuit_reset", integration=integration, by=by, was_open=bool(was_open))


def _moment(text: bytes) -> datetime | None:
    return datetime.fromtimestamp(int(text) / MICROSECONDS, UTC) if text else None
