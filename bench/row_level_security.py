"""What row-level security costs: the same statements with the policies on and off, in turns, in one run.

    .venv/bin/python bench/row_level_security.py [ROUNDS]          # 400

Read the ratios; at most 1.3 is what we allow. A round is one of each: a page of messages, `sendMessage` as it reaches
the database, and a claim of one message that is put back, through the house's own code and a durable PostgreSQL.
"""

import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from api.migrations import upgrade
from core.database import Database, make_engine
from core.messages import queries
from core.messages.accept import Outbox
from core.messages.claim import Timing, claim, release
from core.messages.status import make_step
from core.messages.validation import ChannelService, Draft
from core.pagination import PageRequest
from core.ports import Channel, TextContent
from core.pubsub import Hub
from core.sealing import Sealer
from devkit.embedded.stores import Stores, StoreUrls

TENANTS, MESSAGES, BLOCK = 20, 5_000, 20
_TABLES = "SELECT relname FROM pg_class WHERE relforcerowsecurity AND relkind = 'r'"
_FILL = """
INSERT INTO messages (tenant_id, id, direction, status, channel, route, to_sealed, to_masked, to_hash, content_sealed)
SELECT tenants.id, gen_random_uuid(), 'OUTBOUND', 'SENT', 'SMS', '[]', '', '', '', ''
FROM tenants, generate_series(1, $1)
"""

Work = Callable[[], Awaitable[object]]


async def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    with tempfile.TemporaryDirectory() as folder:
        async with Stores(Path(folder) / "data") as urls:
            await asyncio.to_thread(upgrade, urls.direct)
            owner = await asyncpg.connect(urls.direct)
            tenant = await fill(owner)
            app, worker = Database(make_engine(urls.app)), Database(make_engine(urls.worker))
            await measure(owner, works(app, worker, tenant, urls), rounds)
            for database in (app, worker):
                await database.close()
            await owner.close()


async def fill(owner: asyncpg.Connection) -> UUID:
    tenants = [uuid4() for _ in range(TENANTS)]
    for one in tenants:
        await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Bench', 'UTC', 'BRL')", one, one.hex)
    await owner.execute(_FILL, MESSAGES)
    await owner.execute("ANALYZE")
    return tenants[0]


def works(app: Database, worker: Database, tenant: UUID, urls: StoreUrls) -> dict[str, Work]:
    from redis.asyncio import Redis

    async def wake(_channel: Channel) -> None:
        return None

    sealer, timing = Sealer({"k1": b"k" * 32}), Timing()
    outbox = Outbox(app, sealer, Hub(Redis.from_url(urls.redis)), {Channel.SMS: ChannelService("twilio", True)}, wake)

    async def page() -> None:
        async with app.transaction(tenant) as connection:
            found = await queries.messages_page(connection, sealer, tenant, PageRequest(25), queries.MessageFilter())
        assert len(found.items) == 25

    async def send() -> None:
        draft = Draft(TextContent("Olá"), [make_step(Channel.SMS)], phone="+5511987654321", idempotency_key=uuid4().hex)
        await outbox.accept(tenant, draft)

    async def claim_one() -> None:
        async with worker.transaction() as connection:
            claimed = await claim(connection, Channel.SMS, "twilio", worker="bench", limit=1, timing=timing)
            assert len(claimed) == 1
            await release(connection, claimed, [0.0])

    return {"page of messages": page, "sendMessage": send, "claim": claim_one}


async def measure(owner: asyncpg.Connection, works: dict[str, Work], rounds: int) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; {TENANTS} tenants with {MESSAGES} messages each; fsync on")
    tables = [row["relname"] for row in await owner.fetch(_TABLES)]
    times: dict[tuple[str, bool], list[float]] = {(name, on): [] for name in works for on in (True, False)}
    # The first block of each is not counted: plans are made and pages read.
    for number in range(-1, rounds // BLOCK):
        for on in (True, False):
            word = "ENABLE" if on else "DISABLE"
            await owner.execute(";".join(f"ALTER TABLE {one} {word} ROW LEVEL SECURITY" for one in tables))
            for _ in range(3):
                for name in ("sendMessage", "page of messages", "claim"):
                    await works[name]()
            for _ in range(BLOCK):
                for name in ("sendMessage", "page of messages", "claim"):
                    start = time.perf_counter()
                    await works[name]()
                    if number >= 0:
                        times[name, on].append(time.perf_counter() - start)
    for name in works:
        on, off = (statistics.median(times[name, one]) * 1000 for one in (True, False))
        print(f"{name:<18} p50 {on:6.2f} ms with policies, {off:6.2f} without: {on / off:.2f} times")


if __name__ == "__main__":
    asyncio.run(main())
