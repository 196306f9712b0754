"""The worker process: delivers messages and applies webhooks until it is stopped.

Its loops work from PostgreSQL alone; SAQ brings wake-ups, so that nothing waits for a loop's next turn.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from saq import CronJob as SaqCronJob
from saq import Worker as SaqWorker
from saq.types import PartialTimersDict

from api.bootstrap import App, build_app
from api.configuration import Configuration
from api.migrations import current_revision, head_revision, is_current
from api.process import run_forever, tune_garbage_collector
from api.queue import JOB, QUEUE, BackoffQueue
from api.worker.loops import Worker, build_worker
from core import liveness
from core.access.directory import register_senders
from core.counters import roll_up
from core.errors import AppError, BrokenContribution
from core.log_throttle import ThrottledLog
from core.nouns import CronJob
from core.store_faults import database_fault

log = structlog.get_logger(__name__)

_HOUSEKEEPING = "7 * * * *"
_FORGET = "41 3 * * *"
_COUNT = "* * * * *"
_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0


class _QuietWorker(SaqWorker[Any]):
    """SAQ's worker without its own signal handlers: ours end everything in order."""

    SIGNALS = ()  # type: ignore[assignment]  # SAQ's type is that of its default


class _Jobs:
    """Logs jobs that fail, which SAQ's own log would with their arguments and is therefore silenced.

    `known` are the names of the jobs of this version. During a rolling deploy another version may schedule others: a
    worker of that version does them at their next time.
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)
        self._troubles = ThrottledLog()

    async def tell(self, context: Any) -> None:
        job, error = context["job"].function, context.get("exception")
        if error is None:
            return
        if job not in self._known:
            reason = "another version scheduled it; a worker of that version does it at its next time"
            self._troubles.failed("job_not_known", job, level="warning", job=job, reason=reason)
            return
        fault = database_fault(error)
        kind = f"{fault.code if fault else type(error).__name__} in {job}"
        if fault is not None:
            self._troubles.failed("job_failed", kind, job=job, reason=str(fault))
        else:
            self._troubles.failed("job_failed", kind, level="error", job=job, exc_info=error)


async def work(configuration: Configuration) -> None:
    """Work until a signal; raises NotReady when the configuration does not suffice."""
    app = build_app(configuration, for_worker=True)
    worker = build_worker(app)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        if await _until_ready(app, stop):
            await _run(worker, stop)
    finally:
        await app.close()


async def _until_ready(app: App, stop: asyncio.Event) -> bool:
    """Wait until the database is there, of our revision, and knows our senders; False when told to end before.

    Nothing makes a worker give up: a wrong password is waited for, too, since it may be corrected on either side. The
    log says what is waited for, at once and then at growing intervals.
    """
    own = [(name, address) for name, connected in app.connected.items() for address in connected.own_addresses]
    waiting, pause = ThrottledLog(), _SHORTEST_PAUSE
    while not stop.is_set():
        try:
            async with app.database.transaction() as connection:
                revision = await current_revision(connection)
            if is_current(revision):
                await register_senders(app.database, own)
                return True
            need = f"database at {revision or 'none'}, {head_revision()} needed: interalpha migrate up"
            waiting.failed("worker_waits", "migrations", reason=need)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is logged, and the next look comes soon
            _tell_of_waiting(waiting, error)
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
        except TimeoutError:
            pause = min(pause * 1.5, _LONGEST_PAUSE)
    return False


def _tell_of_waiting(waiting: ThrottledLog, error: Exception) -> None:
    fault = database_fault(error.__cause__ if isinstance(error, AppError) else error)
    if fault is not None:
        level = "warning" if fault.passes else "error"
        waiting.failed("worker_waits", fault.code, level=level, reason=str(fault))
    else:
        name = type(error).__name__
        waiting.failed("worker_waits", name, level="error", reason=name, exc_info=error)


async def _run(worker: Worker, stop: asyncio.Event) -> None:
    app = worker.app
    # Taking jobs blocks for seconds on a connection; no other command should wait behind that.
    blocking = app.open_redis()
    jobs, earlier_jobs = _saq_jobs(worker)
    known = [JOB, *(name for name, _ in earlier_jobs), *(job.function.__qualname__ for job in jobs)]
    saq = _QuietWorker(
        BackoffQueue(blocking, name=QUEUE),
        [(JOB, worker.wake), *earlier_jobs],
        cron_jobs=jobs,
        concurrency=2,
        dequeue_timeout=5,
        after_process=_Jobs(known).tell,
        timers=PartialTimersDict(sweep=15, schedule=5, abort=5, worker_info=10),
    )
    tasks = [*_loops(worker), asyncio.create_task(saq.start())]
    tune_garbage_collector()
    log.info("worker_started", worker=worker.name, loops=[loop.name for loop in worker.loops])
    await stop.wait()
    await _drain(worker)
    await saq.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    try:
        await liveness.remove_worker(app.database, worker.name)
    except AppError as error:
        # Its last beat grows old by itself.
        log.warning("worker_left_silently", reason=error.message)
    await blocking.aclose()
    log.info("worker_stopped", worker=worker.name)


def _loops(worker: Worker) -> list["asyncio.Task[None]"]:
    """Begin everything that goes on until the end. Raises BrokenContribution where two loops share a name."""
    turns: dict[str, Callable[[], Awaitable[None]]] = {
        "inbox": worker.read_inbox,
        "erase": worker.erase,
        "keys": worker.look_for_missing_keys,
        "heartbeat": worker.beat,
        "ledger": worker.count_calls,
    }
    for loop in worker.loops:
        if loop.name in turns:
            raise BrokenContribution(f"the loop {loop.name} is contributed twice")
        turns[loop.name] = loop.turn
    return [asyncio.create_task(run_forever(name, turn)) for name, turn in turns.items()]


def all_jobs(worker: Worker) -> list[CronJob]:
    """The jobs of the nouns, their counters, and the worker itself."""
    database, counters = worker.app.database, worker.app.contributions.counters.by_name
    return [
        *worker.jobs,
        CronJob("housekeeping", _HOUSEKEEPING, worker.housekeeping),
        CronJob("forget", _FORGET, worker.forget, timedelta(hours=1)),
        *(CronJob(f"count {one.name}", _COUNT, partial(roll_up, database, one)) for one in counters.values()),
    ]


def _saq_jobs(worker: Worker) -> tuple[list["SaqCronJob[Any]"], list[tuple[str, Any]]]:
    """The jobs as SAQ takes them, and the names under which an earlier version may have scheduled them."""
    scheduled, earlier = [], []
    for job in all_jobs(worker):
        function = _as_saq_function(job)
        seconds = int(job.timeout.total_seconds())
        scheduled.append(SaqCronJob(function, cron=job.cron, unique=True, timeout=seconds, retries=1))
        earlier.append((f"Workshop.{job.name}", function))
    return scheduled, earlier


def _as_saq_function(job: CronJob) -> Callable[[Any], Awaitable[None]]:
    async def run(_context: Any) -> None:
        await job.run()

    # SAQ names a job by its function; this is the name under which earlier versions scheduled them, too.
    run.__qualname__ = f"Worker.{job.name}"
    return run


async def _drain(worker: Worker) -> None:
    """Give what is under way the time one call may take, and end without it only if it takes longer."""
    try:
        async with asyncio.timeout(worker.app.timing.send_deadline.total_seconds() + 5):
            await worker.drain()
    except TimeoutError:
        log.warning("worker_left_work", detail="its leases will run out and be taken back")


def run(configuration: Configuration) -> None:
    """Work in an event loop of its own."""
    asyncio.run(work(configuration))
