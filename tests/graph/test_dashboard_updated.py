"""dashboardUpdated: numbers as they change, counted once for all subscribers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from api.bootstrap import App
from core.ports.identity import Scope
from tests.graph.callers import Caller, Following, NewCaller, statements
from tests.graph.factories import DASHBOARD_FIELDS, RecordFactory, mark_delivered

FOLLOW = (
    "subscription ($window: TimeWindow! = LAST_HOUR, $every: Int! = 1)"
    f" {{ dashboardUpdated(window: $window, everySeconds: $every) {{ {DASHBOARD_FIELDS} }} }}"
)


@asynccontextmanager
async def following(caller: Caller, **variables: Any) -> AsyncIterator[Following]:
    stream = caller.follow(FOLLOW, **variables)
    try:
        yield stream
    finally:
        await stream.close()


async def test_the_numbers_come_at_once_and_again_when_they_have_changed(
    caller: Caller, factory: RecordFactory, owner: asyncpg.Pool
) -> None:
    async with following(caller) as stream:
        assert (await stream.next())["dashboardUpdated"]["messages"] == []
        await mark_delivered(owner, await factory.message(caller), 3)
        [counters] = (await stream.next())["dashboardUpdated"]["messages"]
    assert (counters["channel"], counters["delivered"], counters["deliveryRate"]) == ("SMS", 1, 1.0)


async def test_who_looks_at_the_same_costs_one_count(caller: Caller, factory: RecordFactory, application: App) -> None:
    streams = [caller.follow(FOLLOW) for _ in range(20)]
    with statements(application) as seen:
        for stream in streams:
            await stream.next()
        await factory.message(caller)
        for stream in streams:
            assert (await stream.next())["dashboardUpdated"]["queueDepth"] == 1
    assert len([one for one in seen if "percentile_cont" in one]) <= 4
    for stream in streams:
        await stream.close()
    assert len(application.services.dashboards.shared_values) == 0


@pytest.mark.parametrize("every", [0, -1, 3_601])
async def test_how_often_has_its_bounds(caller: Caller, every: int) -> None:
    async with following(caller, every=every) as stream:
        [error] = (await stream.answer()).errors
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("INVALID_INPUT", "everySeconds")


async def test_it_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ}))
    for caller, code in ((reader, "FORBIDDEN"), (anonymous, "UNAUTHENTICATED")):
        async with following(caller) as stream:
            [error] = (await stream.answer()).errors
            assert error["extensions"]["code"] == code
