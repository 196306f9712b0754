"""Faults of simulated providers: what can go wrong in a call, when, and how it looks."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, Field, model_validator

Answer = TypeVar("Answer")


class FaultKind(StrEnum):
    """The ways to go wrong."""

    CODE = "code"
    """The provider's own error `code`."""
    RATE_LIMIT = "rate_limit"
    """429, with Retry-After when `retry_after` is given."""
    SERVER_ERROR = "server_error"
    """500."""
    TIMEOUT = "timeout"
    """No answer: for `seconds`, or for ever."""
    RESET = "reset"
    """The connection is reset instead of an answer."""
    GARBAGE = "garbage"
    """A 2xx answer with a page of HTML in it, as from a broken proxy."""
    SLOW = "slow"
    """Everything as usual, after `seconds`."""


MAY_BE_ACCEPTED = frozenset({FaultKind.SERVER_ERROR, FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.GARBAGE})


class RetryAfterForm(StrEnum):
    """The two spellings of Retry-After."""

    SECONDS = "seconds"
    DATE = "date"


class FaultOrder(BaseModel, frozen=True, extra="forbid"):
    """A fault to arm. Exactly one of `next`, `every` and `always` says when it strikes.

    `accepted` means that the provider did what was asked and only its answer is lost. `at` names a point of the
    provider (its first one when absent), `to` narrows the fault to one recipient.
    """

    kind: FaultKind
    next: Annotated[int, Field(ge=1)] | None = None
    every: Annotated[int, Field(ge=1)] | None = None
    always: bool = False
    at: str | None = None
    to: str | None = None
    accepted: bool = False
    code: str | None = None
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    text: str | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None
    retry_after_as: RetryAfterForm = RetryAfterForm.SECONDS
    seconds: Annotated[float, Field(gt=0, le=3600)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.next is not None) + (self.every is not None) + self.always != 1:
            raise ValueError("give exactly one of next, every and always")
        if self.accepted and self.kind not in MAY_BE_ACCEPTED:
            raise ValueError(f"{self.kind} cannot be accepted: its answer says that nothing was done, or all of it")
        if (self.code is not None) != (self.kind is FaultKind.CODE):
            raise ValueError("code belongs to the kind 'code', which needs one")
        if self.kind is FaultKind.SLOW and self.seconds is None:
            raise ValueError("slow needs seconds")
        return self


@dataclass(slots=True)
class Fault:
    """An armed fault and what it has done so far."""

    id: str
    order: FaultOrder
    at: str
    seen: int = 0
    struck: int = 0

    @property
    def is_spent(self) -> bool:
        return self.order.next is not None and self.struck >= self.order.next

    @property
    def prevents(self) -> bool:
        """Whether what was asked is not done."""
        return not self.order.accepted and self.order.kind is not FaultKind.SLOW

    def strikes(self, at: str, to: str | None) -> bool:
        """Count a request that passes by, and say whether it is hit."""
        if self.is_spent or at != self.at or self.order.to not in (None, to):
            return False
        self.seen += 1
        hit = self.order.every is None or self.seen % self.order.every == 0
        self.struck += hit
        return hit


@dataclass(slots=True)
class Faults:
    """The faults armed for one provider; the oldest that strikes wins."""

    armed: list[Fault] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def arm(self, order: FaultOrder, at: str) -> Fault:
        """Arm a fault at a point the provider has."""
        fault = Fault(id=f"fault-{next(self._numbers)}", order=order, at=at)
        self.armed.append(fault)
        return fault

    def disarm(self, fault_id: str | None = None) -> int:
        """Take one fault away, or all; returns how many went."""
        kept = [] if fault_id is None else [fault for fault in self.armed if fault.id != fault_id]
        gone = len(self.armed) - len(kept)
        self.armed[:] = kept
        return gone

    def strike(self, at: str, to: str | None = None) -> Fault | None:
        """The fault that hits a request passing this point, if any."""
        return next((fault for fault in self.armed if fault.strikes(at, to)), None)


@dataclass(frozen=True, slots=True)
class CallerConnection:
    """The connection to a caller: `is_gone` says whether the caller has hung up."""

    transport: asyncio.BaseTransport | None
    is_gone: Callable[[], bool]

    async def hold(self, seconds: float | None) -> None:
        """Keep the caller waiting, for ever unless seconds are given; ends early when the caller hangs up."""
        clock = asyncio.get_running_loop()
        end = None if seconds is None else clock.time() + seconds
        while not self.is_gone() and (end is None or clock.time() < end):  # noqa: ASYNC110, a hang-up has no event
            await asyncio.sleep(0.02)

    def reset(self) -> None:
        """Reset the connection, so that the caller sees ECONNRESET and not an orderly end."""
        if not isinstance(self.transport, asyncio.WriteTransport):
            return
        plug = self.transport.get_extra_info("socket")
        if plug is not None and plug.fileno() >= 0:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def respond_under_fault(
    fault: Fault | None, line: CallerConnection, perform: Callable[[], Answer], excuse: Callable[[FaultOrder], Answer]
) -> Answer | None:
    """Do what was asked, under a fault; None means that the caller gets no answer and the line is cut.

    `perform` does it and answers as usual; `excuse` words the provider's answer for the fault, having done nothing.
    """
    if fault is None:
        return perform()
    order = fault.order
    if order.kind is FaultKind.SLOW:
        await asyncio.sleep(order.seconds or 0)
        return perform()
    answer = perform() if order.accepted else None
    if order.kind is FaultKind.TIMEOUT:
        await line.hold(order.seconds)
        if order.seconds is not None and not line.is_gone():
            return answer or excuse(order)
    if order.kind in (FaultKind.TIMEOUT, FaultKind.RESET):
        line.reset()
        return None
    return excuse(order)
