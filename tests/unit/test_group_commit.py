"""Items processed in groups: which share a group, which wait, and what each caller gets."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from core.errors import Overloaded
from core.group_commit import GroupCommit, GroupLimits, GroupLookup


class Doubling:
    """Doubles numbers once `allowed` is set, and records the groups."""

    def __init__(self) -> None:
        self.allowed = asyncio.Event()
        self.groups: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(items))
        await self.allowed.wait()
        return [2 * item for item in items]


async def test_lines_take_turns_and_a_group_ends_at_its_weight() -> None:
    process = Doubling()
    queue = GroupCommit(process, GroupLimits(items=4, weight=10), weight_of=lambda item: item)
    given = (("a", 9), ("a", 4), ("a", 5), ("b", 1), ("b", 12))
    process.allowed.set()
    assert await asyncio.gather(*(queue.submit(item, line=line) for line, item in given)) == [18, 8, 10, 2, 24]
    # An item that is heavier than the limit is processed by itself.
    assert process.groups == [[9, 1], [4], [12], [5]]


async def test_abandoned_items_are_processed_unless_they_are_to_be_skipped() -> None:
    for skips, second_group in ((True, [3]), (False, [2, 3])):
        process = Doubling()
        queue = GroupCommit(process, GroupLimits(items=2), skips_abandoned=skips)
        first = [asyncio.create_task(queue.submit(item)) for item in (0, 1)]
        while not process.groups:
            await asyncio.sleep(0)
        gone, stays = (asyncio.create_task(queue.submit(item)) for item in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        process.allowed.set()
        assert await asyncio.gather(*first, stays) == [0, 2, 6]
        assert process.groups[1] == second_group


async def test_items_that_wait_while_the_process_is_stopped_fail() -> None:
    process = Doubling()
    queue = GroupCommit(process, GroupLimits(items=1))
    calls = [asyncio.create_task(queue.submit(item)) for item in (1, 2)]
    while not process.groups:
        await asyncio.sleep(0)
    for task in queue._tasks:
        task.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Overloaded, Overloaded]


async def test_a_full_queue_refuses_lines_with_more_than_an_even_share() -> None:
    process = Doubling()
    queue = GroupCommit(process, GroupLimits(items=1, waiting=4), full="The queue is full.")
    calls = [asyncio.create_task(queue.submit(item, line=line)) for item, line in enumerate("aaaaab")]
    await asyncio.sleep(0)
    process.allowed.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(result) for result in results if isinstance(result, Overloaded)] == ["The queue is full."]
    assert results[5] == 10


async def test_equal_keys_that_wait_share_a_look_up_and_later_ones_do_not() -> None:
    asked: list[list[str]] = []
    answered = asyncio.Event()

    async def look_up(keys: Sequence[str]) -> Mapping[str, int]:
        asked.append(list(keys))
        await answered.wait()
        return {"known": len(asked)}

    lookup = GroupLookup(look_up)
    together = [asyncio.create_task(lookup.find(key)) for key in ("known", "known", "unknown")]
    while not asked:
        await asyncio.sleep(0)
    # It wants to know what was written since the look-up began.
    later = asyncio.create_task(lookup.find("known"))
    await asyncio.sleep(0)
    answered.set()
    assert await asyncio.gather(*together) == [1, 1, None]
    assert await later == 2
    assert asked == [["known", "unknown"], ["known"]]


async def test_an_error_of_a_look_up_is_raised_in_every_caller() -> None:
    async def fail(_: Sequence[str]) -> Mapping[str, int]:
        raise ArithmeticError

    lookup = GroupLookup(fail)
    results = await asyncio.gather(lookup.find("a"), lookup.find("b"), return_exceptions=True)
    assert [type(result) for result in results] == [ArithmeticError, ArithmeticError]
    with pytest.raises(ArithmeticError):
        await lookup.find("a")
