"""Compiled operations are used at one place: same arguments, same bytes."""

from collections.abc import AsyncGenerator, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import OperationType

from engine.answer import Answer, Outcome
from engine.engine import Engine
from engine.plan import Plan
from tests.execution.sample import schema, translate


@dataclass(frozen=True)
class Canned:
    """An operation compiled to the bytes it always answers."""

    kind: OperationType
    name: str | None

    def cost(self, variables: Mapping[str, Any] | None) -> int:
        return 1

    async def execute(self, variables: Mapping[str, Any] | None, context: object, request_id: str) -> Answer:
        return Answer(Outcome.EXECUTED, b'{"data":{"hello":"compiled"}}')

    async def stream(
        self, variables: Mapping[str, Any] | None, context: object, request_id: str, authority: Hashable = None
    ) -> AsyncGenerator[Answer, None]:
        yield await self.execute(variables, context, request_id)


async def test_a_compiled_operation_answers_in_the_place_of_graphql_core() -> None:
    asked: list[str | None] = []

    def compile_fast(plan: Plan) -> Canned | None:
        asked.append(plan.name)
        return Canned(plan.kind, plan.name) if plan.name == "Fast" else None

    engine = Engine(schema, translate=translate, compile=compile_fast)
    for _ in range(2):
        fast = await engine.plan("query Fast { hello }").execute(None, None, "r1")
        slow = await engine.plan("query Slow { hello }").execute(None, None, "r1")
        assert (fast.body, slow.body) == (b'{"data":{"hello":"compiled"}}', b'{"data":{"hello":"Hello, you!"}}')
        assert fast.data == {"hello": "compiled"}
    # Once for each document: the plan is kept, and so is what was made of it.
    assert asked == ["Fast", "Slow"]


async def test_what_is_refused_is_never_compiled() -> None:
    asked: list[Plan] = []
    engine = Engine(schema, translate=translate, compile=asked.append)
    assert (await engine.plan("{ nothing }").execute(None, None, "r1")).outcome is Outcome.REFUSED
    assert asked == []
