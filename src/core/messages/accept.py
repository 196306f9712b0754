"""Accepting messages: check, seal, refuse when the queue is full, store in a group, notify workers and subscribers.

A message is answered for only after its row, its first event and its idempotency key were committed together.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, text

from core.access.directory import TenantZones
from core.clock import DatabaseClock
from core.database import Database
from core.errors import AppError, InvalidInput, QueueFull, Refused
from core.idempotency import IdempotentRequest
from core.ids import uuid7
from core.messages.queries import Message
from core.messages.schedule import Schedule
from core.messages.status import MessageStatus
from core.messages.store import (
    AlreadyStored,
    Outcome,
    SealedMessage,
    Stored,
    StoreQueue,
    as_message,
    find_earlier,
    seal_draft,
    store_messages,
)
from core.messages.validation import ChannelService, CheckedDraft, Draft, canonical, check_draft, load_referenced
from core.ports import Channel
from core.pubsub import Change, Hub
from core.quiet_hours import DEFAULT_QUIET_HOURS, QuietHours
from core.sealing import Sealer
from core.words import say

BACKPRESSURE_INTERVAL = 2.0
"""Seconds between two counts."""
_TRUSTED = 10.0

# The numbers span tenants, whose rows the application may not read: a function of the database returns only these.
_WAITING = text("SELECT tenant_id, channel, number FROM messages_waiting(:channels, :most)").bindparams(
    bindparam("channels", type_=ARRAY(Text))
)


class Backpressure:
    """Says whether too many messages wait for a channel: at most `limit` for all tenants together.

    When a channel is full, only tenants that hold more than an even share of it are refused. Without a recent count
    nothing is refused.
    """

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._waiting: Mapping[Channel, Mapping[UUID, int]] = {}
        self._looked_at = float("-inf")

    async def look(self, channels: Sequence[Channel]) -> None:
        """Count what waits. Raises Overloaded."""
        async with self._database.transaction() as connection:
            values = {"channels": [channel.value for channel in channels], "most": self._limit}
            rows = (await connection.execute(_WAITING, values)).all()
        waiting: dict[Channel, Counter[UUID]] = {}
        for row in rows:
            waiting.setdefault(Channel(row.channel), Counter())[row.tenant_id] = row.number
        self._waiting, self._looked_at = waiting, time.monotonic()

    def is_too_high(self, channel: Channel, tenant_id: UUID) -> bool:
        """Whether a tenant may not hand in more messages for a channel now."""
        if time.monotonic() - self._looked_at > _TRUSTED:
            return False
        waiting = self._waiting.get(channel, {})
        own, total = waiting.get(tenant_id, 0), sum(waiting.values())
        return total >= self._limit and own * len(waiting) >= self._limit


class StoredNotifier:
    """Notifies workers and subscribers of stored messages: one wake-up for each channel, and one hint for all.

    Hints are published in the background; those that come meanwhile are published together.
    """

    def __init__(self, hub: Hub, wake: Callable[[Channel], Awaitable[None]]) -> None:
        self._hub = hub
        self._wake = wake
        self._changes: list[Change] = []
        self._publishing: asyncio.Task[None] | None = None

    async def announce(self, stored: Sequence[tuple[SealedMessage, Stored]]) -> None:
        """Wake the workers of channels that have queued messages, and publish the changes."""
        queued = [sealed for sealed, one in stored if one.status is MessageStatus.QUEUED]
        for channel in dict.fromkeys(sealed.checked.route[0].channel for sealed in queued):
            await self._wake(channel)
        self._changes += [Change(sealed.tenant_id, sealed.message_id) for sealed, _ in stored]
        if self._publishing is None:
            self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        try:
            while self._changes:
                changes, self._changes = self._changes, []
                await self._hub.publish(changes)
        finally:
            self._publishing = None


_COME_BACK = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted message: `is_replay` when an earlier request stored it, otherwise with the `message` as it is now."""

    message_id: UUID
    is_replay: bool
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A sealed message, and objections that count only if an earlier request has not stored it already."""

    sealed: SealedMessage
    objections: Sequence[AppError]


class Outbox:
    """Accepts messages. `wake` tells a worker that a channel has work; a lost wake-up only costs time.

    `is_strict` refuses routes with a step that has no configured provider.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        hub: Hub,
        channels: Mapping[Channel, ChannelService],
        wake: Callable[[Channel], Awaitable[None]],
        *,
        quiet_hours: QuietHours = DEFAULT_QUIET_HOURS,
        queue_limit: int = 100_000,
        is_strict: bool = False,
    ) -> None:
        self.database = database
        self.sealer = sealer
        self.hub = hub
        self.channels = channels
        self.wake = wake
        self.is_strict = is_strict
        self.pressure = Backpressure(database, queue_limit)
        self._clock = DatabaseClock(database)
        self._schedule = Schedule(self._clock, TenantZones(database), quiet_hours)
        self._queue = StoreQueue(partial(store_messages, database), StoredNotifier(hub, wake).announce)

    async def hand_in(self, tenant_id: UUID, draft: Draft) -> tuple[Accepted | None, Sequence[AppError]]:
        """Accept a message, or only check it when it is a rehearsal; raises as `accept` does.

        Returns the message, None for a rehearsal, and why steps of the route are left out.
        """
        checked = await self._checked(tenant_id, draft)
        ready = await self.prepare(tenant_id, checked)
        if not draft.is_rehearsal:
            return await self._take(ready), checked.skipped
        [error] = await self.rehearse([ready])
        if error is not None:
            raise error
        return None, checked.skipped

    async def accept(self, tenant_id: UUID, draft: Draft) -> Accepted:
        """Store a message.

        Raises Refused with everything that is wrong with the draft, InvalidInput for an external id that is taken,
        IdempotencyConflict, or Overloaded; nothing is stored then, unless it is a CommitUnknown.
        """
        return await self._take(await self.prepare(tenant_id, await self._checked(tenant_id, draft)))

    async def _take(self, ready: PreparedMessage) -> Accepted:
        if ready.objections:
            return self.answer(ready.sealed, (await self.judge([ready]))[0])
        return self.answer(ready.sealed, await self.keep(ready.sealed))

    async def _checked(self, tenant_id: UUID, draft: Draft) -> CheckedDraft:
        referenced = await load_referenced(self.database, tenant_id, [draft])
        return check_draft(draft, self.channels, referenced, is_strict=self.is_strict)

    async def prepare(
        self, tenant_id: UUID, checked: CheckedDraft, *, message_id: UUID | None = None, batch_id: UUID | None = None
    ) -> PreparedMessage:
        """Seal a checked draft. Raises Refused for a malformed idempotency key, and Overloaded."""
        request, objections, send_at = self._idempotent(tenant_id, checked), list(checked.objections), None
        try:
            send_at = await self._schedule.send_time_of(tenant_id, checked)
        except InvalidInput as error:
            objections.append(error)
        channel = checked.route[0].channel
        if self.pressure.is_too_high(channel, tenant_id):
            objections.append(self._queue_full(channel, checked.place))
        sealed = seal_draft(
            checked, self.sealer, tenant_id, message_id or uuid7(), request=request, send_at=send_at, batch_id=batch_id
        )
        return PreparedMessage(sealed, objections)

    async def judge(self, objected: Sequence[PreparedMessage]) -> Sequence[Outcome]:
        """The outcomes of messages with objections: AlreadyStored for those stored earlier, Refused for the others."""
        named = [one for one in objected if one.sealed.request is not None or one.sealed.batch_id is not None]
        found = await find_earlier(self.database, [one.sealed for one in named]) if named else []
        referenced = {one.sealed.message_id: earlier for one, earlier in zip(named, found, strict=True) if earlier}
        return [referenced.get(one.sealed.message_id) or Refused(one.objections) for one in objected]

    async def rehearse(self, ready: Sequence[PreparedMessage]) -> Sequence[AppError | None]:
        """The errors that storing these would raise; nothing is stored."""
        found = await find_earlier(self.database, [one.sealed for one in ready])
        errors: list[AppError | None] = []
        for one, earlier in zip(ready, found, strict=True):
            is_new = earlier is None and one.objections
            errors.append(Refused(one.objections) if is_new else earlier if isinstance(earlier, AppError) else None)
        return errors

    async def keep(self, sealed: SealedMessage) -> Outcome:
        """Store a message in the next group."""
        outcome = await self._queue.submit(sealed)
        if isinstance(outcome, Stored):
            self._clock.set(outcome.created_at)
        return outcome

    @staticmethod
    def answer(sealed: SealedMessage, outcome: Outcome) -> Accepted:
        """Turn an outcome into the caller's answer; raises the error of a refusal."""
        match outcome:
            case Stored():
                return Accepted(sealed.message_id, is_replay=False, message=as_message(sealed, outcome))
            case AlreadyStored(message_id):
                return Accepted(message_id, is_replay=True)
            case AppError():
                raise outcome

    def _idempotent(self, tenant_id: UUID, checked: CheckedDraft) -> IdempotentRequest | None:
        draft = checked.draft
        if draft.idempotency_key is None:
            return None
        given, path = canonical(draft, checked.address.value), [*checked.place, "idempotencyKey"]
        try:
            return IdempotentRequest.of(
                draft.idempotency_key, "sendMessage", given, sealer=self.sealer, tenant=tenant_id, path=path
            )
        except InvalidInput as error:
            raise Refused([error]) from error

    def _queue_full(self, channel: Channel, place: Sequence[str]) -> QueueFull:
        service, retry_at = self.channels[channel], self._clock.guess() + _COME_BACK
        text = say(
            "QUEUE_FULL",
            "The {channel} queue is full. Send this again after {time}.",
            channel=channel,
            time=f"{retry_at:%Y-%m-%dT%H:%M:%SZ}",
        )
        path = [*place, "route", "0", "channel"]
        return QueueFull(text, integration=service.integration, retry_at=retry_at, path=path)
