"""A value that cannot be opened is null with a typed error that names the missing key; the page is served."""

from core.sealing import Sealer
from tests.graph.callers import Caller
from tests.graph.factories import PHONE, RecordFactory, global_id

MESSAGES = """
query { messages(first: 10) { nodes {
  id toMasked to from content { ... on TextContent { text } } attempts { providerMessageId }
} } }
"""
WEBHOOKS = "query { webhookDeliveries(first: 10) { nodes { status payload } } }"
ELSEWHERE = Sealer({"k2": b"n" * 32})


async def test_a_row_that_cannot_be_opened_leaves_the_page_whole(caller: Caller, factory: RecordFactory) -> None:
    sound, closed, altered = [await factory.message(caller, status="SENT", attempts=1) for _ in range(3)]
    for column in ("to", "content"):
        other = ELSEWHERE.seal('{"text": "x"}', tenant=caller.tenant, row=closed, column=column)
        await factory.owner.execute(f"UPDATE messages SET {column}_sealed = $1 WHERE id = $2", other, closed)
    other = ELSEWHERE.seal("SM1", tenant=caller.tenant, row=closed, column="provider_id 1")
    await factory.owner.execute("UPDATE attempts SET provider_id_sealed = $1 WHERE message_id = $2", other, closed)
    await factory.owner.execute("UPDATE messages SET to_sealed = '\\x01' WHERE id = $1", altered)
    answer = await caller.answer(MESSAGES)
    assert answer.data is not None
    shown = {node["id"]: node for node in answer.data["messages"]["nodes"]}
    assert {one: (node["to"], node["content"]) for one, node in shown.items()} == {
        global_id(sound): (PHONE, {"text": "Olá"}),
        global_id(closed): (None, None),
        global_id(altered): (None, {"text": "Olá"}),
    }
    assert all(node["toMasked"] for node in shown.values())
    assert [one["providerMessageId"] for one in shown[global_id(closed)]["attempts"]] == [None]
    order = list(shown)
    told = sorted((order[error["path"][2]], error["path"][3]) for error in answer.errors)
    assert told == sorted([(global_id(closed), "to"), (global_id(closed), "content"), (global_id(altered), "to")])
    assert {error["extensions"]["code"] for error in answer.errors} == {"VALUE_UNREADABLE"}
    assert sum("'k2'" in error["message"] for error in answer.errors) == 2


async def test_a_webhook_that_cannot_be_opened_leaves_the_page_whole(caller: Caller, factory: RecordFactory) -> None:
    _, closed = [await factory.webhook(caller, raw='{"status":"sent"}') for _ in range(2)]
    other = ELSEWHERE.seal("{}", tenant=caller.tenant, row=closed, column="raw")
    await factory.owner.execute("UPDATE inbox SET raw_sealed = $1 WHERE id = $2", other, closed)
    answer = await caller.answer(WEBHOOKS)
    assert answer.data is not None
    payloads = [node["payload"] for node in answer.data["webhookDeliveries"]["nodes"]]
    assert sorted(map(str, payloads)) == ["None", "{'status': 'sent'}"]
    [error] = answer.errors
    assert (error["extensions"]["code"], "'k2'" in error["message"]) == ("VALUE_UNREADABLE", True)


async def test_a_reason_of_a_later_version_is_another_one(caller: Caller, factory: RecordFactory) -> None:
    """During a rolling deploy: the page is whole, and something can be decided about the message."""
    later = '{"reason": "OF_TOMORROW", "party": "MOON", "message": "No.", "providerCode": "9", "isTransient": true}'
    message = await factory.message(caller, status="FAILED", attempts=1)
    await factory.message(caller)
    for table, key in (("messages", "id"), ("attempts", "message_id")):
        await factory.owner.execute(f"UPDATE {table} SET failure = $1::jsonb WHERE {key} = $2", later, message)
    shown = "failure { reason party message providerCode }"
    page = await caller.ask(f"{{ messages(first: 10) {{ nodes {{ id {shown} attempts {{ {shown} }} }} }} }}")
    nodes = {one["id"]: one for one in page["messages"]["nodes"]}
    told = {"reason": "OTHER", "party": "PROVIDER", "message": "No.", "providerCode": "9"}
    node = nodes[global_id(message)]
    assert (len(nodes), node["failure"], node["attempts"]) == (2, told, [{"failure": told}])
    again = "mutation($id: ID!) { retryMessage(input: {id: $id}) { message { status } errors { __typename } } }"
    assert (await caller.ask(again, id=global_id(message)))["retryMessage"] == {
        "message": {"status": "QUEUED"},
        "errors": [],
    }


async def test_a_message_that_only_a_later_version_can_read_stays_as_it_is(
    caller: Caller, factory: RecordFactory
) -> None:
    """Whatever is asked for it, the answer says so, with the status that it has."""
    asked = {"retryMessage": "", "cancelMessage": "", "settleMessage": ", as: SENT"}
    for status in ("QUEUED", "UNCONFIRMED", "FAILED"):
        message = await factory.message(caller, status=status)
        await factory.owner.execute('UPDATE messages SET route = \'[{"channel": "FAX"}]\' WHERE id = $1', message)
        for verb, more in asked.items():
            errors = "errors { ... on InvalidStateError { code state } }"
            document = f"mutation($id: ID!) {{ {verb}(input: {{id: $id{more}}}) {{ message {{ id }} {errors} }} }}"
            payload = (await caller.ask(document, id=global_id(message)))[verb]
            assert payload == {"message": None, "errors": [{"code": "UNREADABLE", "state": status}]}, verb
