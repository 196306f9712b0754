"""A small schema with everything that can succeed or fail, and the edge that serves it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import strawberry
from strawberry.types import Info

from api.http.auth import Authenticator
from api.http.edge import Edge, SchemaAccess, SocketLimits
from api.http.quotas import OpenStreams
from core.errors import AppError, NotFound, Overloaded, Unauthenticated
from core.ports.identity import DEFAULT_TENANT, Principal
from engine.engine import Engine


@dataclass
class Journal:
    """What happened inside: subscriptions opened and closed, names given, contexts made; and when tokens end.

    `refused` is set once Bob's credentials are no longer valid.
    """

    opened: int = 0
    closed: int = 0
    names: list[str] = field(default_factory=list)
    contexts: list["Context"] = field(default_factory=list)
    expiries: dict[str | None, float] = field(default_factory=dict)
    refused: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Context:
    """The context of a resolver."""

    caller: str | None
    request_id: str
    journal: Journal
    languages: Sequence[str] = ()


@strawberry.type
class Box:
    """A thing that holds itself."""

    size: int = 1

    @strawberry.field
    def box(self) -> "Box":
        return Box()


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "you") -> str:
        return f"Hello, {name}!"

    @strawberry.field
    def whoami(self, info: Info[Context, None]) -> str | None:
        return info.context.caller

    @strawberry.field
    def box(self) -> Box:
        return Box()

    @strawberry.field
    def broken(self) -> str | None:
        raise RuntimeError("password=hunter2")

    @strawberry.field
    def missing(self) -> str | None:
        raise NotFound("No such thing.")

    @strawberry.field
    def lying(self) -> str:
        return None  # type: ignore[return-value]

    @strawberry.field
    async def slow(self) -> str:
        await asyncio.sleep(60)
        return "never"


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, info: Info, name: str) -> str:
        info.context.journal.names.append(name)
        return name


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(1, to + 1):
            yield number

    @strawberry.subscription
    async def watch(self, info: Info) -> AsyncGenerator[int, None]:
        """Yield 1 and then nothing more, until it is closed."""
        journal = info.context.journal
        journal.opened += 1
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            journal.closed += 1

    @strawberry.subscription
    async def breaking(self) -> AsyncGenerator[int, None]:
        yield 1
        raise RuntimeError("password=hunter2")


schema = strawberry.Schema(Query, Mutation, Subscription)._schema


def translate(error: BaseException) -> tuple[str, Mapping[str, Any]] | None:
    """Show the errors of the business and nothing else."""
    return (error.message, {"code": error.code}) if isinstance(error, AppError) else None


@dataclass(frozen=True, slots=True)
class Known(Principal):
    """A caller who is known by several tokens."""

    token: str = ""


class SampleAuthenticator(Authenticator):
    """Knows Ada by each of her tokens, and Bob; with the tokens `broken` and `later` the store of tokens fails."""

    recheck_seconds = 0.05

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def authenticate(self, token: str | None) -> Principal | None:
        if token is None:
            return None
        if token == "broken":
            raise RuntimeError("the store of tokens is on fire")
        if token == "later":
            raise Overloaded("The store of tokens does not answer.", retry_after=1.5)
        if token not in ("ada", "ada-2", "ada-3", "bob"):
            raise Unauthenticated("Nobody here issued this token.")
        expires_at = self._journal.expiries.get(token)
        return Known(DEFAULT_TENANT, token.partition("-")[0], frozenset(), expires_at, token=token)

    async def is_valid(self, caller: Principal | None) -> bool:
        return caller is None or caller.subject != "bob" or not self._journal.refused.is_set()


def edge_over(engine: Engine, journal: Journal, **more: Any) -> Edge:
    """Serve an engine to Ada and Bob, who may introspect, and to callers without credentials, who may not."""

    def make_context(caller: Known | None, request_id: str, languages: Sequence[str], _: object) -> Context:
        context = Context(caller.token if caller else None, request_id, journal, languages)
        journal.contexts.append(context)
        return context

    return Edge(
        engine=engine,
        authenticator=SampleAuthenticator(journal),
        make_context=make_context,
        allowed_origins=frozenset({"https://dashboard.example"}),
        schema_access=SchemaAccess.CALLERS,
        streams=OpenStreams(3),
        socket_limits=SocketLimits(operations=3, frame=262_144),
        **more,
    )
