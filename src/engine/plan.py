"""A plan: a document that graphql-core is ready to run, or the reasons why it cannot run."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Protocol, cast

from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    OperationType,
    create_source_event_stream,
    execute_subscription_event,
)

from engine.answer import Answer, Outcome, Sharing
from engine.cost import Price
from engine.errors import ErrorCode, ErrorWriter, describe, finished
from engine.groundwork import Groundwork


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that cannot be run; its errors are described, but for the request id."""

    outcome: Outcome
    errors: tuple[Mapping[str, Any], ...]

    async def execute(self, variables: Mapping[str, Any] | None, context: object, request_id: str) -> Answer:
        """Tell one client; of the same shape as a plan's, so that no caller has to ask which of the two it has."""
        return Answer.of(self.outcome, errors=[finished(error, request_id, context) for error in self.errors])

    async def stream(
        self,
        variables: Mapping[str, Any] | None,
        context: object,
        request_id: str,
        authority: Hashable = None,
    ) -> AsyncGenerator[Answer, None]:
        """Tell one client, as a stream that ends at once."""
        yield await self.execute(variables, context, request_id)


@dataclass(frozen=True, slots=True)
class Plan:
    """One operation of a document: parsed, within the limits, valid."""

    groundwork: Groundwork
    time_limit: float
    errors: ErrorWriter
    sharing: Sharing
    price: Price = field(default_factory=Price)

    @property
    def kind(self) -> OperationType:
        """Say whether it is a query, a mutation or a subscription."""
        return self.groundwork.operation.operation

    @property
    def name(self) -> str | None:
        """Give the operation's name, if it has one."""
        name = self.groundwork.operation.name
        return name.value if name else None

    def cost(self, variables: Mapping[str, Any] | None) -> int:
        """Count the points it takes to run this."""
        return self.price.of(variables or {})

    async def execute(self, variables: Mapping[str, Any] | None, context: object, request_id: str) -> Answer:
        """Run a query or mutation; never raises, and never takes longer than the time limit."""
        try:
            async with asyncio.timeout(self.time_limit):
                executor = self.groundwork.executor(variables or {}, context)
                if isinstance(executor, list):
                    return self._answer(ExecutionResult(None, errors=executor), request_id, context)
                result = executor.execute_operation()
                done = await result if isawaitable(result) else result
                # Never in pieces: no schema here knows @defer.
                return self._answer(cast("ExecutionResult", done), request_id, context)
        except TimeoutError:
            return self._out_of_time(request_id, context)
        except Exception as error:  # noqa: BLE001  # graphql-core says it raises nothing; logged where it is masked
            return self._broken(error, request_id, context)

    async def stream(
        self,
        variables: Mapping[str, Any] | None,
        context: object,
        request_id: str,
        authority: Hashable = None,
    ) -> AsyncGenerator[Answer, None]:
        """Run any operation and give its answers: one for a query or mutation, one an event for a subscription.

        Subscriptions of callers with equal authority share what they are told; without one, nothing is shared.
        """
        if self.kind is not OperationType.SUBSCRIPTION:
            yield await self.execute(variables, context, request_id)
            return
        try:
            begun = await self._subscribe(variables, context, request_id)
            if isinstance(begun, Answer):
                yield begun
                return
            executor, events = begun
            key = None if authority is None else self.sharing.key_of(variables, authority)
            async with aclosing(events):
                async for event in events:
                    yield await self._tell(executor, event, key, context, request_id)
        except Exception as error:  # noqa: BLE001  # whatever a resolver's generator raises; logged where it is masked
            yield self._broken(error, request_id, context)

    async def _subscribe(
        self, variables: Mapping[str, Any] | None, context: object, request_id: str
    ) -> tuple[Executor[Any], AsyncGenerator[Any, None]] | Answer:
        executor = self.groundwork.executor(variables or {}, context)
        if isinstance(executor, list):
            return self._answer(ExecutionResult(None, errors=executor), request_id, context)
        try:
            async with asyncio.timeout(self.time_limit):
                source = create_source_event_stream(executor)
                events = await source if isawaitable(source) else source
        except TimeoutError:
            return self._out_of_time(request_id, context)
        if isinstance(events, ExecutionResult):
            return self._answer(events, request_id, context)
        return executor, cast("AsyncGenerator[Any, None]", events)

    async def _tell(
        self, executor: Executor[Any], event: Any, key: Hashable, context: object, request_id: str
    ) -> Answer:
        async def execute_event() -> Answer:
            result = execute_subscription_event(executor.build_per_event_executor(event))
            return self._answer(await result if isawaitable(result) else result, request_id, context)

        occasion = getattr(event, "occasion", None)
        if key is None or occasion is None:
            return await execute_event()
        return await self.sharing.once(occasion, key, execute_event)

    def _answer(self, result: ExecutionResult, request_id: str, context: object) -> Answer:
        errors = result.errors or []
        if result.data is None and not any(error.path for error in errors):
            # Only variables that do not fit are found so late and belong to no field.
            described = (describe(error, ErrorCode.VARIABLES) for error in errors)
            return Answer.of(Outcome.REFUSED, errors=[finished(error, request_id, context) for error in described])
        written = [self.errors.write(error, request_id, self.name, context) for error in errors]
        return Answer.of(Outcome.EXECUTED, result.data, written)

    def _out_of_time(self, request_id: str, context: object) -> Answer:
        message = f"The request took longer than {self.time_limit:g} s and was stopped. Quote {request_id}."
        described = describe(GraphQLError(message, extensions={"seconds": self.time_limit}), ErrorCode.TIMEOUT)
        return Answer.of(Outcome.EXECUTED, errors=[finished(described, request_id, context)])

    def _broken(self, error: Exception, request_id: str, context: object) -> Answer:
        located = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
        return Answer.of(Outcome.EXECUTED, errors=[self.errors.write(located, request_id, self.name, context)])


# The interface of plans, so that compiled operations can be added: (document, operation name) → plan → bytes.
#
# The engine finds or makes a plan for a document and a name, and keeps it. Whatever runs it has this shape, so that
# HTTP, sockets and SSE never ask what it is; graphql-core's plan (`engine.plan`) is what a compiled one is compared
# with.


class Runnable(Protocol):
    """One operation, ready to run any number of times."""

    @property
    def kind(self) -> OperationType:
        """Say whether it is a query, a mutation or a subscription."""

    @property
    def name(self) -> str | None:
        """Give the operation's name, if it has one."""

    def cost(self, variables: Mapping[str, Any] | None) -> int:
        """Count the points it takes to run this; what made a plan faster made it no cheaper to the caller."""

    async def execute(self, variables: Mapping[str, Any] | None, context: object, request_id: str) -> Answer:
        """Run a query or mutation and give its bytes; never raises."""

    def stream(
        self,
        variables: Mapping[str, Any] | None,
        context: object,
        request_id: str,
        authority: Hashable = None,
    ) -> AsyncGenerator[Answer, None]:
        """Run any operation and give the bytes of each of its answers; never raises.

        `authority` is equal for callers who may be shown the same: their subscriptions are told the same bytes.
        """


Compile = Callable[[Plan], Runnable | None]
"""Makes something faster of a plan, once for each document; None for what it leaves to graphql-core."""
