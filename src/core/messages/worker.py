"""What a worker does for messages: delivers each channel, lets time pass, settles, reconciles, seals old ids."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from core import liveness
from core.access.directory import TenantZones
from core.liveness import Activity, ActivityReporter
from core.messages.claim import Timing
from core.messages.delivery import ChannelDelivery, QuietHoursCheck
from core.messages.provider_ids import seal_clear_ids
from core.messages.reconcile import Reconciler
from core.messages.timeouts import apply_due_times, reclaim_expired_leases
from core.messages.unconfirmed import Settler
from core.nouns import CronJob, Installation, Loop, WorkerContext, WorkerPlan
from core.ports import Mode
from core.providers.ledger import Ledger
from core.providers.rate_limiter import SharedRateLimiter
from core.pubsub import Change
from core.settings import CoreSettings

_SWEEP = 1.0
_SETTLE = 1.0
_SOON_AFTER, _LONG_AFTER = 3.0, 600.0
"""Between two walks through the ids in clear: while some may still be written, and when none were found."""


def plan_work(context: WorkerContext) -> WorkerPlan:
    """The loops and jobs of messages; a channel is delivered where its provider is configured."""
    installation = context.installation
    timing = timing_of(installation.settings)
    deliveries = build_deliveries(context)
    lookups = {name: one.lookup for name, one in installation.connected.items() if one.lookup is not None}
    simulated = frozenset(name for name, one in installation.connected.items() if one.mode is Mode.SIMULATED)
    stores = (installation.database, installation.sealer, installation.hub)
    settling = Settling(Settler(*stores, lookups, context.name, timing, simulated))
    reconciler = Reconciler(*stores, lookups, timing, simulated)
    pulse = ActivityReporter(installation.database, Activity.SWEEP)
    loops = [
        *map(loop_of, deliveries),
        Loop("sweep", partial(_sweep, installation, timing, deliveries, pulse)),
        Loop("settle", settling.turn, stop=settling.stop, drained=settling.drained),
        Loop("seal", partial(_seal_clear_ids, context)),
    ]
    job = CronJob("reconcile", "*/5 * * * *", partial(_reconcile, reconciler), timedelta(minutes=4))
    return WorkerPlan(loops, [job])


def timing_of(settings: CoreSettings) -> Timing:
    """The deadline of a call, and how long an unconfirmed message is held."""
    return Timing(timedelta(seconds=settings.send_deadline), timedelta(seconds=settings.unconfirmed_hold))


def build_deliveries(context: WorkerContext) -> Sequence[ChannelDelivery]:
    """A delivery for each channel whose provider is configured."""
    installation, settings = context.installation, context.installation.settings
    quiet_hours = QuietHoursCheck(installation.sealer, TenantZones(installation.database), settings.quiet_hours)
    deliveries = []
    for channel, name in installation.channels.items():
        connected = installation.connected.get(name)
        if connected is not None and connected.sender is not None:
            deliveries.append(
                ChannelDelivery(
                    channel,
                    name,
                    connected.sender,
                    installation.database,
                    installation.sealer,
                    installation.hub,
                    context.name,
                    timing=replace(timing_of(settings), retry_for=settings.retry_for[channel]),
                    rate_limiter=SharedRateLimiter(context.redis, name, connected.pace),
                    quiet_hours=quiet_hours,
                    in_flight=connected.in_flight,
                    is_simulated=connected.mode is Mode.SIMULATED,
                    ledger=installation.service(Ledger),
                )
            )
    return deliveries


def loop_of(delivery: ChannelDelivery) -> Loop:
    """The loop of a delivery: it waits for a wake-up, or a second, and then sends all that is due."""

    async def turn() -> None:
        await delivery.rest(_SWEEP)
        await delivery.drain()

    async def drained() -> None:
        await delivery.ended.wait()

    def workers(living: int) -> None:
        delivery.rate_limiter.workers = living

    name, topic = f"deliver {delivery.channel}", delivery.channel.value
    return Loop(name, turn, topic, delivery.wake, delivery.stop, drained, workers)


async def _sweep(
    installation: Installation, timing: Timing, deliveries: Sequence[ChannelDelivery], pulse: ActivityReporter
) -> None:
    """Take back what dead workers left, and let time pass, until nothing is left to do; then rest."""
    while changes := [*await _reclaim_leases(installation, timing), *await _apply_due_times(installation)]:
        await installation.hub.publish(changes)
        for delivery in deliveries:
            delivery.wake()
    await pulse.beat()
    await asyncio.sleep(_SWEEP)


async def _reclaim_leases(installation: Installation, timing: Timing) -> Sequence[Change]:
    async with installation.database.transaction() as connection:
        return await reclaim_expired_leases(connection, hold=timing.hold)


async def _apply_due_times(installation: Installation) -> Sequence[Change]:
    async with installation.database.transaction() as connection:
        return await apply_due_times(connection)


@dataclass(slots=True)
class Settling:
    """Settles every unconfirmed message that is due; once stopped, it begins no other."""

    settler: Settler
    _is_stopping: bool = False
    _is_free: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def turn(self) -> None:
        """Settle all that is due, then rest a while."""
        async with self._is_free:
            while not self._is_stopping and await self.settler.settle_due():
                pass
        await asyncio.sleep(_SETTLE)

    def stop(self) -> None:
        """Begin no other."""
        self._is_stopping = True

    async def drained(self) -> None:
        """Wait for the one under way."""
        async with self._is_free:
            pass


async def _reconcile(reconciler: Reconciler) -> None:
    """Ask for overdue reports, and count what was sent on the days that are over."""
    while await reconciler.ask_for_reports():
        pass
    await reconciler.count_days()


async def _seal_clear_ids(context: WorkerContext) -> None:
    """Seal provider ids that lie in clear, as long as processes of the version before may write any."""
    installation = context.installation
    async with installation.database.transaction() as connection:
        is_over = not await context.has_contracts(connection)
        may_come = await liveness.has_earlier_workers(connection)
    found = 0 if is_over else await seal_clear_ids(installation.database, installation.sealer)
    await asyncio.sleep(_SOON_AFTER if found or may_come else _LONG_AFTER)
