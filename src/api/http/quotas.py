"""What one caller may use: cost points per minute, and open sockets and streams.

Callers without credentials have no account: they can only be refused, or read the schema where that is allowed.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from typing import Any

from graphql import GraphQLError

from core.ports.identity import Principal
from core.rate_limit import Budget, BudgetResult
from engine.answer import Outcome
from engine.errors import ErrorCode, describe
from engine.limits import LimitExceeded
from engine.plan import Refusal, Runnable


@dataclass(frozen=True, slots=True)
class Admission:
    """A plan that may run, or a refusal; `allowance` is what the caller has left, None where no caller is charged."""

    plan: Runnable | Refusal
    allowance: BudgetResult | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-07; refused callers also get Retry-After."""
        if self.allowance is None:
            return {}
        headers = {
            "ratelimit-limit": str(self.allowance.limit),
            "ratelimit-remaining": str(self.allowance.remaining),
            "ratelimit-reset": str(ceil(self.allowance.resets_in)),
        }
        if not self.allowance.is_granted:
            headers["retry-after"] = str(max(1, ceil(self.allowance.wait)))
        return headers


@dataclass(frozen=True, slots=True)
class Account:
    """Whose points pay for an operation, and how many a minute holds."""

    name: str
    points: int


@dataclass(frozen=True, slots=True)
class Meter:
    """Charges operations to accounts: each person has one of `caller_points`, the API keys of a tenant share one.

    Keys are free to create: with an account for each, anyone who may create keys would have unlimited points.
    `most` is the highest cost of one operation.
    """

    budget: Budget
    most: int
    caller_points: int
    tenant_points: int

    async def admit(self, plan: Runnable, variables: Mapping[str, Any] | None, caller: Principal | None) -> Admission:
        """Charge for an operation, or refuse it with the reason."""
        cost = plan.cost(variables)
        if cost > self.most:
            error = describe(LimitExceeded("cost", cost, self.most), ErrorCode.LIMIT_EXCEEDED)
            return Admission(Refusal(Outcome.REFUSED, (error,)))
        account = self.account(caller)
        if account is None:
            return Admission(plan)
        allowance = await self.budget.spend(account.name, cost, account.points)
        return Admission(plan if allowance.is_granted else _quota_exceeded(allowance), allowance)

    def account(self, caller: Principal | None) -> Account | None:
        """Find the account of a caller; None for one without credentials."""
        if caller is None:
            return None
        if caller.api_key is not None:
            return Account(f"{caller.tenant_id}:keys", self.tenant_points)
        # The identity provider decides what a subject looks like, so only its hash becomes part of a key in Redis.
        subject = blake2b(caller.subject.encode(), digest_size=12).hexdigest()
        return Account(f"{caller.tenant_id}:{subject}", self.caller_points)


def _quota_exceeded(allowance: BudgetResult) -> Refusal:
    moment = allowance.affordable_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = (
        f"This request costs {allowance.cost} points; {allowance.remaining} of {allowance.limit} points a minute"
        f" are left. Try again at {moment}."
    )
    extensions = {
        "code": "QUOTA_EXCEEDED",
        "cost": allowance.cost,
        "remaining": allowance.remaining,
        "limit": allowance.limit,
        "resetsAt": moment,
    }
    error = describe(GraphQLError(message, extensions=extensions), ErrorCode.LIMIT_EXCEEDED)
    return Refusal(Outcome.EXHAUSTED, (error,))


class TooManyOpen(Exception):
    """The caller has as many sockets and streams open as it may."""


class OpenStreams:
    """Counts the sockets and streams that each caller has open in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def one_of(self, caller: Hashable) -> Iterator[None]:
        """Count one while the block runs; raises TooManyOpen."""
        if self._open[caller] >= self._most:
            raise TooManyOpen
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
