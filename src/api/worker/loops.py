"""What one worker does: the loops and jobs of the nouns, the inbox, erasures, keys, and the heartbeat."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from api.bootstrap import App
from api.migrations import contracts_left, head_revision
from api.process import process_name
from api.queue import INBOX
from core import liveness
from core.counters import delete_old_minutes
from core.idempotency import delete_expired_keys
from core.inbox.apply import apply_due_events
from core.liveness import Activity, ActivityReporter
from core.nouns import CronJob, Loop, WorkerContext
from core.privacy.encryption_keys import count_waiting_for_keys, log_missing_keys, record_missing_keys
from core.privacy.erase import run_erasure_step
from core.privacy.retention import forget_expired_data
from core.providers.ledger import FLUSH_INTERVAL, delete_old_calls

_INBOX_TICK = 0.3
_ERASE = 2.0
_MISSING_KEYS = 30.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Worker:
    """Everything one worker process does; `loops` and `jobs` are the nouns'."""

    app: App
    name: str
    loops: Sequence[Loop]
    jobs: Sequence[CronJob]
    inbox_woken: asyncio.Event
    inbox_pulse: ActivityReporter
    is_stopping: bool = False

    async def wake(self, _context: object, *, topic: str) -> None:
        """The SAQ job: the loops that may have work look for it."""
        if topic == INBOX:
            self.inbox_woken.set()
        for loop in self.loops:
            if loop.topic == topic:
                loop.wake()

    async def read_inbox(self) -> None:
        """One turn: wait for a wake-up, or a moment, then apply all that is due."""
        try:
            async with asyncio.timeout(_INBOX_TICK):
                await self.inbox_woken.wait()
        except TimeoutError:
            pass
        self.inbox_woken.clear()
        while await apply_due_events(self.app.database, self.app.sealer, self.app.hub, self.app.contributions.events):
            pass
        await self.inbox_pulse.beat()

    async def drain(self) -> None:
        """Claim no more, and return once what is under way has been written down."""
        self.is_stopping = True
        for loop in self.loops:
            loop.stop()
        for loop in self.loops:
            await loop.drained()

    async def housekeeping(self) -> None:
        """Delete idempotency keys, and figures by minute, whose time is over."""
        while await delete_expired_keys(self.app.database):
            pass
        async with self.app.database.transaction() as connection:
            await delete_old_calls(connection)
        while await delete_old_minutes(self.app.database):
            pass

    async def forget(self) -> None:
        """Take out what is older than it may be kept."""
        nouns = self.app.contributions.personal_data
        await forget_expired_data(self.app.database, self.app.sealer, self.app.retention, nouns)

    async def look_for_missing_keys(self) -> None:
        """One turn: report the keys that are missing here and needed: in the log, `/health/ready` and as problems."""
        found = await count_waiting_for_keys(self.app.database, self.app.sealer, self.app.contributions.personal_data)
        log_missing_keys(found)
        await liveness.record_missing_keys(self.app.database, self.name, found)
        await record_missing_keys(self.app.database, found)
        await asyncio.sleep(_MISSING_KEYS)

    async def erase(self) -> None:
        """One turn: carry out the erasures that are due, then rest a while."""
        app, nouns = self.app, self.app.contributions.personal_data
        while not self.is_stopping and await run_erasure_step(app.database, app.sealer, app.hub, nouns):
            pass
        await asyncio.sleep(_ERASE)

    async def count_calls(self) -> None:
        """One turn: add the calls that were counted in memory to the ledger, then rest a while."""
        await self.app.ledger.flush(self.app.database)
        await asyncio.sleep(FLUSH_INTERVAL)

    async def beat(self) -> None:
        """One turn: say that we live, and hear among how many the providers' paces are shared."""
        living = await liveness.record_worker(self.app.database, self.name, head_revision())
        for loop in self.loops:
            loop.workers(living)
        await asyncio.sleep(liveness.HEARTBEAT_INTERVAL)


def build_worker(app: App) -> Worker:
    """Set up the loops and jobs that the nouns contribute."""
    name = process_name()
    context = worker_context(app, name)
    plans = [noun.worker(context) for noun in app.contributions.nouns.values()]
    return Worker(
        app,
        name,
        [loop for plan in plans for loop in plan.loops],
        [job for plan in plans for job in plan.jobs],
        asyncio.Event(),
        ActivityReporter(app.database, Activity.INBOX),
    )


def worker_context(app: App, name: str) -> WorkerContext:
    """What nouns are given in a worker process of this name."""
    return WorkerContext(app.services.installation, name, app.redis, _has_contracts)


async def _has_contracts(connection: AsyncConnection) -> bool:
    return bool(await contracts_left(connection))
