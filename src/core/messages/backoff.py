"""When to try again after a company was surely not reached: exponential, fully jittered, bounded in number.

Twelve tries last for one to two hours: a company's bad hour costs nobody a message.
"""

import random
from datetime import timedelta

MAX_ATTEMPTS = 12
MAX_ASKED = 100
"""Calls for one step in all, those included that only brought "slow down"."""
_FIRST = 2.0
_LONGEST = 3_600.0


def retry_in(attempt: int, retry_after: float | None) -> timedelta | None:
    """How long to wait after the `attempt`-th try of a step; None when it was the last.

    `retry_after` is what the company asked for, in seconds; it is honoured up to an hour.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    ceiling = min(_LONGEST, _FIRST * 2 ** (attempt - 1))
    asked = min(max(retry_after, 1.0), _LONGEST) if retry_after is not None else 0.0
    # Full jitter keeps a thousand failed sends from coming back as one wave; no secret depends on it.
    return timedelta(seconds=max(asked, random.uniform(0, ceiling)))  # noqa: S311
