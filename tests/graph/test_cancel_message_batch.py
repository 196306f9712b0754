"""cancelMessageBatch: unsent messages are canceled, and a repeated call has the same answer."""

from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller

SEND = """mutation($messages: [SendMessageInput!]!) {
  sendMessages(input: {messages: $messages, idempotencyKey: "a batch"}) { batch { id } errors { __typename } }
}"""
CANCEL = """mutation($id: ID!) {
  cancelMessageBatch(input: {id: $id}) {
    batch { id counts { total canceled } } canceledCount tooLateCount
    errors { __typename ... on UserError { path } ... on NotFoundError { id } }
  }
}"""
ACTS = "{ auditEvents(first: 10) { nodes { action outcome targetType } } }"


async def test_a_batch_is_stopped_once(caller: Caller) -> None:
    messages = [{"to": {"phone": "+5511987654321"}, "route": [{"channel": "SMS"}], "content": {"text": "Oi"}}] * 3
    id = (await caller.ask(SEND, messages=messages))["sendMessages"]["batch"]["id"]
    answers = [(await caller.ask(CANCEL, id=id))["cancelMessageBatch"] for _ in range(2)]
    expected = {
        "batch": {"id": id, "counts": {"total": 3, "canceled": 3}},
        "canceledCount": 3,
        "tooLateCount": 0,
        "errors": [],
    }
    assert answers == [expected, expected]
    acts = [one for one in (await caller.ask(ACTS))["auditEvents"]["nodes"] if one["action"] == "cancelMessageBatch"]
    assert acts == [{"action": "cancelMessageBatch", "outcome": "DONE", "targetType": "MessageBatch"}]


async def test_another_s_and_none_are_answered_alike(caller: Caller, stranger: Caller) -> None:
    messages = [{"to": {"phone": "+5511987654321"}, "route": [{"channel": "SMS"}], "content": {"text": "Oi"}}]
    theirs = (await stranger.ask(SEND, messages=messages))["sendMessages"]["batch"]["id"]
    for id in (theirs, to_global_id("MessageBatch", b"x" * 16), "nonsense"):
        payload = (await caller.ask(CANCEL, id=id))["cancelMessageBatch"]
        assert payload["batch"] is None
        assert payload["errors"] == [{"__typename": "NotFoundError", "path": ["input", "id"], "id": id}]
