"""Every list of the schema with everything its items lead to: many items cost as many statements as one."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from graphql import (
    GraphQLField,
    GraphQLNamedType,
    get_named_type,
    is_composite_type,
    is_list_type,
    is_required_argument,
)
from graphql.type import GraphQLNonNull, GraphQLUnionType

from api.bootstrap import App
from core.ports.content import Filled
from engine.engine import Engine
from engine.limits import Limits
from resolvers.errors import translate
from resolvers.schema import build_schema
from tests.delivery.round_trips import round_trips
from tests.graph.callers import Caller, statements
from tests.graph.factories import RecordFactory, create_api_key, dead_letter_id, global_id

CORE = build_schema()._schema
DEPTH = 4


def selection(type_: GraphQLNamedType, depth: int) -> str:
    """Select all there is, as deep as that."""
    if isinstance(type_, GraphQLUnionType):
        members = [f"... on {one} {inner}" for one in type_.types if (inner := selection(one, depth))]
        return "{ __typename " + " ".join(_renamed(members)) + " }"
    found = []
    for name, field in getattr(type_, "fields", {}).items():
        named = get_named_type(field.type)
        if any(is_required_argument(argument) for argument in field.args.values()) or _is_page_in_a_page(type_, field):
            continue
        if not is_composite_type(named):
            found.append(name)
        elif depth and (inner := selection(named, depth - 1)):
            found.append(f"{name} {inner}")
    return "{ " + " ".join(found) + " }" if found else ""


def _renamed(members: list[str]) -> list[str]:
    """Members of a union may call different things by one name: each is selected under a name of its own."""
    return [member.replace(" status ", f" s{place}: status ") for place, member in enumerate(members)]


def _is_page_in_a_page(type_: GraphQLNamedType, field: GraphQLField) -> bool:
    """A batch's own page is read for each batch, and paid for: the price of the operation counts it for each."""
    return type_.name == "MessageBatch" and str(get_named_type(field.type)).endswith("Connection")


def lists(type_: GraphQLNamedType) -> Iterator[str]:
    """The lists a type leads to directly."""
    for name, field in getattr(type_, "fields", {}).items():
        inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        if is_list_type(inner) or str(get_named_type(field.type)).endswith("Connection"):
            yield name


ONE = {"to": {"phone": "+5511987654321"}, "content": {"text": "Oi"}, "route": [{"channel": "SMS"}]}
SEND = "mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { batch { id } } }"


async def _messages(caller: Caller, factory: RecordFactory) -> None:
    filled = Filled(await factory.template(caller), {"day": "hoje"})
    message = await factory.message(caller, attempts=2, filled=filled, in_reply_to=await factory.message(caller))
    await factory.webhook(caller, message=message)
    await caller.ask(SEND, input={"messages": [ONE], "idempotencyKey": message.hex})


async def _templates(caller: Caller, factory: RecordFactory) -> None:
    await factory.template(caller)


async def _webhooks(caller: Caller, factory: RecordFactory) -> None:
    await factory.webhook(caller, message=await factory.message(caller, attempts=2))


async def _dead_letters(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, attempts=2)
    await factory.dead_letter(caller, message=message, webhook=await factory.webhook(caller, message=message))


async def _problems(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, attempts=2)
    await factory.problem(caller, subject_kind="Message", subject_id=message)


async def _api_keys(caller: Caller, factory: RecordFactory) -> None:
    await create_api_key(caller)


async def _nothing(caller: Caller, factory: RecordFactory) -> None:
    """The integrations are as many as there are."""


MORE: dict[str, Callable[[Caller, RecordFactory], Awaitable[None]]] = {
    "messages(first: 50)": _messages,
    "templates(first: 50)": _templates,
    "webhookDeliveries(first: 50)": _webhooks,
    "deadLetters(first: 50)": _dead_letters,
    "problems(first: 50)": _problems,
    "apiKeys(first: 50)": _api_keys,
    "auditEvents(first: 50)": _api_keys,
    "integrations": _nothing,
    "dashboard": _dead_letters,
}
# What leads to one object, whose own lists are tried where lists of it are; or to a batch, tried below.
SINGLE = {"node", "viewer", "message", "template", "messageBatch"}


@pytest.fixture(scope="module")
def roomy() -> Engine:
    """An engine that lets a document be as large as these."""
    limits = Limits(**{one.name: 100_000 for one in fields(Limits) if one.name != "nesting"})
    return Engine(CORE, translate=translate, limits=limits)


