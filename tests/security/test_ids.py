"""Every argument that takes an id, found in the schema: foreign, unknown and malformed ids are answered alike.

A new field is attacked as soon as the schema has it; a new type of node fails here until belongings.py makes one.
"""

import json
import re
from typing import Any

import asyncpg
import pytest

from resolvers.global_ids import to_global_id
from resolvers.schema import build_schema
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory
from tests.security.belongings import SHARED_TYPES, Belongings, belongings_of, rows_of_tenant
from tests.security.operations import ArgumentPath, OperationBuilder

pytestmark = pytest.mark.slow
TARGETS = OperationBuilder(build_schema()._schema).targets()
CALLED = [target for target in TARGETS if target.operation != "subscription"]
FOLLOWED = [target for target in TARGETS if target.operation == "subscription"]
BY_NAME = next(target for target in FOLLOWED if target.path[-1] == "ids")
MALFORMED = [
    "",
    "nonsense",
    "☃",
    "===",
    "A" * 10_000,
    "01900000-0000-7000-8000-000000000001",
    "' OR true --",
    str(to_global_id("Message", b"short")),
    str(to_global_id("Message", b"\x00" * 17)),
    str(to_global_id("Tenant", b"\x00" * 16)),
    str(to_global_id("", b"")),
]


# What every batch that is made has of its own.
NEW = re.compile(r'"MessageBatch_id": "[^"]+"|"\d{4}-\d\d-\d\dT[^"]+Z"')


async def answer(operations: OperationBuilder, somebody: Caller, target: ArgumentPath, value: str) -> str:
    """The answer to a caller, with the id they gave left out."""
    heard = await somebody.answer(
        operations.document(target.operation, target.field), **operations.variables(target, value)
    )
    told: dict[str, Any] = {"data": heard.data, "errors": heard.errors}
    return json.dumps(told, default=str, ensure_ascii=False).replace(json.dumps(value, ensure_ascii=False), "<id>")


def without_what_is_new(told: str) -> str:
    return NEW.sub("<new>", told)


def test_there_is_an_argument_of_every_kind() -> None:
    names = {str(target) for target in TARGETS}
    assert names >= {
        "node.id",
        "messages.filter.batchId",
        "sendMessage.input.inReplyTo",
        "sendMessage.input.content.template.templateId",
        "sendMessages.input.messages.inReplyTo",
        "requeueDeadLetters.input.ids",
        "messageStatusChanged.filter.ids",
    }
    assert {target.operation for target in TARGETS} == {"query", "mutation", "subscription"}


async def test_there_is_an_object_of_every_type_to_attack(operations: OperationBuilder, theirs: Belongings) -> None:
    assert theirs.ids.keys() | SHARED_TYPES == operations.node_types()
    assert all(theirs.ids.values())


@pytest.mark.parametrize("target", CALLED, ids=str)
async def test_foreign_unknown_and_malformed_ids_are_answered_alike(
    operations: OperationBuilder,
    caller: Caller,
    stranger: Caller,
    theirs: Belongings,
    owner: asyncpg.Pool,
    factory: RecordFactory,
    target: ArgumentPath,
) -> None:
    await belongings_of(stranger, factory)
    before = await rows_of_tenant(owner, caller.tenant)
    values = [*theirs.every, *theirs.unknown(), *MALFORMED]
    answers = {value: await answer(operations, stranger, target, value) for value in values}
    assert len({without_what_is_new(told) for told in answers.values()}) == 1, answers
    for told in answers.values():
        assert "INTERNAL" not in told
        assert not any(id in told for id in theirs.every)
    assert await rows_of_tenant(owner, caller.tenant) == before


@pytest.mark.parametrize("target", CALLED, ids=str)
async def test_the_owner_gets_another_answer(
    operations: OperationBuilder, caller: Caller, theirs: Belongings, target: ArgumentPath
) -> None:
    """Without this, a request that is refused for another reason would pass for an attack that failed."""
    nothing, *answers = [await answer(operations, caller, target, id) for id in (MALFORMED[1], *theirs.every)]
    assert any(without_what_is_new(told) != without_what_is_new(nothing) for told in answers), nothing


@pytest.mark.parametrize("target", FOLLOWED, ids=str)
async def test_no_caller_can_follow_objects_of_others(
    operations: OperationBuilder, caller: Caller, stranger: Caller, theirs: Belongings, target: ArgumentPath
) -> None:
    """Foreign, unknown and malformed ids are refused alike, and nothing is said of what they name."""

    async def heard(somebody: Caller, value: str) -> str:
        following = somebody.follow(
            operations.document(target.operation, target.field), **operations.variables(target, value)
        )
        answer = await following.answer()
        await following.close()
        return json.dumps({"data": answer.data, "errors": answer.errors}, default=str, ensure_ascii=False)

    values = [*theirs.every, *theirs.unknown(), *MALFORMED]
    told = {value: await heard(stranger, value) for value in values}
    assert len(set(told.values())) == 1, told
    assert "NOT_FOUND" in told[MALFORMED[0]]
    if target == BY_NAME:
        assert await heard(caller, theirs.ids["Message"][0]) not in told.values()
