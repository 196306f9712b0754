"""Delivering a channel's due messages: claim, begin, send, record, publish.

`claim.py` holds the statements that claim and begin, `sending.py` makes a call and judges its outcome, `record.py`
writes transitions. No transaction is open while a call is under way.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.directory import TenantZones
from core.addresses import known_address
from core.claims import postpone
from core.database import Database
from core.errors import FailureScope, Overloaded
from core.messages.claim import Claimed, Timing, begin, claim, lock_claimed, release
from core.messages.provider_ids import AttemptKey, ProviderName, holders_of, seal_for_attempt, withdraw_id
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.schedule import next_allowed
from core.messages.sending import Caller, CallResult, judge_outcome, open_all, with_quoted_ids
from core.messages.state_machine import MessageState, after_outcome
from core.messages.status import EventSource, ProviderId
from core.messages.tables import MESSAGES
from core.ports import Channel, MessageSender, Receipt
from core.ports.calls import end_of
from core.providers.circuit import Allowance, EndedCall, summarize_calls
from core.providers.ledger import Ledger
from core.providers.rate_limiter import RateLimiter, Unlimited
from core.pubsub import Change, Hub
from core.quiet_hours import QuietHours
from core.sealing import SealBroken, Sealer, prepare_lookups

log = structlog.get_logger(__name__)

SEND = "send message"
"""The operation in the ledger of calls."""


@dataclass(frozen=True, slots=True)
class QuietHoursCheck:
    """Finds out which claimed messages have to wait for the end of quiet hours.

    Their time was checked when they were accepted, but a backlog, a retry or a fallback may have delayed them.
    """

    sealer: Sealer
    zones: TenantZones
    quiet_hours: QuietHours

    async def waits(self, claimed: Sequence[Claimed]) -> list[float]:
        """The seconds until each may be sent, by the database's clock, 0 where that is now. Raises Overloaded."""
        return [await self._wait(one) if one.respects_quiet_hours else 0.0 for one in claimed]

    async def _wait(self, one: Claimed) -> float:
        tenant, row = one.key
        try:
            address = known_address(self.sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"))
        except SealBroken:
            # It is not sent: opening it for the call fails, too, and logs why.
            return 0.0
        calm = next_allowed(one.claimed_at, address, await self.zones.of(tenant), self.quiet_hours)
        return (calm - one.claimed_at).total_seconds()


_ADVICE = "it waits: are ENCRYPTION_KEYS the same in all processes? See docs/how-to/lost-keys.md"
_UNREADABLE_PAUSE = timedelta(minutes=1)


class _UnreadableClaim(Exception):
    """Some of the claimed messages cannot be read; the claim is rolled back."""

    def __init__(self, reasons: Mapping[MessageKey, str]) -> None:
        super().__init__(f"{len(reasons)} messages")
        self.reasons = reasons


@dataclass(slots=True)
class ChannelDelivery:
    """Sends one channel's messages through one provider, up to `in_flight` at a time and as fast as `rate_limiter`
    allows.

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
    rate_limiter: RateLimiter = field(default_factory=Unlimited)
    quiet_hours: QuietHoursCheck | None = None
    in_flight: int = 50
    is_simulated: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[CallResult]] = field(default_factory=set)
    _is_stopping: bool = False
    # When to ask the rate limiter again, by the loop's clock; None when it allowed everything.
    _ask_at: float | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Signal that there may be work; cheap, and harmless when there is none."""
        self._woken.set()

    def stop(self) -> None:
        """Stop claiming; `ended` is set once the calls under way have been recorded."""
        self._is_stopping = True
        self._woken.set()

    async def rest(self, longest: float) -> None:
        """Wait for a wake-up or for the rate limiter, at most so many seconds; after `stop`, for ever."""
        if self._is_stopping and not self._sending:
            self.ended.set()
            await asyncio.Event().wait()
        try:
            async with asyncio.timeout(min(longest, self._until_limiter(longest))):
                await self._woken.wait()
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Send until nothing is due, or nothing more is allowed now, and no call is under way."""
        # Without the key for look-up hashes no outcome could be recorded, so nothing is sent before it is loaded.
        await prepare_lookups(self.database, self.sealer)
        is_more = True
        while is_more or self._sending:
            if self._woken.is_set() or self._until_limiter(1.0) <= 0:
                self._woken.clear()
                is_more = True
            free = self.in_flight - len(self._sending)
            if self._is_stopping:
                is_more = False
            elif is_more and free:
                is_more = await self._start_some(free)
            if self._sending:
                await self._record_some()

    def _until_limiter(self, otherwise: float) -> float:
        return otherwise if self._ask_at is None else max(0.0, self._ask_at - time.monotonic())

    async def _start_some(self, free: int) -> bool:
        """Start as many calls as are due and allowed; returns whether more may be due that can be sent at once."""
        allowance = await self.rate_limiter.allow(free)
        self._ask_at = time.monotonic() + allowance.retry_in if allowance.retry_in > 0 else None
        if allowance.count == 0:
            return False
        # The lease of what is claimed from now on lasts at least until the deadline of a call begun by then.
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
            await self.rate_limiter.give_back(allowance, allowance.count - len(begun))
        # After the calls have begun: a worker that dies while it publishes leaves fewer messages unconfirmed.
        await self.hub.publish(Change(*one.key) for one in begun)
        if len(begun) < len(claimed) or not claimed:
            # Some claims were deferred, or nothing was due: do not wait for the rate limiter.
            self._ask_at = None
        # Equal shares may leave places free although more is due: only an empty claim ends this.
        return bool(claimed) and self._ask_at is None

    def _call(self, begun: Sequence[Claimed], allowance: Allowance, begin_by: float) -> None:
        caller = Caller(self.integration, self.sender, self.timing.send_deadline, begin_by, self.is_simulated)
        self._sending.update(asyncio.create_task(caller.call(one, allowance.ticket)) for one in begun)

    async def _claim(self, limit: int) -> list[Claimed]:
        """Claim messages that are due and can be read; those that nothing can delay any more begin with the claim."""
        while True:
            try:
                async with self.database.transaction() as connection:
                    claimed, unreadable = open_all(self.sealer, await self._lease(connection, limit))
                    if unreadable:
                        raise _UnreadableClaim(unreadable)
                    return await with_quoted_ids(connection, self.sealer, self.integration, claimed)
            except _UnreadableClaim as found:
                # The claim was rolled back. Once these are postponed, the next claim gets the messages due after them.
                for key, reason in found.reasons.items():
                    log.error("message_unreadable", message_id=str(key.message_id), reason=reason, advice=_ADVICE)
                async with self.database.transaction() as connection:
                    await postpone(connection, MESSAGES, list(found.reasons), _UNREADABLE_PAUSE)

    async def _lease(self, connection: AsyncConnection, limit: int) -> list[Claimed]:
        return await claim(
            connection,
            self.channel,
            self.integration,
            worker=self.worker,
            limit=limit,
            timing=self.timing,
            begins=not self.rate_limiter.paces_recipients,
            keys=self.sealer.encoded_names,
        )

    async def _begin(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Begin those that may be sent now, and release the others."""
        if not claimed:
            return []
        waits = await self.quiet_hours.waits(claimed) if self.quiet_hours else [0.0] * len(claimed)
        deferred, allowed = _split_by_wait(claimed, waits)
        # Only for those outside quiet hours: the rate limiter counts those that it admits.
        paced, going = _split_by_wait(allowed, await self.rate_limiter.admit([one.to_hash for one in allowed]))
        async with self.database.transaction(*{one.key.tenant_id for one in claimed}) as connection:
            if deferred or paced:
                await lock_claimed(connection, claimed)
            await release(connection, list(deferred), list(deferred.values()), stops_time=True)
            await release(connection, list(paced), list(paced.values()))
            begun = await begin(connection, going, self.timing) if going else set()
            # What expired since the claim is released at once, instead of at the end of its lease.
            left = [one for one in going if one.key not in begun]
            await release(connection, left, [0.0] * len(left))
            return [one for one in going if one.key in begun]

    async def _record_some(self) -> None:
        """Wait for the first calls to end, or for more work, and record all that have ended by then."""
        woken = asyncio.create_task(self._woken.wait())
        patience = self._until_limiter(0.0) or None
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
            # The database is away: recording is tried again.
            raise
        except Exception:
            log.exception("outcomes_not_written", integration=self.integration)
            await self._record_each(ended)
        self._sending.difference_update(ended)

    async def _record_each(self, ended: list[asyncio.Task[CallResult]]) -> None:
        """Record outcomes one by one; one that cannot be written is dropped, so that the others go on."""
        for task in ended:
            try:
                await self._record([task.result()], withdraws_ids=True)
            except Overloaded:
                raise
            except Exception:
                # Its lease will run out, and the message becomes UNCONFIRMED, which is true.
                log.exception("outcome_unwritable", message_id=str(task.result().one.key.message_id))
            self._sending.discard(task)

    async def _record(self, ended: Sequence[CallResult], *, withdraws_ids: bool = False) -> None:
        tenants = () if withdraws_ids else {end.one.key.tenant_id for end in ended}
        async with self.database.transaction(*tenants) as connection:
            # Ids that another attempt holds are looked up only after they kept the outcomes from being written.
            holders = await self._holders(connection, ended) if withdraws_ids else {}
            keys = {end.one.key for end in ended} | {holder.key for holder in holders.values()}
            states = await lock_states(connection, keys)
            taken = set[str]()
            records: list[EventRecord] = []
            for (_, id), holder in holders.items():
                if (given_back := withdraw_id(states, holder, self.integration, EventSource.WORKER)) is not None:
                    records.append(given_back)
                else:
                    log.error("provider_id_is_not_unique", integration=self.integration)
                    taken.add(id)
            for end in ended:
                records.append(one := self._event_record(end, states[end.one.key], taken))
                if one.transition is not None:
                    states[one.key] = one.transition.state
            changes = await write_transitions(connection, records)
        await self.hub.publish(changes)
        for end in ended:
            # What broke on our side, or was not called, says nothing about the provider.
            if end.took and (end.error is None or end.error.scope is not FailureScope.OURS):
                self.ledger.record(self.integration, SEND, end_of(end.error), end.took.total_seconds())
        called = [end for end in ended if end.ticket is not None]
        await self.rate_limiter.report(
            *summarize_calls(EndedCall(end.ticket, end.error, end.one.key.tenant_id, end.one.to_hash) for end in called)
        )

    async def _holders(
        self, connection: AsyncConnection, ended: Sequence[CallResult]
    ) -> dict[ProviderName, AttemptKey]:
        """The attempts that hold ids which the provider has just given to other attempts."""
        mine = {AttemptKey(end.one.key, end.one.attempt) for end in ended}
        ids = {(self.integration, id) for end in ended if (id := _id_of(end)) is not None}
        found = await holders_of(connection, self.sealer, ids)
        return {name: holder for name, holder in found.items() if holder not in mine}

    def _named(self, end: CallResult, taken: Collection[str]) -> ProviderId | None:
        id = _id_of(end)
        return None if id is None or id in taken else seal_for_attempt(self.sealer, *end.one.key, end.one.attempt, id)

    def _event_record(self, end: CallResult, before: MessageState, taken: Collection[str]) -> EventRecord:
        number = end.one.attempt
        retry_for = self.timing.retry_for
        verdict = judge_outcome(
            before, number, self.integration, end.result, self._named(end, taken), retry_for=retry_for
        )
        transition = after_outcome(before, verdict.attempt, retry_in=verdict.wait, hold=self.timing.hold)
        return EventRecord(
            key=end.one.key,
            before=before,
            transition=transition,
            source=EventSource.WORKER,
            attempt=number,
            integration=self.integration,
            detail=verdict.detail,
            took=end.took,
        )


def _id_of(end: CallResult) -> str | None:
    return end.result.provider_message_id if isinstance(end.result, Receipt) else None


def _split_by_wait(claimed: Sequence[Claimed], waits: Sequence[float]) -> tuple[dict[Claimed, float], list[Claimed]]:
    """Split into those that have to wait, with their waits in seconds, and those that may be sent."""
    late = {one: wait for one, wait in zip(claimed, waits, strict=True) if wait > 0}
    return late, [one for one in claimed if one not in late]
