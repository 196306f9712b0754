"""A house without a worker over one database, and callers who ask it: every test has tenants of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import event

from api.bootstrap import House, build_house
from api.configuration import load_configuration
from core.access.principal import Principal, Scope
from core.identifiers import uuid7
from engine.answer import Answer
from engine.engine import Engine
from engine.plan import Plan
from resolvers.context import Context
from resolvers.errors import translate
from resolvers.schema import build_schema
from tests.conftest import KEY, Running, Urls

# A port on which nobody answers: nothing in these tests is sent.
NOWHERE = "http://127.0.0.1:9"
TWILIO = {
    "TWILIO_ACCOUNT_SID": f"AC{'0' * 32}",
    "TWILIO_AUTH_TOKEN": "a" * 32,
    "TWILIO_PHONE_NUMBER": "+15005550006",
    "TWILIO_API_BASE": NOWHERE,
}
SMTP = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9", "SMTP_TLS": "none", "SMTP_FROM": "Ana <ana@example.com>"}


def house_over(urls: Urls, **changes: str) -> House:
    """A house over these stores, with both integrations; `changes` go into its environment."""
    environment = {
        "APP_ENV": "test",
        "DATABASE_URL": urls.app,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k1:{KEY}",
        "PUBLIC_BASE_URL": "https://api.example.com",
        **TWILIO,
        **SMTP,
        **changes,
    }
    return build_house(load_configuration({name: value for name, value in environment.items() if value}))


@dataclass
class Caller:
    """Somebody who asks, for one tenant and with some rights."""

    house: House
    engine: Engine
    principal: Principal | None

    @property
    def tenant(self) -> UUID:
        assert self.principal is not None
        return self.principal.tenant_id

    def context(self) -> Context:
        return Context(self.house.services, self.principal, "test-request")

    async def answer(self, document: str, **variables: Any) -> Answer:
        plan = self.engine.plan(document)
        return await plan.execute(variables, self.context(), "test-request")

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
        plan = self.engine.plan(document)
        assert isinstance(plan, Plan)
        return Following(plan.stream(variables, self.context(), "test-request"))


class Following:
    """A subscription under way."""

    def __init__(self, answers: Any) -> None:
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


@pytest.fixture(scope="session")
async def graph_urls(stores: Running) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="session")
async def house(graph_urls: Urls) -> AsyncIterator[House]:
    """The house, hearing hints as a server does."""
    built = house_over(graph_urls)
    hearing = asyncio.create_task(built.hub.run())
    yield built
    hearing.cancel()
    with suppress(asyncio.CancelledError):
        await hearing
    await built.close()


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(build_schema()._schema, translate=translate)


@pytest.fixture(scope="session")
async def owner(graph_urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    """Connections that may do to the tables what only time or a worker does."""
    async with asyncpg.create_pool(graph_urls.direct, min_size=0, max_size=4) as pool:
        yield pool


NewCaller = Callable[..., Awaitable[Caller]]


@pytest.fixture
def new_caller(house: House, engine: Engine, owner: asyncpg.Pool) -> NewCaller:
    """Make a tenant and somebody who may ask on its behalf."""

    async def make(scopes: Collection[Scope] = frozenset(Scope)) -> Caller:
        tenant = uuid4()
        await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Another', 'UTC', 'EUR')", tenant, tenant.hex)
        return Caller(house, engine, Principal(tenant, "test", frozenset(scopes)))

    return make


@pytest.fixture
async def caller(new_caller: NewCaller) -> Caller:
    return await new_caller()


@pytest.fixture
async def stranger(new_caller: NewCaller) -> Caller:
    """Somebody of another tenant, with every right there."""
    return await new_caller()


@pytest.fixture
def nobody(house: House, engine: Engine) -> Caller:
    return Caller(house, engine, None)


@contextmanager
def statements(house: House) -> Iterator[list[str]]:
    """Every statement the house sends to its database meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = house.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
