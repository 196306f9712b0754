"""messages: the history, newest first, page by page from either end, within the tenant."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from core.ports import EmailContent
from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, global_id

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PAGE = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: MessageFilter) {
  messages(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
COUNT = "query ($filter: MessageFilter) { messages(first: 0, filter: $filter) { totalCount nodes { id } } }"


async def page(caller: Caller, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await caller.ask(PAGE, **given))["messages"]
    assert [edge["node"] for edge in found["edges"]] == found["nodes"]
    return found


async def ids(caller: Caller, **given: Any) -> list[str]:
    return [node["id"] for node in (await page(caller, **given))["nodes"]]


async def put_many(factory: RecordFactory, caller: Caller, number: int) -> list[str]:
    """Messages a second apart; gives their ids, newest first."""
    made = [global_id(await factory.message(caller, at=NOON + timedelta(seconds=second))) for second in range(number)]
    return made[::-1]


async def walk(caller: Caller, size: int, *, is_backward: bool = False) -> AsyncIterator[list[str]]:
    """The ids of every page from one end to the other, as it is read; a walk that does not end is no walk."""
    cursor: str | None = None
    for position in range(20):
        found = await page(
            caller, **({"last": size, "before": cursor} if is_backward else {"first": size, "after": cursor})
        )
        info = found["pageInfo"]
        # On the side one comes from there is something exactly when one comes from there.
        assert (info["hasNextPage"] if is_backward else info["hasPreviousPage"]) is (position > 0)
        yield [node["id"] for node in found["nodes"]]
        if not (info["hasPreviousPage"] if is_backward else info["hasNextPage"]):
            return
        cursor = info["startCursor"] if is_backward else info["endCursor"]
    raise AssertionError("the pages do not end")


async def test_the_newest_is_first(caller: Caller, factory: RecordFactory) -> None:
    made = await put_many(factory, caller, 3)
    assert await ids(caller) == made


async def test_a_page_has_25_messages_by_default(caller: Caller, factory: RecordFactory) -> None:
    made = await put_many(factory, caller, 26)
    assert await ids(caller) == made[:25]
    assert await ids(caller, first=100) == made


async def test_an_empty_history_is_a_page_too(caller: Caller) -> None:
    assert await page(caller) == {
        "edges": [],
        "nodes": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


async def test_a_page_of_none_says_whether_there_are_any(caller: Caller, factory: RecordFactory) -> None:
    await put_many(factory, caller, 1)
    found = await page(caller, first=0)
    assert (found["nodes"], found["pageInfo"]["hasNextPage"]) == ([], True)


@pytest.mark.parametrize("is_backward", [False, True])
async def test_pages_of_any_size_join_without_gap_or_repetition(
    caller: Caller, factory: RecordFactory, is_backward: bool
) -> None:
    made = await put_many(factory, caller, 7)
    for size in (1, 2, 3, 6, 7, 8):
        pages = [one async for one in walk(caller, size, is_backward=is_backward)]
        assert [len(one) for one in pages[:-1]] == [size] * (len(pages) - 1)
        joined = pages[::-1] if is_backward else pages
        assert [id for one in joined for id in one] == made, size


@hypothesis.settings(
    max_examples=8, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(arrivals=st.lists(st.integers(0, 3), min_size=1, max_size=4), size=st.integers(1, 4))
async def test_what_arrives_meanwhile_shifts_no_page(
    new_caller: NewCaller, factory: RecordFactory, arrivals: list[int], size: int
) -> None:
    caller = await new_caller()
    made = await put_many(factory, caller, 6)
    read: list[str] = []
    async for one in walk(caller, size):
        read += one
        for _ in range(arrivals.pop() if arrivals else 0):
            await factory.message(caller)
    assert read == made


async def test_both_cursors_name_a_span(caller: Caller, factory: RecordFactory) -> None:
    made = await put_many(factory, caller, 5)
    edges = (await page(caller))["edges"]
    newest, oldest = edges[0]["cursor"], edges[-1]["cursor"]
    assert await ids(caller, after=newest, before=oldest) == made[1:-1]
    assert await ids(caller, last=1, after=newest, before=oldest) == made[-2:-1]


WRONG_PAGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "fewer than none": ({"first": -1}, "first", "OUT_OF_RANGE"),
    "more than 100": ({"first": 101}, "first", "OUT_OF_RANGE"),
    "more than 100 from the end": ({"last": 101}, "last", "OUT_OF_RANGE"),
    "from both ends": ({"first": 1, "last": 1}, "last", "NOT_ALLOWED"),
    "after nothing": ({"after": ""}, "after", "MALFORMED"),
    "after nonsense": ({"after": "nonsense"}, "after", "MALFORMED"),
    "before nonsense": ({"last": 1, "before": "\u2603"}, "before", "MALFORMED"),
    "after a cursor of another list": ({"after": to_global_id("EventCursor", b"8 bytes!")}, "after", "MALFORMED"),
    "after a message's id": ({"after": to_global_id("Message", b"exactly 16 bytes")}, "after", "MALFORMED"),
}


@pytest.mark.parametrize("case", WRONG_PAGES)
async def test_a_page_that_cannot_be_is_refused(caller: Caller, case: str) -> None:
    given, argument, rule = WRONG_PAGES[case]
    [error] = (await caller.answer(PAGE, **given)).errors
    extensions = error["extensions"]
    assert (extensions["code"], extensions["argument"], extensions["rule"]) == ("INVALID_INPUT", argument, rule)


async def test_filters_find_what_fits_them_all(caller: Caller, factory: RecordFactory) -> None:
    made = {
        "text": await factory.message(caller, at=NOON),
        "mail": await factory.message(
            caller, at=NOON + timedelta(hours=1), content=EmailContent("s", "x"), status="SENT"
        ),
        "failed": await factory.message(caller, at=NOON + timedelta(hours=2), status="FAILED"),
        "reply": await factory.message(
            caller, at=NOON + timedelta(hours=3), status="DELIVERED", sender="+5521999998888"
        ),
    }
    names = {global_id(id): name for name, id in made.items()}
    filters: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"text", "mail", "failed", "reply"}),
        ({"channels": ["EMAIL"]}, {"mail"}),
        ({"channels": ["EMAIL", "SMS"]}, {"text", "mail", "failed", "reply"}),
        ({"channels": []}, set()),
        ({"channels": None}, {"text", "mail", "failed", "reply"}),
        ({"statuses": ["SENT", "FAILED"]}, {"mail", "failed"}),
        ({"statuses": ["FAILED"], "channels": ["EMAIL"]}, set()),
        ({"direction": "INBOUND"}, {"reply"}),
        ({"statuses": ["RECEIVED"]}, {"reply"}),
        ({"statuses": []}, set()),
        ({"direction": "OUTBOUND", "channels": ["SMS"]}, {"text", "failed"}),
        ({"created": {"start": "2026-11-23T13:00:00Z", "end": "2026-11-23T14:00:00Z"}}, {"mail"}),
        ({"created": {"start": "2026-11-23T10:00:00-03:00"}}, {"mail", "failed", "reply"}),
        ({"created": {"end": "2026-11-23T13:00:00.000001Z"}}, {"text", "mail"}),
        ({"created": {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"}}, set(made)),
        ({"created": {"start": None}}, set(made)),
    ]
    for condition, expected in filters:
        assert {names[id] for id in await ids(caller, filter=condition)} == expected, condition
        counted = await caller.ask(COUNT, filter=condition)
        assert counted["messages"] == {"totalCount": len(expected), "nodes": []}, condition


@pytest.mark.parametrize("moment", ["2026-11-23", "2026-11-23T12:00:00", "noon", "", 1_700_000_000])
async def test_a_moment_without_its_offset_is_refused(caller: Caller, moment: object) -> None:
    assert await caller.code(PAGE, filter={"created": {"start": moment}}) == "VARIABLES"


async def test_filtered_pages_join_too(caller: Caller, factory: RecordFactory) -> None:
    made = [
        global_id(await factory.message(caller, at=NOON + timedelta(seconds=second), status=status))
        for second, status in enumerate(["FAILED", "SENT"] * 4)
    ]
    first = await page(caller, first=3, filter={"statuses": ["FAILED"]})
    rest = await page(caller, first=3, after=first["pageInfo"]["endCursor"], filter={"statuses": ["FAILED"]})
    assert [node["id"] for node in first["nodes"] + rest["nodes"]] == made[::2][::-1]
    assert rest["pageInfo"]["hasNextPage"] is False


async def test_the_history_of_others_is_empty_here(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    await put_many(factory, stranger, 3)
    cursor = (await page(stranger, first=1))["pageInfo"]["endCursor"]
    assert await ids(caller) == await ids(caller, after=cursor) == await ids(caller, last=5, before=cursor) == []
    assert (await caller.ask(COUNT))["messages"]["totalCount"] == 0


async def test_reading_the_history_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    sender = await new_caller(frozenset(Scope) - {Scope.MESSAGES_READ})
    assert await sender.code(PAGE) == "FORBIDDEN"
    assert await anonymous.code(PAGE) == "UNAUTHENTICATED"
