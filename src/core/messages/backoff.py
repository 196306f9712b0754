"""When a step is tried again after a call that surely did nothing.

Pauses double from two seconds to `LONGEST_PAUSE`; each is drawn between half of that and all of it. A step has as many
tries as even the shortest pauses need to fill the time that its channel is tried for. Only tries are counted: hours in
which nothing could be tried (quiet hours, an open circuit, a pause the provider asked for) use up none of them.
"""

import random
from datetime import timedelta
from itertools import count

LONGEST_PAUSE = timedelta(minutes=15)
LONGEST_SLOWED = timedelta(minutes=5)
"""The longest pause after "slow down" without a time to wait: the limit is over sooner than most outages."""
LONGEST_ASKED = timedelta(hours=1)
"""How long a pause the provider asks for is honoured."""
_FIRST = timedelta(seconds=2)
_NONE = timedelta(0)


def retry_in(
    tries: int, asked: float | None, *, retry_for: timedelta, longest: timedelta = LONGEST_PAUSE
) -> timedelta | None:
    """How long to wait after a step's `tries`-th try; None when it was the last.

    Even the shortest run of tries lasts `retry_for`, and without longer pauses that a provider `asked` for (in seconds)
    none lasts more than twice that and one pause.
    """
    if _shortest_run(tries, longest) >= retry_for:
        return None
    ceiling = _ceiling(tries, longest)
    wanted = _NONE if asked is None else timedelta(seconds=min(max(asked, 1.0), LONGEST_ASKED.total_seconds()))
    # A part is drawn, so that a thousand failed sends do not come back as one wave; no secret depends on it.
    return max(wanted, timedelta(seconds=random.uniform(ceiling.total_seconds() / 2, ceiling.total_seconds())))  # noqa: S311


def tries_of(retry_for: timedelta, longest: timedelta = LONGEST_PAUSE) -> int:
    """How many tries a step has that is tried for so long."""
    return next(tries for tries in count(1) if _shortest_run(tries, longest) >= retry_for)


def _ceiling(tries: int, longest: timedelta) -> timedelta:
    # Beyond some doublings every pause is the longest, and the number would be absurd.
    return min(longest, _FIRST * (1 << min(tries - 1, 20)))


def _shortest_run(tries: int, longest: timedelta) -> timedelta:
    """How long the pauses before the `tries`-th try take, each as short as it can be."""
    return sum((_ceiling(one, longest) / 2 for one in range(1, tries)), _NONE)
