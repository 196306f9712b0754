"""Webhooks are stored in groups: few transactions, one answer for each webhook, and independent failures."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from core.errors import Overloaded
from core.inbox.store import MOST, Events, Intake, store_events
from core.ports import OtherEvent
from tests.contributed import EVENT_TYPES
from tests.delivery.pipeline import MessagePipeline
from tests.delivery.round_trips import round_trips

# To begin, to store, to commit.
ONE_GROUP = 3


@pytest.fixture
def intake(pipeline: MessagePipeline) -> Intake:
    return Intake(partial(store_events, pipeline.app, pipeline.sealer, EVENT_TYPES))


def told(*keys: str, kind: str = "optout") -> list[OtherEvent]:
    return [OtherEvent(key, kind, "{}") for key in keys]


async def test_those_that_come_at_once_cost_the_transaction_of_one(pipeline: MessagePipeline, intake: Intake) -> None:
    async with round_trips(pipeline.app) as seen:
        new = await asyncio.gather(*(intake.keep("twilio", told(f"k{number}")) for number in range(40)))
    assert new == [1] * 40
    assert len(seen) == ONE_GROUP, seen
    assert await pipeline.count("inbox") == 40


async def test_each_caller_learns_how_many_of_its_events_were_new(pipeline: MessagePipeline, intake: Intake) -> None:
    await intake.keep("twilio", told("old"))
    given = [told("a", "b"), told("old"), told("b", "c"), [], told("old", "d")]
    new = await asyncio.gather(*(intake.keep("twilio", events) for events in given))
    # Of two that tell the same, either may be the first.
    assert (new[0] + new[2], new[1], new[3], new[4]) == (3, 0, 0, 1)
    assert await pipeline.count("inbox") == 5


async def test_one_that_cannot_be_stored_fails_alone(pipeline: MessagePipeline, intake: Intake) -> None:
    given = [told("a"), told("bad", kind="\x00"), told("b")]
    outcomes = await asyncio.gather(*(intake.keep("twilio", events) for events in given), return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (1, 1)
    assert isinstance(outcomes[1], Exception)
    assert await pipeline.count("inbox") == 2


async def test_each_provider_has_a_queue_of_its_own(pipeline: MessagePipeline, intake: Intake) -> None:
    new = await asyncio.gather(*(intake.keep(name, told("same")) for name in ("twilio", "whatsapp")))
    assert new == [1, 1]


async def test_an_event_is_stored_even_if_its_sender_disconnects(pipeline: MessagePipeline, intake: Intake) -> None:
    gone = asyncio.create_task(intake.keep("twilio", told("a")))
    stays = asyncio.create_task(intake.keep("twilio", told("b")))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 1
    assert await pipeline.count("inbox") == 2


class Recorder:
    """A store that records what it is given, and fails if `fails` says so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self.error = error

    async def __call__(self, integration: str, webhooks: Sequence[Events]) -> Sequence[int]:
        self.sizes.append(len(webhooks))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return [len(events) for events in webhooks]


async def test_while_the_database_is_away_it_is_asked_once_for_all_of_a_group() -> None:
    store = Recorder(Overloaded("away", retry_after=1))
    intake = Intake(store)
    found = await asyncio.gather(*(intake.keep("twilio", told("k")) for _ in range(9)), return_exceptions=True)
    assert found == [store.error] * 9
    assert store.sizes == [9]


async def test_what_comes_while_a_group_is_stored_is_the_next_group() -> None:
    store = Recorder()
    intake = Intake(store)
    first = asyncio.create_task(intake.keep("twilio", told("a")))
    while not store.sizes:
        await asyncio.sleep(0)
    assert await asyncio.gather(*(intake.keep("twilio", told("k")) for _ in range(5))) == [1] * 5
    assert await first == 1
    assert store.sizes == [1, 5]


async def test_a_group_has_an_end_and_a_large_webhook_is_one_by_itself() -> None:
    store = Recorder()
    intake = Intake(store)
    large = told(*(f"{number}" for number in range(MOST + 1)))
    given = [large, *(told("k") for _ in range(MOST + 1))]
    assert sum(await asyncio.gather(*(intake.keep("twilio", events) for events in given))) == 2 * (MOST + 1)
    assert store.sizes == [1, MOST, 1]
