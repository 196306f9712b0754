"""Rolls up and reads the counter that the toy contributes, as a worker would; prints the counts of one tenant."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from tests.extension.with_toy import add_folders


async def count(url: str) -> None:
    from api.nouns import contributions
    from core.counters import read_counter, roll_up
    from core.database import Database, make_engine
    from core.ports.identity import DEFAULT_TENANT

    counter, database, now = (
        contributions().counters.by_name["parcels.status"],
        Database(make_engine(url)),
        datetime.now(UTC),
    )
    await roll_up(database, counter)
    async with database.transaction(DEFAULT_TENANT) as connection:
        span = {"since": now - timedelta(days=1), "until": now + timedelta(minutes=1)}
        counts = await read_counter(connection, DEFAULT_TENANT, counter, **span)
    await database.close()
    sys.stdout.write(json.dumps(dict(counts)))


if __name__ == "__main__":
    add_folders()
    asyncio.run(count(sys.argv[1]))
