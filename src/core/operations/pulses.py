"""Pulses: kinds of work that must not stand still say so each second, and remember when they last went on after a gap.

While we were deaf, a company may have told us what became of a message. So nothing is decided about a doubt unless
everything that could have brought the answer has been at work for as long as doubts are held.
"""

import time
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.dialects.postgresql import insert

from core.database import Database
from core.operations.tables import pulses

INTERVAL = 1.0
"""Seconds between two beats."""
GAP = timedelta(seconds=5)
"""A longer silence is standing still."""


class Pulse(StrEnum):
    """What must not stand still: taking webhooks in, applying them, sweeping."""

    INGRESS = "ingress"
    INBOX = "inbox"
    SWEEP = "sweep"


class Heart:
    """Says that a kind of work goes on, whichever process does it: at most once in `INTERVAL`, however often asked."""

    def __init__(self, database: Database, pulse: Pulse) -> None:
        self._database = database
        self._pulse = pulse
        self._next = 0.0

    async def beat(self) -> None:
        """Say so, unless it was said a moment ago."""
        if (now := time.monotonic()) < self._next:
            return
        row = insert(pulses).values(name=self._pulse.value)
        stood_still = pulses.c.seen_at < func.now() - GAP
        statement = row.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "seen_at": func.now(),
                "resumed_at": case((stood_still, func.now()), else_=pulses.c.resumed_at),
            },
        )
        async with self._database.transaction() as connection:
            await connection.execute(statement)
        self._next = now + INTERVAL


def heard_since() -> Select[Any]:
    """A scalar: since when everything has been at work without a gap; null while something stands still."""
    is_fresh: ColumnElement[bool] = pulses.c.seen_at > func.now() - GAP
    names = [pulse.value for pulse in Pulse]
    return select(case((func.count().filter(is_fresh) == len(names), func.max(pulses.c.resumed_at)))).where(
        pulses.c.name.in_(names)
    )
