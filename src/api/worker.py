"""The worker: carries messages to companies and applies what they report, until told to end.

Its loops work from PostgreSQL alone; SAQ brings wake-ups, so that nothing waits for a loop's next turn.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from saq import Worker
from saq.types import PartialTimersDict

from api.bootstrap import House, build_house
from api.configuration import Configuration
from api.loops import keep_going
from api.migrations import current_revision, head_revision
from api.saq_queue import CalmQueue
from api.wake import INBOX, JOB, QUEUE
from core.access.senders import register_senders
from core.messages.apply import apply_due
from core.messages.claim import SEND_DEADLINE
from core.messages.deliver import Courier
from core.messages.reclaim import take_back
from core.operations import heartbeat
from core.ports import Channel

log = structlog.get_logger(__name__)

_SWEEP = 1.0
_INBOX_TICK = 0.3
_DRAIN_LIMIT = SEND_DEADLINE.total_seconds() + 5


class _QuietWorker(Worker[Any]):
    """SAQ's worker without its own signal handlers: ours end everything in order."""

    SIGNALS = ()  # type: ignore[assignment]  # SAQ's type is that of its default


@dataclass(slots=True)
class Workshop:
    """Everything one worker process does."""

    house: House
    name: str
    couriers: Mapping[Channel, Courier]
    inbox_woken: asyncio.Event

    async def wake(self, _context: object, *, topic: str) -> None:
        """The SAQ job: whoever may have work looks for it."""
        if topic == INBOX:
            self.inbox_woken.set()
        elif courier := self.couriers.get(Channel(topic)):
            courier.wake()

    async def deliver(self, courier: Courier) -> None:
        """One turn: wait for a wake-up, or a second, then send all that is due."""
        await courier.rest(_SWEEP)
        await courier.drain()

    async def read_inbox(self) -> None:
        """One turn: wait for a wake-up, or a moment, then apply all that is due."""
        try:
            async with asyncio.timeout(_INBOX_TICK):
                await self.inbox_woken.wait()
        except TimeoutError:
            pass
        self.inbox_woken.clear()
        while await apply_due(self.house.database, self.house.sealer, self.house.hub):
            pass

    async def sweep(self) -> None:
        """One turn: take back what dead workers left."""
        async with self.house.database.transaction() as connection:
            changes = await take_back(connection)
        await self.house.hub.publish(changes)
        await asyncio.sleep(_SWEEP)

    async def beat(self) -> None:
        """One turn: say that we live."""
        await heartbeat.beat(self.house.database, self.name)
        await asyncio.sleep(heartbeat.INTERVAL)


async def work(configuration: Configuration) -> None:
    """Work until a signal; raises NotReady when the configuration does not suffice."""
    house = build_house(configuration, for_worker=True)
    workshop = _open_workshop(house)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        if await _until_migrated(house, stop):
            await _run(workshop, stop)
    finally:
        await house.close()


def _open_workshop(house: House) -> Workshop:
    name = f"{socket.gethostname()}:{os.getpid()}"
    senders = {
        channel: (integration, connected.sender)
        for integration, connected in house.connected.items()
        for channel, service in house.services.outbox.channels.items()
        if service.integration == integration and connected.sender is not None
    }
    couriers = {
        channel: Courier(channel, integration, sender, house.database, house.sealer, house.hub, name)
        for channel, (integration, sender) in senders.items()
    }
    return Workshop(house, name, couriers, asyncio.Event())


async def _until_migrated(house: House, stop: asyncio.Event) -> bool:
    """Wait for the database to be there and of our revision; False when told to end before."""
    is_waiting = False
    while not stop.is_set():
        try:
            async with house.database.transaction() as connection:
                revision = await current_revision(connection)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is logged, and the next look comes soon
            log.info("worker_waits", reason=type(error).__name__)
        else:
            if revision == head_revision():
                return True
            if not is_waiting:
                log.warning(
                    "worker_waits", reason=f"database at {revision}, {head_revision()} needed: interalpha migrate up"
                )
                is_waiting = True
        try:
            async with asyncio.timeout(0.2):
                await stop.wait()
        except TimeoutError:
            continue
    return False


async def _run(workshop: Workshop, stop: asyncio.Event) -> None:
    house = workshop.house
    own = [(name, address) for name, connected in house.connected.items() for address in connected.own_addresses]
    await register_senders(house.database, own)
    # Taking jobs blocks for seconds on a connection; nobody else should wait behind that.
    blocking = house.open_redis()
    saq = _QuietWorker(
        CalmQueue(blocking, name=QUEUE),
        [(JOB, workshop.wake)],
        concurrency=2,
        dequeue_timeout=5,
        timers=PartialTimersDict(sweep=15, schedule=5, abort=5, worker_info=10),
    )
    tasks = [
        *(
            asyncio.create_task(keep_going(f"deliver {courier.channel}", partial(workshop.deliver, courier)))
            for courier in workshop.couriers.values()
        ),
        asyncio.create_task(keep_going("inbox", workshop.read_inbox)),
        asyncio.create_task(keep_going("sweep", workshop.sweep)),
        asyncio.create_task(keep_going("heartbeat", workshop.beat)),
        asyncio.create_task(saq.start()),
    ]
    log.info("worker_started", worker=workshop.name, channels=[channel.value for channel in workshop.couriers])
    await stop.wait()
    await _drain(workshop)
    await saq.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await heartbeat.leave(house.database, workshop.name)
    await blocking.aclose()
    log.info("worker_stopped", worker=workshop.name)


async def _drain(workshop: Workshop) -> None:
    """Claim no more, and give what is under way the time one call may take."""
    for courier in workshop.couriers.values():
        courier.stop()
    try:
        async with asyncio.timeout(_DRAIN_LIMIT):
            await asyncio.gather(*(courier.ended.wait() for courier in workshop.couriers.values()))
    except TimeoutError:
        log.warning("worker_left_work", detail="its leases will run out and be taken back")


def run(configuration: Configuration) -> None:
    """Work in an event loop of its own."""
    asyncio.run(work(configuration))
