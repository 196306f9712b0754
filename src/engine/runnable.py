"""The seam where compiled operations plug in: (document, operation name) → a plan → bytes.

The engine finds or makes a plan for a document and a name, and keeps it. Whatever runs it has this shape, so that
HTTP, sockets and SSE never ask what it is; graphql-core's plan (`engine.plan`) is what a compiled one is compared with.
"""

from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from typing import Any, Protocol

from graphql import OperationType

from engine.answer import Answer
from engine.plan import Plan


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
