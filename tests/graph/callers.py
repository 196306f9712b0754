"""A caller of the GraphQL engine, its answers and its subscriptions."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import event

from api.bootstrap import App
from core.ports.identity import Principal
from core.rate_limit import BudgetResult
from engine.answer import Answer
from engine.engine import Engine
from resolvers.context import Context

REQUEST = "test-request"
PLENTY = BudgetResult(is_granted=True, limit=60_000, remaining=59_990, cost=10, resets_in=0.01)


@dataclass
class Caller:
    """A caller with a tenant and scopes."""

    application: App
    engine: Engine
    principal: Principal | None
    languages: tuple[str, ...] = ()

    @property
    def tenant(self) -> UUID:
        assert self.principal is not None
        return self.principal.tenant_id

    def context(self) -> Context:
        return Context(self.application.services, self.principal, REQUEST, self.languages, rate_limit=PLENTY)

    async def answer(self, document: str, **variables: Any) -> Answer:
        plan = self.engine.plan(document)
        return await plan.execute(variables, self.context(), REQUEST)

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation in which nothing went wrong."""
        answer = await self.answer(document, **variables)
        assert answer.errors == []
        assert answer.data is not None
        return dict(answer.data)

    async def code(self, document: str, **variables: Any) -> str:
        """The code of the one error an operation ends with."""
        [error] = (await self.answer(document, **variables)).errors
        return str(error["extensions"]["code"])

    def follow(self, document: str, **variables: Any) -> "Following":
        return Following(self.engine.plan(document).stream(variables, self.context(), REQUEST))


class Following:
    """A subscription under way."""

    def __init__(self, answers: AsyncGenerator[Answer, None]) -> None:
        self._answers = answers

    async def next(self, seconds: float = 5) -> dict[str, Any]:
        """The next event's data."""
        answer = await self.answer(seconds)
        assert answer.errors == []
        return dict(answer.data or {})

    async def answer(self, seconds: float = 5) -> Answer:
        async with asyncio.timeout(seconds):
            return await anext(self._answers)

    async def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for a while; the subscription is over then."""
        try:
            await self.answer(seconds)
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        await self._answers.aclose()


@contextmanager
def statements(application: App) -> Iterator[list[str]]:
    """Every statement the application has run in its database meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = application.database.engine.sync_engine
    event.listen(engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "after_cursor_execute", note)


NewCaller = Callable[..., Awaitable[Caller]]
