"""The audit log: every mutation writes an event in its own transaction."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from graphql import GraphQLSchema
from sqlalchemy import text

from core.database import Database
from core.errors import AppError, Overloaded
from core.ports.identity import ActorKind, Scope
from resolvers.global_ids import to_global_id
from resolvers.schema import build_schema
from tests.graph.callers import REQUEST, Caller, NewCaller, statements
from tests.graph.factories import PHONE, RecordFactory, global_id
from tests.security.operations import OperationBuilder

SCHEMA = build_schema()._schema
assert SCHEMA.mutation_type is not None
MUTATIONS = sorted(SCHEMA.mutation_type.fields)

EVENTS = """query ($first: Int, $after: String, $last: Int, $before: String, $filter: AuditEventFilter) {
  auditEvents(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    nodes { id at actor onBehalf kind action targetType targetId requestId outcome code }
    edges { cursor }
    pageInfo { hasNextPage hasPreviousPage endCursor startCursor }
  } }"""
CANCEL = "mutation ($id: ID!) { cancelMessage(input: {id: $id}) { message { id } errors { __typename } } }"
SEND = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  message { id } isReplay errors { __typename } } }"""
DISCARD = """mutation ($ids: [ID!]!) { discardDeadLetters(input: {ids: $ids}) {
  deadLetters { id } errors { __typename } } }"""


async def events(caller: Caller, **arguments: Any) -> list[dict[str, Any]]:
    return list((await caller.ask(EVENTS, **arguments))["auditEvents"]["nodes"])


def message(**more: Any) -> dict[str, Any]:
    return {"to": {"phone": PHONE}, "content": {"text": "Olá"}, "route": [{"channel": "SMS"}], **more}


@pytest.fixture(scope="module")
def operations() -> OperationBuilder:
    schema: GraphQLSchema = SCHEMA
    return OperationBuilder(schema)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_every_mutation_of_the_schema_leaves_an_event(
    caller: Caller, operations: OperationBuilder, name: str
) -> None:
    capital = name[0].upper() + name[1:]
    document = f"mutation ($input: {capital}Input!) {{ {name}(input: $input) {{ __typename }} }}"
    await caller.answer(document, **operations.request("mutation", name))
    [event] = await events(caller)
    assert (event["action"], event["actor"], event["requestId"]) == (name, "test", REQUEST)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_every_forbidden_mutation_is_recorded_too(
    new_caller: NewCaller, operations: OperationBuilder, name: str
) -> None:
    caller = await new_caller(frozenset({Scope.OPERATIONS_READ}))
    capital = name[0].upper() + name[1:]
    document = f"mutation ($input: {capital}Input!) {{ {name}(input: $input) {{ __typename }} }}"
    await caller.answer(document, **operations.request("mutation", name))
    [event] = await events(caller)
    assert (event["action"], event["outcome"], event["code"]) == (name, "REFUSED", "FORBIDDEN")


async def test_what_was_done_names_its_object(caller: Caller, factory: RecordFactory) -> None:
    id = global_id(await factory.message(caller))
    await caller.ask(CANCEL, id=id)
    [event] = await events(caller)
    expected = {"action": "cancelMessage", "targetType": "Message", "targetId": id, "outcome": "DONE", "code": None}
    assert event.items() >= expected.items()


async def test_what_was_refused_names_it_and_says_why(caller: Caller, factory: RecordFactory) -> None:
    done, refused = await factory.dead_letter(caller), await factory.dead_letter(caller, resolution="REQUEUED")
    ids = [to_global_id("DeadLetter", one.bytes) for one in (done, refused, uuid4())]
    await caller.ask(DISCARD, ids=[*ids, "nonsense"])
    found = {event["targetId"]: (event["outcome"], event["code"]) for event in await events(caller)}
    assert found == {
        ids[0]: ("DONE", None),
        ids[1]: ("REFUSED", "ALREADY_DECIDED"),
        ids[2]: ("REFUSED", "DEAD_LETTER_NOT_FOUND"),
        None: ("REFUSED", "DEAD_LETTER_NOT_FOUND"),
    }


async def test_a_message_is_the_event_of_its_own_sending(caller: Caller) -> None:
    with statements(caller.application) as said:
        sent = (await caller.ask(SEND, input=message()))["sendMessage"]["message"]["id"]
    assert not [one for one in said if "audit_events" in one]
    [event] = await events(caller)
    expected = {"action": "sendMessage", "targetId": sent, "outcome": "DONE", "kind": "PERSON", "requestId": REQUEST}
    assert event.items() >= expected.items()


async def test_a_message_found_again_by_its_key_was_sent_once(caller: Caller) -> None:
    for _ in range(2):
        await caller.ask(SEND, input=message(idempotencyKey="one"))
    assert len(await events(caller)) == 1


async def test_a_refused_message_is_recorded_without_its_content(caller: Caller) -> None:
    await caller.ask(SEND, input=message(to={"phone": "+551199999999999"}))
    [event] = await events(caller)
    assert (event["outcome"], event["code"], event["targetId"]) == ("REFUSED", "PHONE_INVALID", None)


