"""The loops of one worker: delivery for each channel, inbox, timeouts, unconfirmed messages, reconciliation."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from api.bootstrap import App
from api.migrations import contracts_left, head_revision
from api.process import process_name
from api.queue import INBOX
from core import liveness
from core.access.api_keys import revoke_orphaned_keys
from core.access.directory import TenantZones, delete_old_session_ends
from core.idempotency import delete_expired_keys
from core.inbox.apply import apply_due_events
from core.liveness import Activity, ActivityReporter
from core.messages.delivery import ChannelDelivery, QuietHoursCheck
from core.messages.provider_ids import seal_clear_ids
from core.messages.reconcile import Reconciler
from core.messages.timeouts import apply_due_times, reclaim_expired_leases
from core.messages.unconfirmed import Settler
from core.ports import Channel, Mode
from core.privacy.encryption_keys import count_waiting_for_keys, log_missing_keys
from core.privacy.erase import run_erasure_step
from core.privacy.retention import forget_expired_data
from core.providers.rate_limiter import SharedRateLimiter
from core.pubsub import Change
from core.templates.catalogue_sync import CatalogueSync

_SWEEP = 1.0
_CATALOGUE_TICK = 2.0
_INBOX_TICK = 0.3
_SETTLE = 1.0
_ERASE = 2.0
_MISSING_KEYS = 30.0
_SOON_AFTER, _LONG_AFTER = 3.0, 600.0
"""Between two walks through the ids in clear: while some may still be written, and when none were found."""
_ORPHANS = 2.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Worker:
    """Everything one worker process does."""

    app: App
    name: str
    deliveries: Mapping[Channel, ChannelDelivery]
    keepers: Sequence[CatalogueSync]
    inbox_woken: asyncio.Event
    settler: Settler
    reconciler: Reconciler
    inbox_pulse: ActivityReporter
    sweep_pulse: ActivityReporter
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_stopping: bool = False

    async def wake(self, _context: object, *, topic: str) -> None:
        """The SAQ job: the loops that may have work look for it."""
        if topic == INBOX:
            self.inbox_woken.set()
        elif delivery := self.deliveries.get(Channel(topic)):
            delivery.wake()

    async def deliver(self, delivery: ChannelDelivery) -> None:
        """One turn: wait for a wake-up, or a second, then send all that is due."""
        await delivery.rest(_SWEEP)
        await delivery.drain()

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

    async def sweep(self) -> None:
        """One turn: take back what dead workers left, and let time pass, until nothing is left to do."""
        while changes := [*await self._reclaim_leases(), *await self._apply_due_times()]:
            await self.app.hub.publish(changes)
            for delivery in self.deliveries.values():
                delivery.wake()
        await self.sweep_pulse.beat()
        await asyncio.sleep(_SWEEP)

    async def _reclaim_leases(self) -> Sequence[Change]:
        async with self.app.database.transaction() as connection:
            return await reclaim_expired_leases(connection, hold=self.app.timing.hold)

    async def _apply_due_times(self) -> Sequence[Change]:
        async with self.app.database.transaction() as connection:
            return await apply_due_times(connection)

    async def settle(self) -> None:
        """One turn: settle every doubt that is due, then rest a while."""
        async with self.settling:
            while not self.is_stopping and await self.settler.settle_due():
                pass
        await asyncio.sleep(_SETTLE)

    async def drain(self) -> None:
        """Claim no more, and return once what is under way has been written down."""
        self.is_stopping = True
        for delivery in self.deliveries.values():
            delivery.stop()
        for delivery in self.deliveries.values():
            await delivery.ended.wait()
        async with self.settling:
            pass

    async def reconcile(self, _context: object) -> None:
        """The SAQ cron: ask for overdue reports, and count what was sent on the days that are over."""
        while await self.reconciler.ask_for_reports():
            pass
        await self.reconciler.count_days()

    async def keep_templates(self, keeper: CatalogueSync) -> None:
        """One turn: read a provider's templates if it is time, and look again in a moment."""
        await keeper.read_if_due()
        await asyncio.sleep(_CATALOGUE_TICK)

    async def housekeeping(self, _context: object) -> None:
        """The SAQ cron: forget idempotency keys whose time is over, and sessions that ended long ago."""
        while await delete_expired_keys(self.app.database):
            pass
        async with self.app.database.transaction() as connection:
            await delete_old_session_ends(connection)

    async def forget(self, _context: object) -> None:
        """The SAQ cron: take out what is older than it may be kept."""
        await forget_expired_data(self.app.database, self.app.sealer, self.app.retention)

    async def seal_clear_ids(self) -> None:
        """One turn: seal provider ids that lie in clear, as long as processes of the version before may write any."""
        async with self.app.database.transaction() as connection:
            is_over = not await contracts_left(connection)
            may_come = await liveness.has_earlier_workers(connection)
        found = 0 if is_over else await seal_clear_ids(self.app.database, self.app.sealer)
        await asyncio.sleep(_SOON_AFTER if found or may_come else _LONG_AFTER)

    async def look_for_missing_keys(self) -> None:
        """One turn: say which keys are missing here that something waits for, in the log and in `/health/ready`."""
        found = await count_waiting_for_keys(self.app.database, self.app.sealer)
        log_missing_keys(found)
        await liveness.record_missing_keys(self.app.database, self.name, found)
        await asyncio.sleep(_MISSING_KEYS)

    async def erase(self) -> None:
        """One turn: carry out the erasures that are due, then rest a while."""
        while not self.is_stopping and await run_erasure_step(self.app.database, self.app.sealer, self.app.hub):
            pass
        await asyncio.sleep(_ERASE)

    async def revoke_orphaned_keys(self) -> None:
        """One turn: revoke API keys whose maker is gone, where that is wanted, then rest a while."""
        if self.app.settings.api_keys_end_with_maker:
            async with self.app.database.transaction() as connection:
                if number := await revoke_orphaned_keys(connection):
                    log.warning("orphaned_keys_revoked", number=number)
        await asyncio.sleep(_ORPHANS)

    async def beat(self) -> None:
        """One turn: say that we live, and hear among how many the providers' paces are shared."""
        living = await liveness.record_worker(self.app.database, self.name, head_revision())
        for delivery in self.deliveries.values():
            delivery.rate_limiter.workers = living
        await asyncio.sleep(liveness.HEARTBEAT_INTERVAL)


