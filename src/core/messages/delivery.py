"""Delivering a channel's due messages: claim, begin, send, record, publish."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.tenants import TenantZones
from core.addresses import known_address
from core.database import Database
from core.errors import Overloaded
from core.lookup_keys import prepare_lookups
from core.messages.claim import Claimed, Timing, begin, claim, lock_claimed, postpone, release
from core.messages.provider_ids import AttemptKey, ProviderName, holders_of, seal_for_attempt, withdraw_id
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.schedule import calm_moment
from core.messages.sending import Caller, CallResult, judge, open_all, with_quoted_ids
from core.messages.state_machine import MessageState, after_outcome
from core.messages.status import EventSource, ProviderId
from core.ports import Channel, MessageSender, Receipt
from core.providers.circuit import Allowance, EndedCall, summarize_calls
from core.providers.rate_limiter import RateLimiter, Unlimited
from core.pubsub import Change, Hub
from core.quiet_hours import QuietHours
from core.sealing import SealBroken, Sealer


@dataclass(frozen=True, slots=True)
class QuietHoursCheck:
    """Tells who sleeps."""

    sealer: Sealer
    zones: TenantZones
    quiet_hours: QuietHours

    async def waits(self, claimed: Sequence[Claimed]) -> list[float]:
        """In how many seconds each may go out, by the database's clock; 0 where it may now. Raises Overloaded."""
        return [await self._wait(one) if one.respects_quiet_hours else 0.0 for one in claimed]

    async def _wait(self, one: Claimed) -> float:
        tenant, row = one.key
        try:
            address = known_address(self.sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"))
        except SealBroken:
            # It goes nowhere: whoever is about to send it says why.
            return 0.0
        calm = calm_moment(one.claimed_at, address, await self.zones.of(tenant), self.quiet_hours)
        return (calm - one.claimed_at).total_seconds()


# Delivering a channel's due messages: claim in batches, send at once, write outcomes back as they come, tell.


log = structlog.get_logger(__name__)


_ADVICE = "it waits: are ENCRYPTION_KEYS the same in all processes? See docs/how-to/lost-keys.md"


class _Unreadable(Exception):
    """Some of what was claimed cannot be read; the claim is to be undone."""

    def __init__(self, reasons: Mapping[MessageKey, str]) -> None:
        super().__init__(f"{len(reasons)} messages")
        self.reasons = reasons


@dataclass(slots=True)
class ChannelDelivery:
    """Carries one channel's messages to one company, up to `in_flight` at a time and as fast as its gate allows.

    To one that is not simulated it gives nothing that a test key sent.
    """

    channel: Channel
    integration: str
    sender: MessageSender
    database: Database
    sealer: Sealer
    hub: Hub
    worker: str
    timing: Timing = field(default_factory=Timing)
    gate: RateLimiter = field(default_factory=Unlimited)
    night: QuietHoursCheck | None = None
    in_flight: int = 50
    is_simulated: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[CallResult]] = field(default_factory=set)
    _is_stopping: bool = False
    # When the gate is worth asking again, by the loop's clock; None when it let everything through.
    _ask_at: float | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Say that there may be work; cheap, and may be said too often."""
        self._woken.set()

    def stop(self) -> None:
        """Claim no more; `ended` is set once what is under way has been written down."""
        self._is_stopping = True
        self._woken.set()

    async def rest(self, longest: float) -> None:
        """Wait for a wake-up or for the gate, at most so many seconds; once stopped, for ever."""
        if self._is_stopping and not self._sending:
            self.ended.set()
            await asyncio.Event().wait()
        try:
            async with asyncio.timeout(min(longest, self._until_gate(longest))):
                await self._woken.wait()
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Send until nothing is due, or nothing more may go just now, and nothing is under way."""
        # Without the secret of look-ups no answer could be written down, so nothing is sent before.
        await prepare_lookups(self.database, self.sealer)
        is_more = True
        while is_more or self._sending:
            if self._woken.is_set() or self._until_gate(1.0) <= 0:
                self._woken.clear()
                is_more = True
            free = self.in_flight - len(self._sending)
            if self._is_stopping:
                is_more = False
            elif is_more and free:
                is_more = await self._start_some(free)
            if self._sending:
                await self._record_some()

    def _until_gate(self, otherwise: float) -> float:
        return otherwise if self._ask_at is None else max(0.0, self._ask_at - time.monotonic())

    async def _start_some(self, free: int) -> bool:
        """Start as many calls as are due and allowed; says whether more may be due that may go at once."""
        allowance = await self.gate.allow(free)
        self._ask_at = time.monotonic() + allowance.retry_in if allowance.retry_in > 0 else None
        if allowance.count == 0:
            return False
        # What is claimed from now on is leased for at least so long.
        begin_by = time.monotonic() + (self.timing.lease - self.timing.send_deadline).total_seconds()
        claimed: list[Claimed] = []
        begun: list[Claimed] = []
        try:
            claimed = await self._claim(allowance.count)
            begun += [one for one in claimed if one.has_begun]
            self._call(begun, allowance, begin_by)
            later = await self._begin([one for one in claimed if not one.has_begun])
            self._call(later, allowance, begin_by)
            begun += later
        finally:
            await self.gate.give_back(allowance, allowance.count - len(begun))
        # After the calls have begun: a worker that dies while it tells leaves less that nobody knows about.
        await self.hub.publish(Change(*one.key) for one in begun)
        if len(begun) < len(claimed) or not claimed:
            # What was put back left its place to whoever is due behind it; where nothing is, nothing is to be asked.
            self._ask_at = None
        # A fair share may leave places free though more is due: only an empty claim is the end.
        return bool(claimed) and self._ask_at is None

    def _call(self, begun: Sequence[Claimed], allowance: Allowance, begin_by: float) -> None:
        caller = Caller(self.integration, self.sender, self.timing.send_deadline, begin_by, self.is_simulated)
        self._sending.update(asyncio.create_task(caller.call(one, allowance.ticket)) for one in begun)

    async def _claim(self, limit: int) -> list[Claimed]:
        """Lease what is due and can be read; what nothing can keep from being sent begins in the same breath."""
        while True:
            try:
                async with self.database.transaction() as connection:
                    claimed, unreadable = open_all(self.sealer, await self._lease(connection, limit))
                    if unreadable:
                        raise _Unreadable(unreadable)
                    return await with_quoted_ids(connection, self.sealer, self.integration, claimed)
            except _Unreadable as found:
                # The claim was undone with its transaction. Without these, the next one holds what is due behind them.
                for key, reason in found.reasons.items():
                    log.error("message_unreadable", message_id=str(key.message_id), reason=reason, advice=_ADVICE)
                async with self.database.transaction() as connection:
                    await postpone(connection, list(found.reasons))

    async def _lease(self, connection: AsyncConnection, limit: int) -> list[Claimed]:
        return await claim(
            connection,
            self.channel,
            self.integration,
            worker=self.worker,
            limit=limit,
            timing=self.timing,
            begins=not self.gate.paces_recipients,
            keys=self.sealer.encoded_names,
        )

    async def _begin(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Begin those that may be sent now, and put back the others."""
        if not claimed:
            return []
        nights = await self.night.waits(claimed) if self.night else [0.0] * len(claimed)
        asleep, awake = _split_by_wait(claimed, nights)
        # Only now: whom the gate admits counts as written to.
        late, going = _split_by_wait(awake, await self.gate.admit([one.to_hash for one in awake]))
        async with self.database.transaction(*{one.key.tenant_id for one in claimed}) as connection:
            if asleep or late:
                await lock_claimed(connection, claimed)
            await release(connection, list(asleep), list(asleep.values()), stops_time=True)
            await release(connection, list(late), list(late.values()))
            begun = await begin(connection, going, self.timing) if going else set()
            # What ran out of time in our hands is nobody's any more, and need not wait for the end of its lease.
            left = [one for one in going if one.key not in begun]
            await release(connection, left, [0.0] * len(left))
            return [one for one in going if one.key in begun]

    async def _record_some(self) -> None:
        """Wait for the first calls to end, or for more work, and write down all that have ended by then."""
        woken = asyncio.create_task(self._woken.wait())
        patience = self._until_gate(0.0) or None
        try:
            await asyncio.wait({*self._sending, woken}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        ended = [task for task in self._sending if task.done()]
        if not ended:
            return
        try:
            await self._record([task.result() for task in ended])
        except Overloaded:
            # The database is away: the outcomes are tried again, not forgotten.
            raise
        except Exception:
            log.exception("outcomes_not_written", integration=self.integration)
            await self._record_each(ended)
        self._sending.difference_update(ended)

    async def _record_each(self, ended: list[asyncio.Task[CallResult]]) -> None:
        """Write outcomes down one by one; what cannot be written is let go, so that it holds up nobody for ever."""
        for task in ended:
            try:
                await self._record([task.result()], frees_ids=True)
            except Overloaded:
                raise
            except Exception:
                # Its lease runs out, and the message is UNCONFIRMED: which is what we know of it.
                log.exception("outcome_unwritable", message_id=str(task.result().one.key.message_id))
            self._sending.discard(task)

    async def _record(self, ended: Sequence[CallResult], *, frees_ids: bool = False) -> None:
        tenants = () if frees_ids else {end.one.key.tenant_id for end in ended}
        async with self.database.transaction(*tenants) as connection:
            # Whose ids are taken already is asked only once that kept them from being written.
            holders = await self._holders(connection, ended) if frees_ids else {}
            keys = {end.one.key for end in ended} | {holder.key for holder in holders.values()}
            standings = await lock_states(connection, keys)
            taken = set[str]()
            noted: list[EventRecord] = []
            for (_, id), holder in holders.items():
                if (given_back := withdraw_id(standings, holder, self.integration, EventSource.WORKER)) is not None:
                    noted.append(given_back)
                else:
                    log.error("provider_id_is_not_unique", integration=self.integration)
                    taken.add(id)
            for end in ended:
                noted.append(one := self._noted(end, standings[end.one.key], taken))
                if one.move is not None:
                    standings[one.key] = one.move.standing
            changes = await write_transitions(connection, noted)
        await self.hub.publish(changes)
        called = [end for end in ended if end.ticket is not None]
        await self.gate.report(
            *summarize_calls(EndedCall(end.ticket, end.error, end.one.key.tenant_id, end.one.to_hash) for end in called)
        )

    async def _holders(
        self, connection: AsyncConnection, ended: Sequence[CallResult]
    ) -> dict[ProviderName, AttemptKey]:
        """Who holds ids that the provider has just given to other attempts of ours."""
        mine = {AttemptKey(end.one.key, end.one.attempt) for end in ended}
        ids = {(self.integration, id) for end in ended if (id := _id_of(end)) is not None}
        found = await holders_of(connection, self.sealer, ids)
        return {name: holder for name, holder in found.items() if holder not in mine}

    def _named(self, end: CallResult, taken: Collection[str]) -> ProviderId | None:
        id = _id_of(end)
        return None if id is None or id in taken else seal_for_attempt(self.sealer, *end.one.key, end.one.attempt, id)

    def _noted(self, end: CallResult, before: MessageState, taken: Collection[str]) -> EventRecord:
        number = end.one.attempt
        retry_for = self.timing.retry_for
        verdict = judge(before, number, self.integration, end.result, self._named(end, taken), retry_for=retry_for)
        move = after_outcome(before, verdict.attempt, retry_in=verdict.wait, hold=self.timing.hold)
        return EventRecord(
            key=end.one.key,
            before=before,
            move=move,
            source=EventSource.WORKER,
            attempt=number,
            integration=self.integration,
            detail=verdict.detail,
            took=end.took,
        )


def _id_of(end: CallResult) -> str | None:
    return end.result.provider_message_id if isinstance(end.result, Receipt) else None


def _split_by_wait(claimed: Sequence[Claimed], waits: Sequence[float]) -> tuple[dict[Claimed, float], list[Claimed]]:
    """Those that have to wait, with how long, and those that may go."""
    late = {one: wait for one, wait in zip(claimed, waits, strict=True) if wait > 0}
    return late, [one for one in claimed if one not in late]