def test_every_list_of_the_query_is_tried() -> None:
    assert CORE.query_type is not None
    tried = {place.partition("(")[0] for place in MORE} | {"nodes"}
    assert tried >= set(lists(CORE.query_type))
    assert tried | SINGLE == set(CORE.query_type.fields)


def test_every_mutation_that_answers_with_a_list_is_tried() -> None:
    assert CORE.mutation_type is not None
    answers = {name: get_named_type(field.type) for name, field in CORE.mutation_type.fields.items()}
    # The steps of a route that are left out are known when the route was checked.
    known = {"errors", "skipped"}
    assert {name for name, payload in answers.items() if set(lists(payload)) - known} == set(TAKEN)


@pytest.mark.parametrize("place", MORE)
async def test_many_items_cost_the_statements_of_one(
    caller: Caller, factory: RecordFactory, application: App, roomy: Engine, place: str
) -> None:
    assert CORE.query_type is not None
    type_ = get_named_type(CORE.query_type.fields[place.partition("(")[0]].type)
    document = f"{{ {place} {selection(type_, DEPTH)} }}"
    operations = Caller(caller.application, roomy, caller.principal)
    counts = []
    for missing in (1, 19):
        for _ in range(missing):
            await MORE[place](caller, factory)
        with statements(application) as seen:
            await operations.ask(document)
        counts.append(len(seen))
    assert counts[0] == counts[1], document


NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Message %s } }"


async def test_many_nodes_cost_the_statements_of_one(
    caller: Caller, factory: RecordFactory, application: App, roomy: Engine
) -> None:
    type_ = CORE.get_type("Message")
    assert type_ is not None
    operations = Caller(caller.application, roomy, caller.principal)
    counts = []
    for count in (1, 20):
        ids = [global_id(await factory.message(caller, attempts=2)) for _ in range(count)]
        with statements(application) as seen:
            await operations.ask(NODES % selection(type_, DEPTH), ids=ids)
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def test_many_messages_of_a_batch_cost_the_statements_of_one(
    caller: Caller, application: App, roomy: Engine
) -> None:
    type_ = CORE.get_type("MessageConnection")
    assert type_ is not None
    inner = selection(type_, DEPTH)
    document = f"query ($id: ID!) {{ messageBatch(id: $id) {{ counts {{ total }} messages(first: 50) {inner} }} }}"
    operations = Caller(caller.application, roomy, caller.principal)
    counts = []
    for size in (1, 20):
        given = {"messages": [ONE] * size, "idempotencyKey": f"of-{size}"}
        batch = (await caller.ask(SEND, input=given))["sendMessages"]["batch"]["id"]
        with statements(application) as seen:
            found = (await operations.ask(document, id=batch))["messageBatch"]
        assert len(found["messages"]["nodes"]) == size
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def _sent(caller: Caller, factory: RecordFactory, size: int) -> dict[str, Any]:
    return {"messages": [ONE] * size, "idempotencyKey": f"sent-{size}"}


async def _letters(caller: Caller, factory: RecordFactory, size: int) -> dict[str, Any]:
    failed = [await factory.message(caller, status="FAILED", attempts=1) for _ in range(size)]
    return {"ids": [dead_letter_id(await factory.dead_letter(caller, message=one)) for one in failed]}


# Each mutation that answers with a list: what it takes, for so many items of its answer.
TAKEN: dict[str, Callable[[Caller, RecordFactory, int], Awaitable[dict[str, Any]]]] = {
    "sendMessages": _sent,
    "requeueDeadLetters": _letters,
    "discardDeadLetters": _letters,
}


@pytest.mark.parametrize("name", TAKEN)
async def test_many_items_of_a_mutation_cost_the_statements_of_one(
    caller: Caller, factory: RecordFactory, application: App, roomy: Engine, name: str
) -> None:
    assert CORE.mutation_type is not None
    payload = get_named_type(CORE.mutation_type.fields[name].type)
    capital = name[0].upper() + name[1:]
    document = f"mutation ($input: {capital}Input!) {{ {name}(input: $input) {selection(payload, DEPTH)} }}"
    operations = Caller(caller.application, roomy, caller.principal)
    counts = []
    for size in (1, 20):
        given = await TAKEN[name](caller, factory, size)
        async with round_trips(application.database) as seen:
            answer = (await operations.ask(document, input=given))[name]
        assert answer["errors"] == []
        assert max(len(one) for one in answer.values() if isinstance(one, list)) == size
        counts.append(len(seen))
    assert counts[0] == counts[1], document