def build_worker(app: App) -> Worker:
    """Set up a delivery for each channel whose provider is configured."""
    name = process_name()
    quiet_hours = QuietHoursCheck(app.sealer, TenantZones(app.database), app.settings.quiet_hours)
    deliveries = {}
    for channel, service in app.services.outbox.channels.items():
        connected = app.connected.get(service.integration)
        if connected is not None and connected.sender is not None:
            deliveries[channel] = ChannelDelivery(
                channel,
                service.integration,
                connected.sender,
                app.database,
                app.sealer,
                app.hub,
                name,
                timing=replace(app.timing, retry_for=app.settings.retry_for[channel]),
                rate_limiter=SharedRateLimiter(app.redis, service.integration, connected.pace),
                quiet_hours=quiet_hours,
                in_flight=connected.in_flight,
                is_simulated=connected.mode is Mode.SIMULATED,
            )
    lookups = {name: one.lookup for name, one in app.connected.items() if one.lookup is not None}
    simulated = frozenset(name for name, one in app.connected.items() if one.mode is Mode.SIMULATED)
    return Worker(
        app,
        name,
        deliveries,
        _catalogue_syncs(app),
        asyncio.Event(),
        Settler(app.database, app.sealer, app.hub, lookups, name, app.timing, simulated),
        Reconciler(app.database, app.sealer, app.hub, lookups, app.timing, simulated),
        ActivityReporter(app.database, Activity.INBOX),
        ActivityReporter(app.database, Activity.SWEEP),
    )


def _catalogue_syncs(app: App) -> Sequence[CatalogueSync]:
    """One for each provider that keeps templates for us."""
    served = ((channel, service.integration) for channel, service in app.services.outbox.channels.items())
    return [
        CatalogueSync(name, channel, connected.templates, app.database)
        for channel, name in served
        if (connected := app.connected.get(name)) is not None and connected.templates is not None
    ]
