"""The database's clock, as far as one process knows it: only that clock counts, and nobody has to ask it each time."""

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from core.database import Database

_TRUSTED = 60.0


class DatabaseClock:
    """Tells the database's time. Whoever has just read it there says so; after a minute it is asked for anew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: tuple[datetime, float, float] | None = None

    def set(self, moment: datetime) -> None:
        """Take note of the time the database has just told."""
        self._seen = (moment, time.monotonic(), time.time())

    async def now(self) -> datetime:
        """The time there, to within the length of a call. Raises Overloaded."""
        if (known := self._known()) is None:
            async with self._database.transaction() as connection:
                known = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            self.set(known)
        return known

    def guess(self) -> datetime:
        """The time there as far as known, without asking; our own where nothing is."""
        return self._known() or datetime.now(UTC)

    def _known(self) -> datetime | None:
        if self._seen is None:
            return None
        moment, steady, ours = self._seen
        passed = time.monotonic() - steady
        # A machine that was put to sleep may count no time meanwhile: then its calendar has gone on without it.
        if passed > _TRUSTED or abs(time.time() - ours) > _TRUSTED:
            return None
        return moment + timedelta(seconds=passed)
