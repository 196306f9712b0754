"""The pauses between tries of the same work: they double, are random, and end after a number of tries.

Pauses double from two seconds to the longest; each is drawn between half of that and all of it. Work has as many tries
as the shortest pauses need to fill the time for which it is tried. Only tries are counted: a longer pause, also one
that the other side asked for, uses up none.
"""

import random
from datetime import timedelta
from itertools import count

LONGEST_PAUSE = timedelta(minutes=15)
LONGEST_REQUESTED_PAUSE = timedelta(hours=1)
"""The longest pause that is honoured when a provider asks for one."""
_FIRST = timedelta(seconds=2)
_NONE = timedelta(0)


def retry_in(
    tries: int, asked: float | None, *, retry_for: timedelta, longest: timedelta = LONGEST_PAUSE
) -> timedelta | None:
    """How long to wait after the `tries`-th try; None when it was the last.

    Even the shortest run of tries lasts `retry_for`, and without longer pauses that a provider `asked` for (in seconds)
    none lasts more than twice that and one pause.
    """
    if _shortest_run(tries, longest) >= retry_for:
        return None
    ceiling = _ceiling(tries, longest)
    wanted = (
        _NONE if asked is None else timedelta(seconds=min(max(asked, 1.0), LONGEST_REQUESTED_PAUSE.total_seconds()))
    )
    # Random, so that much that failed together is not retried together; no secret depends on it.
    return max(wanted, timedelta(seconds=random.uniform(ceiling.total_seconds() / 2, ceiling.total_seconds())))  # noqa: S311


def tries_of(retry_for: timedelta, longest: timedelta = LONGEST_PAUSE) -> int:
    """How many tries there are for what is tried for so long."""
    return next(tries for tries in count(1) if _shortest_run(tries, longest) >= retry_for)


def _ceiling(tries: int, longest: timedelta) -> timedelta:
    # After some doublings every pause is the longest; without the bound the number would grow for ever.
    return min(longest, _FIRST * (1 << min(tries - 1, 20)))


def _shortest_run(tries: int, longest: timedelta) -> timedelta:
    """The sum of the pauses before the `tries`-th try, each as short as possible."""
    total = _NONE
    for one in range(1, tries):
        if (pause := _ceiling(one, longest)) == longest:
            # All later pauses are the longest, too.
            return total + (tries - one) * (longest / 2)
        total += pause / 2
    return total
