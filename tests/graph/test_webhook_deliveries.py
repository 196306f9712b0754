"""webhookDeliveries: the webhooks of a tenant, page by page, redacted."""

from datetime import UTC, datetime

from core.ids import uuid7
from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller, statements
from tests.graph.factories import RecordFactory, global_id, webhook_delivery_id

LIST = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: WebhookDeliveryFilter) {
  webhookDeliveries(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
WHOLE = """
{
  webhookDeliveries {
    nodes {
      integration { kind } eventType providerEventId status error attempts processedAt payload
      subject { ... on Message { id to } }
    }
  }
}
"""


async def found(caller: Caller, **filter: object) -> list[str]:
    return [one["id"] for one in (await caller.ask(LIST, filter=filter))["webhookDeliveries"]["nodes"]]


async def test_a_delivery_shows_what_came_and_what_it_changed_without_personal_data(
    caller: Caller, factory: RecordFactory
) -> None:
    message = await factory.message(caller)
    webhook = await factory.webhook(caller, message=message)
    [one] = (await caller.ask(WHOLE))["webhookDeliveries"]["nodes"]
    assert one == {
        "integration": {"kind": "TWILIO"},
        "eventType": "delivered",
        "providerEventId": f"{webhook}:delivered",
        "status": "PROCESSED",
        "error": None,
        "attempts": 1,
        "processedAt": None,
        "payload": {"MessageSid": "SM0123", "MessageStatus": "delivered", "To": "••••"},
        "subject": {"id": global_id(message), "to": "+5511987654321"},
    }


async def test_pages_go_both_ways_newest_first(caller: Caller, factory: RecordFactory) -> None:
    ids = [
        webhook_delivery_id(await factory.webhook(caller, at=datetime(2026, 1, day, tzinfo=UTC)))
        for day in (4, 3, 2, 1)
    ]
    whole = (await caller.ask(LIST))["webhookDeliveries"]
    assert [one["id"] for one in whole["nodes"]] == ids
    cursors = [edge["cursor"] for edge in whole["edges"]]
    for page, wanted in (
        ({"first": 2}, ids[:2]),
        ({"first": 2, "after": cursors[1]}, ids[2:]),
        ({"last": 2}, ids[2:]),
        ({"last": 1, "before": cursors[2]}, ids[1:2]),
    ):
        got = (await caller.ask(LIST, **page))["webhookDeliveries"]
        assert [one["id"] for one in got["nodes"]] == wanted, page
    assert await caller.code(LIST, after="nonsense") == "INVALID_INPUT"


async def test_every_filter_filters(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    old = webhook_delivery_id(await factory.webhook(caller, at=datetime(2026, 1, 1, tzinfo=UTC), status="FAILED"))
    other = webhook_delivery_id(await factory.webhook(caller, integration="whatsapp", event_type="read"))
    about = webhook_delivery_id(await factory.webhook(caller, message=message, status="IGNORED"))
    for filter, wanted in (
        ({}, [about, other, old]),
        ({"integrations": ["WHATSAPP"]}, [other]),
        ({"statuses": ["FAILED"]}, [old]),
        ({"statuses": ["FAILED", "IGNORED"]}, [about, old]),
        ({"statuses": []}, []),
        ({"eventType": "read"}, [other]),
        ({"subjectId": global_id(message)}, [about]),
        ({"subjectId": "nonsense"}, []),
        ({"received": {"end": "2026-02-01T00:00:00Z"}}, [old]),
        ({"received": {"start": "2026-02-01T00:00:00Z"}}, [about, other]),
    ):
        assert await found(caller, **filter) == wanted, filter


async def test_the_webhooks_of_others_are_not_there(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    # The id of a foreign message leads nowhere, whichever row contains it.
    await factory.webhook(stranger, message=await factory.message(caller))
    await factory.webhook(caller)
    assert len(await found(caller)) == 1
    [one] = (await stranger.ask(WHOLE))["webhookDeliveries"]["nodes"]
    assert one["subject"] is None


async def test_an_unreadable_payload_is_null_and_does_not_break_the_page(
    caller: Caller, factory: RecordFactory
) -> None:
    broken = await factory.webhook(caller)
    await factory.webhook(caller)
    await factory.owner.execute("UPDATE inbox SET raw_sealed = '\\x00' WHERE id = $1", broken)
    answer = await caller.answer(WHOLE)
    assert [error["extensions"]["code"] for error in answer.errors] == ["VALUE_UNREADABLE"]
    payloads = [one["payload"] is None for one in (answer.data or {})["webhookDeliveries"]["nodes"]]
    assert payloads == [False, True]


async def test_payloads_and_subjects_are_read_together_and_only_when_asked_for(
    caller: Caller, factory: RecordFactory
) -> None:
    for _ in range(3):
        await factory.webhook(caller, message=await factory.message(caller))
    with statements(caller.application) as seen:
        await caller.ask(LIST)
    assert not any("raw_sealed" in one for one in seen)
    with statements(caller.application) as seen:
        await caller.ask(WHOLE)
    assert len([one for one in seen if one.startswith("SELECT")]) == 3


async def test_reading_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ, Scope.OPERATIONS_WRITE}))
    assert await reader.code(LIST) == "FORBIDDEN"
    assert await anonymous.code(LIST) == "UNAUTHENTICATED"


async def test_whom_it_is_about_needs_the_scope_of_messages(new_caller: NewCaller, factory: RecordFactory) -> None:
    operator = await new_caller(frozenset({Scope.OPERATIONS_READ}))
    await factory.webhook(operator, message=uuid7())
    assert await operator.code("{ webhookDeliveries { nodes { subject { __typename } } } }") == "FORBIDDEN"
