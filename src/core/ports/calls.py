"""Calling a provider: how a call ended, and the caller that an adapter is handed."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol, TypeVar

from core.errors import FailureReason, OutcomeUnknown, ProviderError, ProviderMisconfigured, ProviderUnavailable

Answer = TypeVar("Answer")


class CallEnd(StrEnum):
    """How a call ended: answered, or refused as a request, by a rate limit, or because of who we are; or not answered.

    FAILED calls certainly did nothing; what UNKNOWN ones did is not known.
    """

    ANSWERED = "ANSWERED"
    REJECTED = "REJECTED"
    LIMITED = "LIMITED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_error(self) -> bool:
        """Whether the provider did not work for us: a refusal of one request and a rate limit are answers."""
        return self in (CallEnd.REFUSED, CallEnd.FAILED, CallEnd.UNKNOWN)


def end_of(error: ProviderError | None) -> CallEnd:
    """How a call ended that raised this error; None is a success."""
    match error:
        case None:
            return CallEnd.ANSWERED
        case ProviderUnavailable(reason=FailureReason.RATE_LIMITED):
            return CallEnd.LIMITED
        case ProviderUnavailable():
            return CallEnd.FAILED
        case ProviderMisconfigured():
            return CallEnd.REFUSED
        case OutcomeUnknown():
            return CallEnd.UNKNOWN
        case _:
            return CallEnd.REJECTED


def always_answered(_answer: object) -> CallEnd:
    """Judge every answer as one."""
    return CallEnd.ANSWERED


class ProviderCalls(Protocol):
    """Makes the calls of one integration: within a deadline, past its circuit breaker, and counted in the ledger."""

    async def call(
        self,
        operation: str,
        work: Callable[[], Awaitable[Answer]],
        *,
        judge: Callable[[Answer], CallEnd] = always_answered,
        deadline: float | None = None,
        through_circuit: bool = False,
    ) -> Answer:
        """Make one call of a named operation. `judge` says how an answer counts; `deadline` is in seconds.

        `through_circuit` refuses the call while the circuit is open, and counts its end there: for integrations that
        send no messages, since deliveries have the same circuit and ask it for many at once. Raises what `work` raises,
        OutcomeUnknown after the deadline, and ProviderUnavailable where the circuit is open.
        """
        ...


class UncountedCalls:
    """Makes calls without counting them, for adapters outside an installation."""

    async def call(
        self,
        operation: str,
        work: Callable[[], Awaitable[Answer]],
        *,
        judge: Callable[[Answer], CallEnd] = always_answered,
        deadline: float | None = None,
        through_circuit: bool = False,
    ) -> Answer:
        """Make the call."""
        return await work()
