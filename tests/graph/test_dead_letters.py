"""deadLetters: failed work, counted, filtered, page by page."""

from datetime import UTC, datetime

from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, dead_letter_id, global_id

LIST = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: DeadLetterFilter) {
  deadLetters(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    totalCount
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
WHOLE = """
{
  deadLetters {
    nodes { kind error attempts failedAt resolution payload integration { kind } subject { ... on Message { id } } }
  }
}
"""


async def found(caller: Caller, **filter: object) -> list[str]:
    page = (await caller.ask(LIST, filter=filter))["deadLetters"]
    assert page["totalCount"] == len(page["nodes"])
    return [one["id"] for one in page["nodes"]]


async def test_a_dead_letter_shows_what_failed_and_why(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="FAILED")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    await factory.dead_letter(caller, message=message, at=moment)
    await factory.dead_letter(caller, kind="webhook.apply", webhook=await factory.webhook(caller), integration=None)
    event, send = (await caller.ask(WHOLE))["deadLetters"]["nodes"]
    assert send == {
        "kind": "message.send",
        "error": "The account is closed.",
        "attempts": 3,
        "failedAt": "2026-01-01T00:00:00.000Z",
        "resolution": None,
        "payload": None,
        "integration": {"kind": "TWILIO"},
        "subject": {"id": global_id(message)},
    }
    assert (event["payload"]["To"], event["integration"], event["subject"]) == ("••••", None, None)


async def test_pages_go_both_ways_newest_first_and_count_the_whole(caller: Caller, factory: RecordFactory) -> None:
    ids = [
        dead_letter_id(await factory.dead_letter(caller, at=datetime(2026, 1, day, tzinfo=UTC))) for day in (3, 2, 1)
    ]
    first = (await caller.ask(LIST, first=2))["deadLetters"]
    assert ([one["id"] for one in first["nodes"]], first["totalCount"]) == (ids[:2], 3)
    rest = (await caller.ask(LIST, first=2, after=first["pageInfo"]["endCursor"]))["deadLetters"]
    assert ([one["id"] for one in rest["nodes"]], rest["totalCount"]) == (ids[2:], 3)
    last = (await caller.ask(LIST, last=1))["deadLetters"]
    assert [one["id"] for one in last["nodes"]] == ids[2:]
    assert last["pageInfo"]["hasPreviousPage"] is True
    assert await caller.code(LIST, before="nonsense") == "INVALID_INPUT"


async def test_every_filter_filters(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    old = dead_letter_id(await factory.dead_letter(caller, at=datetime(2026, 1, 1, tzinfo=UTC), integration="smtp"))
    event = dead_letter_id(await factory.dead_letter(caller, kind="webhook.apply"))
    about = dead_letter_id(await factory.dead_letter(caller, message=message))
    done = dead_letter_id(await factory.dead_letter(caller, resolution="DISCARDED"))
    for filter, wanted in (
        ({}, [about, event, old]),
        ({"isResolved": True}, [done]),
        ({"integrations": ["SMTP"]}, [old]),
        ({"kinds": ["webhook.apply"]}, [event]),
        ({"kinds": []}, []),
        ({"subjectId": global_id(message)}, [about]),
        ({"subjectId": "nonsense"}, []),
        ({"failed": {"end": "2026-02-01T00:00:00Z"}}, [old]),
        ({"failed": {"start": "2026-02-01T00:00:00Z"}}, [about, event]),
    ):
        assert await found(caller, **filter) == wanted, filter


async def test_the_dead_letters_of_others_are_not_there(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    await factory.dead_letter(caller)
    assert await found(stranger) == []


async def test_reading_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ, Scope.OPERATIONS_WRITE}))
    assert await reader.code(LIST) == "FORBIDDEN"
    assert await anonymous.code(LIST) == "UNAUTHENTICATED"