async def test_an_actor_on_behalf_of_another_is_recorded_beside_them(caller: Caller, factory: RecordFactory) -> None:
    assert caller.principal is not None
    caller.principal = replace(caller.principal, actor="user_support", kind=ActorKind.KEY)
    await caller.ask(SEND, input=message())
    await caller.ask(CANCEL, id=global_id(await factory.message(caller)))
    found = {(event["action"], event["actor"], event["onBehalf"], event["kind"]) for event in await events(caller)}
    assert found == {
        ("sendMessage", "test", "user_support", "KEY"),
        ("cancelMessage", "test", "user_support", "KEY"),
    }


async def test_act_and_event_are_one_transaction(
    caller: Caller, factory: RecordFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An act whose event cannot be written is not done."""
    from core.audit.act import Act

    async def broken(*_: object, **__: object) -> None:
        raise Overloaded("The event cannot be written.", retry_after=1)

    monkeypatch.setattr(Act, "done", broken)
    put = await factory.message(caller)
    assert await caller.code(CANCEL, id=global_id(put)) == "TRY_AGAIN"
    assert await factory.owner.fetchval("SELECT status FROM messages WHERE id = $1", put) == "QUEUED"


async def test_a_mutation_without_an_audit_rule_is_still_recorded(
    caller: Caller, factory: RecordFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.messages.mutations.cancel", _forgetful)
    await caller.ask(CANCEL, id=global_id(await factory.message(caller)))
    [event] = await events(caller)
    assert (event["action"], event["outcome"], event["targetId"]) == ("cancelMessage", "DONE", None)


async def _forgetful(*_: object, **__: object) -> None:
    return None


async def test_pages_follow_each_other_in_both_directions(caller: Caller, factory: RecordFactory) -> None:
    for place in range(3):
        await caller.ask(SEND, input=message(idempotencyKey=f"{place}"))
        await caller.ask(CANCEL, id=global_id(await factory.message(caller)))
    every = [event["id"] for event in await events(caller)]
    assert len(every) == 6
    seen: list[str] = []
    after = None
    for _ in range(3):
        page = (await caller.ask(EVENTS, first=2, after=after))["auditEvents"]
        seen += [event["id"] for event in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert seen == every
    assert page["pageInfo"]["hasNextPage"] is False
    back = (await caller.ask(EVENTS, last=2, before=page["pageInfo"]["startCursor"]))["auditEvents"]["nodes"]
    assert [event["id"] for event in back] == every[2:4]


async def test_filters_choose_by_act_actor_object_and_time(caller: Caller, factory: RecordFactory) -> None:
    sent = (await caller.ask(SEND, input=message()))["sendMessage"]["message"]["id"]
    await caller.ask(CANCEL, id=sent)
    other = global_id(await factory.message(caller))
    await caller.ask(CANCEL, id=other)
    newest, middle, oldest = await events(caller)

    async def chosen(**condition: Any) -> list[str]:
        return [event["id"] for event in await events(caller, filter=condition)]

    assert await chosen(action="cancelMessage") == [newest["id"], middle["id"]]
    assert await chosen(action="sendMessage") == [oldest["id"]]
    assert await chosen(actor="nobody") == []
    assert len(await chosen(actor="test")) == 3
    assert await chosen(targetId=sent) == [middle["id"], oldest["id"]]
    assert await chosen(targetId="nonsense") == []
    assert await chosen(since=newest["at"]) == [newest["id"]]
    assert await chosen(until=middle["at"]) == [oldest["id"]]


async def test_an_event_is_found_again_by_its_id(caller: Caller, stranger: Caller) -> None:
    await caller.ask(SEND, input=message())
    [event] = await events(caller)
    document = "query ($id: ID!) { node(id: $id) { ... on AuditEvent { action } } }"
    assert (await caller.ask(document, id=event["id"]))["node"] == {"action": "sendMessage"}
    assert (await stranger.ask(document, id=event["id"]))["node"] is None
    assert await events(stranger) == []


async def test_reading_it_needs_a_right(new_caller: NewCaller) -> None:
    caller = await new_caller(frozenset({Scope.MESSAGES_READ}))
    assert await caller.code(EVENTS) == "FORBIDDEN"


async def test_without_credentials_there_is_no_log_to_write_in(anonymous: Caller, application: object) -> None:
    assert await anonymous.code(CANCEL, id="nonsense") == "UNAUTHENTICATED"


async def test_the_application_can_change_nothing_of_what_was_written(caller: Caller, factory: RecordFactory) -> None:
    await caller.ask(CANCEL, id=global_id(await factory.message(caller)))
    database: Database = caller.application.database
    for statement in ("UPDATE audit_events SET actor = 'somebody else'", "DELETE FROM audit_events"):
        with pytest.raises(AppError, match="lacks a table or a right that this needs; nothing was stored") as refused:
            async with database.transaction(caller.tenant) as connection:
                await connection.execute(text(statement))
        assert "permission denied" in str(refused.value.__cause__)
