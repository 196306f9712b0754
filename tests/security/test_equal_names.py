"""Two tenants may use the same keys, names and cursors. Neither learns that the other has one."""

import asyncio
import json
import secrets
from typing import Any

import pytest

from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory
from tests.security.belongings import Belongings, belongings_of
from tests.security.operations import OperationBuilder

SEND = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  isReplay message { id externalId } errors { __typename ... on UserError { message } } } }"""
BATCH = """mutation ($input: SendMessagesInput!) { sendMessages(input: $input) {
  isReplay batch { id counts { total } } results { message { id } } errors { __typename } } }"""


def message(text: str, **names: str) -> dict[str, Any]:
    return {"to": {"phone": "+5511987654321"}, "content": {"text": text}, "route": [{"channel": "SMS"}], **names}


@pytest.mark.parametrize("names", [("idempotencyKey",), ("externalId",), ("idempotencyKey", "externalId")])
@pytest.mark.parametrize("text", ["Olá", "Outra coisa"])
async def test_equal_keys_and_external_ids_of_two_tenants_are_two_messages(
    caller: Caller, stranger: Caller, names: tuple[str, ...], text: str
) -> None:
    given = dict.fromkeys(names, secrets.token_hex(8))
    # One after the other, and both in one group.
    for asked in (False, True):
        calls = [caller.ask(SEND, input=message("Olá", **given)), stranger.ask(SEND, input=message(text, **given))]
        answers = await asyncio.gather(*calls) if asked else [await call for call in calls]
        first, second = (one["sendMessage"] for one in answers)
        assert (first["errors"], second["errors"], first["isReplay"], second["isReplay"]) == ([], [], False, False)
        assert first["message"]["id"] != second["message"]["id"]
        given = dict.fromkeys(names, secrets.token_hex(8))


async def test_equal_batches_of_two_tenants_are_two_batches(caller: Caller, stranger: Caller) -> None:
    given = {"idempotencyKey": secrets.token_hex(8), "messages": [message("Olá", externalId=secrets.token_hex(4))]}
    first, second = [(await one.ask(BATCH, input=given))["sendMessages"] for one in (caller, stranger)]
    assert (second["isReplay"], second["errors"], second["batch"]["counts"]) == (False, [], {"total": 1})
    assert first["batch"]["id"] != second["batch"]["id"]
    assert first["results"][0]["message"]["id"] != second["results"][0]["message"]["id"]


async def test_a_cursor_of_others_is_a_place_among_ones_own(
    operations: OperationBuilder, caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    older = await belongings_of(stranger, factory)
    theirs = await belongings_of(caller, factory)
    newer = await belongings_of(stranger, factory)
    for name in operations.lists():
        ids = f"query ($after: String, $before: String) {{ {name}(after: $after, before: $before)"
        ids += " { nodes { id } pageInfo { startCursor endCursor } } }"
        page = (await caller.ask(ids))[name]
        for argument, cursor in (("after", "endCursor"), ("before", "startCursor")):
            given = {argument: page["pageInfo"][cursor]}
            found = {one["id"] for one in (await stranger.ask(ids, **given))[name]["nodes"]}
            own = older if argument == "after" else newer
            assert found <= set(own.every) | await _in_batch(stranger, own), name
            assert found, name
            whole = await stranger.answer(operations.document("query", name), **given)
            assert not any(id in json.dumps(whole.data, default=str) for id in theirs.every), name


async def _in_batch(somebody: Caller, own: Belongings) -> set[str]:
    asked = "query ($id: ID!) { messageBatch(id: $id) { messages { nodes { id } } } }"
    [batch] = own.ids["MessageBatch"]
    return {one["id"] for one in (await somebody.ask(asked, id=batch))["messageBatch"]["messages"]["nodes"]}
