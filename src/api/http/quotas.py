"""What one caller may use: cost points per minute, and open sockets and streams."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from typing import Any

from graphql import GraphQLError, OperationType

from core.ports.principal import Principal
from core.rate_limit import Budget, BudgetResult
from engine.answer import Answer, Outcome
from engine.errors import ErrorCode, describe
from engine.limits import LimitExceeded
from engine.plan import Refusal, Runnable
from resolvers.context import Context


@dataclass(frozen=True, slots=True)
class Metered:
    """A plan that is paid for; what is left is told to the resolvers too."""

    plan: Runnable
    allowance: BudgetResult

    @property
    def kind(self) -> OperationType:
        """Say whether it is a query, a mutation or a subscription."""
        return self.plan.kind

    @property
    def name(self) -> str | None:
        """Give the operation's name, if it has one."""
        return self.plan.name

    def cost(self, variables: Mapping[str, Any] | None) -> int:
        """Count the points it takes to run this."""
        return self.plan.cost(variables)

    async def execute(self, variables: Mapping[str, Any] | None, context: object, request_id: str) -> Answer:
        """Run a query or mutation and give its bytes; never raises."""
        return await self.plan.execute(variables, self._told(context), request_id)

    def stream(
        self,
        variables: Mapping[str, Any] | None,
        context: object,
        request_id: str,
        authority: Hashable = None,
    ) -> AsyncGenerator[Answer, None]:
        """Run any operation and give the bytes of each of its answers; never raises."""
        return self.plan.stream(variables, self._told(context), request_id, authority)

    def _told(self, context: object) -> object:
        if isinstance(context, Context):
            context.rate_limit = self.allowance
        return context


@dataclass(frozen=True, slots=True)
class Exhausted(Refusal):
    """An operation its caller has no points left for."""

    allowance: BudgetResult


@dataclass(frozen=True, slots=True)
class Account:
    """Whose points an operation is paid with, and how many a minute holds."""

    name: str
    points: int


@dataclass(frozen=True, slots=True)
class Meter:
    """Prices operations and takes the price: `account` says whose points they are, or None for nobody's."""

    budget: Budget
    most: int
    account: Callable[[Any], Account | None]

    async def admit(self, plan: Runnable, variables: Mapping[str, Any] | None, caller: Any) -> Runnable | Refusal:
        """Let an operation run, with what is left; or say why it may not."""
        cost = plan.cost(variables)
        if cost > self.most:
            return Refusal(
                Outcome.REFUSED, (describe(LimitExceeded("cost", cost, self.most), ErrorCode.LIMIT_EXCEEDED),)
            )
        account = self.account(caller)
        if account is None:
            return plan
        allowance = await self.budget.spend(account.name, cost, account.points)
        return Metered(plan, allowance) if allowance.is_granted else _exhausted(allowance)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Whose points callers pay with: each person has an own account of `caller` points, the keys of a tenant share one.

    Keys cost nothing to make: with an account for each, who may make keys would have as many points as they like.
    """

    caller: int
    tenant: int

    def __call__(self, caller: Principal | None) -> Account | None:
        """Find a caller's account; None for strangers, who have none."""
        if caller is None:
            return None
        if caller.api_key is not None:
            return Account(f"{caller.tenant_id}:keys", self.tenant)
        # A subject is whatever somebody else's identity provider makes it.
        subject = blake2b(caller.subject.encode(), digest_size=12).hexdigest()
        return Account(f"{caller.tenant_id}:{subject}", self.caller)


def budget_headers(plan: Runnable | Refusal) -> dict[str, str]:
    """Say what is left (the fields of draft-ietf-httpapi-ratelimit-headers-07), and when to come back."""
    if not isinstance(plan, Metered | Exhausted):
        return {}
    allowance = plan.allowance
    headers = {
        "ratelimit-limit": str(allowance.limit),
        "ratelimit-remaining": str(allowance.remaining),
        "ratelimit-reset": str(ceil(allowance.resets_in)),
    }
    return headers if allowance.is_granted else {**headers, "retry-after": str(max(1, ceil(allowance.wait)))}


def _exhausted(allowance: BudgetResult) -> Exhausted:
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
    return Exhausted(Outcome.EXHAUSTED, (error,), allowance)


# Who we are among processes, and how many sockets and streams each caller has open here.


class TooManyOpen(Exception):
    """A caller has as many open as it may."""


class OpenStreams:
    """Counts what each caller has open in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def of(self, who: Hashable) -> Iterator[None]:
        """Count one while the block runs; raises TooManyOpen."""
        if self._open[who] >= self._most:
            raise TooManyOpen
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]
