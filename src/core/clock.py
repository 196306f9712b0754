"""The database's clock, known in one process without a query each time: due times are compared with that clock only."""

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from core.database import Database

_TRUSTED = 60.0


class DatabaseClock:
    """Tells the database's time. Code that has just read it calls `set`; after a minute it is queried again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: tuple[datetime, float, float] | None = None

    def set(self, moment: datetime) -> None:
        """Record the time that the database has just returned."""
        self._seen = (moment, time.monotonic(), time.time())

    async def now(self) -> datetime:
        """The database's time, to within the length of a query. Raises Overloaded."""
        if (known := self._known()) is None:
            async with self._database.transaction() as connection:
                known = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            self.set(known)
        return known

    def guess(self) -> datetime:
        """The database's time without a query; this machine's own where it is not known."""
        return self._known() or datetime.now(UTC)

    def _known(self) -> datetime | None:
        if self._seen is None:
            return None
        moment, steady, ours = self._seen
        passed = time.monotonic() - steady
        # While a machine is suspended its monotonic clock may stop; its calendar clock goes on.
        if passed > _TRUSTED or abs(time.time() - ours) > _TRUSTED:
            return None
        return moment + timedelta(seconds=passed)
