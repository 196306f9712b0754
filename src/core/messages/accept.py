"""Accepting a message: check, seal, refuse when the queue is full, store in a group, notify workers and subscribers."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, text

from core.access.tenants import TenantZones
from core.clock import DatabaseClock
from core.database import Database
from core.errors import AppError, InvalidInput, QueueFull, Refused
from core.group_commit import GroupCommit
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

INTERVAL = 2.0
"""Seconds between two looks."""
_TRUSTED = 10.0

# Across tenants, which the application may not read: a function of the database tells these numbers and no more.
_WAITING = text("SELECT tenant_id, channel, number FROM messages_waiting(:channels, :most)").bindparams(
    bindparam("channels", type_=ARRAY(Text))
)


class Backpressure:
    """Says whether a channel has too much waiting. `limit` is for a whole channel; what nobody has counted is fine.

    When a channel is full, only tenants that hold more than an even share of it are refused: the others did not fill
    it.
    """

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._waiting: Mapping[Channel, Mapping[UUID, int]] = {}
        self._looked_at = float("-inf")

    async def look(self, channels: Sequence[Channel]) -> None:
        """Count anew. Raises Overloaded."""
        async with self._database.transaction() as connection:
            values = {"channels": [channel.value for channel in channels], "most": self._limit}
            rows = (await connection.execute(_WAITING, values)).all()
        waiting: dict[Channel, Counter[UUID]] = {}
        for row in rows:
            waiting.setdefault(Channel(row.channel), Counter())[row.tenant_id] = row.number
        self._waiting, self._looked_at = waiting, time.monotonic()

    def is_too_high(self, channel: Channel, tenant_id: UUID) -> bool:
        """Whether a tenant has to wait before it hands in more for a channel."""
        if time.monotonic() - self._looked_at > _TRUSTED:
            return False
        waiting = self._waiting.get(channel, {})
        own, total = waiting.get(tenant_id, 0), sum(waiting.values())
        return total >= self._limit and own * len(waiting) >= self._limit


# Saying that messages were stored: one wake-up for each channel, and one hint to all who listen.


class StoredNotifier:
    """Tells workers and listeners. Nobody waits for the store of hints: what comes meanwhile goes out together."""

    def __init__(self, hub: Hub, wake: Callable[[Channel], Awaitable[None]]) -> None:
        self._hub = hub
        self._wake = wake
        self._news: list[Change] = []
        self._publishing: asyncio.Task[None] | None = None

    async def announce(self, stored: Sequence[tuple[SealedMessage, Stored]]) -> None:
        """Say so, as far as anybody has something to do."""
        queued = [member for member, one in stored if one.status is MessageStatus.QUEUED]
        for channel in dict.fromkeys(member.checked.route[0].channel for member in queued):
            await self._wake(channel)
        self._news += [Change(member.tenant_id, member.message_id) for member, _ in stored]
        if self._publishing is None:
            self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        try:
            while self._news:
                news, self._news = self._news, []
                await self._hub.publish(news)
        finally:
            self._publishing = None


# Taking a message in: everything is checked first, then message, event and idempotency key are committed as one.


_COME_BACK = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message we answer for: `is_replay` when an earlier request made it, else with the `message` as it now is."""

    message_id: UUID
    is_replay: bool
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A member, and what is held against it unless it is known already."""

    member: SealedMessage
    objections: Sequence[AppError]


class Outbox:
    """Where messages are handed in. `wake` tells a worker that a channel has work; losing that loses nothing.

    `is_strict` refuses routes of which nobody here serves a step.
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
        self._timetable = Schedule(self._clock, TenantZones(database), quiet_hours)
        self._groups = GroupCommit(partial(store_messages, database), StoredNotifier(hub, wake).announce)

    async def hand_in(self, tenant_id: UUID, draft: Draft) -> tuple[Accepted | None, Sequence[AppError]]:
        """Accept a message, or only rehearse it where its caller asks for that: then there is none. Raises the same.

        Also says which steps of its route are left out, since nobody serves them here.
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
        """Store a message and answer for it from then on.

        Raises Refused with everything that is wrong with the draft, InvalidInput for an external id that is taken,
        IdempotencyConflict, or Overloaded; nothing is stored then, unless it is a CommitUnknown.
        """
        return await self._take(await self.prepare(tenant_id, await self._checked(tenant_id, draft)))

    async def _take(self, ready: PreparedMessage) -> Accepted:
        if ready.objections:
            return self.answer(ready.member, (await self.judge([ready]))[0])
        return self.answer(ready.member, await self.keep(ready.member))

    async def _checked(self, tenant_id: UUID, draft: Draft) -> CheckedDraft:
        known = await load_referenced(self.database, tenant_id, [draft])
        return check_draft(draft, self.channels, known, is_strict=self.is_strict)

    async def prepare(
        self, tenant_id: UUID, checked: CheckedDraft, *, message_id: UUID | None = None, batch_id: UUID | None = None
    ) -> PreparedMessage:
        """Make a checked draft ready to be stored. Raises Refused for a key that cannot be one, and Overloaded."""
        request, objections, hour = self._idempotent(tenant_id, checked), list(checked.objections), None
        try:
            hour = await self._timetable.hour_of(tenant_id, checked)
        except InvalidInput as error:
            objections.append(error)
        channel = checked.route[0].channel
        if self.pressure.is_too_high(channel, tenant_id):
            objections.append(self._queue_full(channel, checked.place))
        member = seal_draft(
            checked, self.sealer, tenant_id, message_id or uuid7(), request=request, send_at=hour, batch_id=batch_id
        )
        return PreparedMessage(member, objections)

    async def judge(self, objected: Sequence[PreparedMessage]) -> Sequence[Outcome]:
        """What becomes of members something is held against: those made before are known, the others refused."""
        named = [one for one in objected if one.member.request is not None or one.member.batch_id is not None]
        found = await find_earlier(self.database, [one.member for one in named]) if named else []
        known = {one.member.message_id: earlier for one, earlier in zip(named, found, strict=True) if earlier}
        return [known.get(one.member.message_id) or Refused(one.objections) for one in objected]

    async def rehearse(self, ready: Sequence[PreparedMessage]) -> Sequence[AppError | None]:
        """What would be refused if these were to be stored; nothing is."""
        found = await find_earlier(self.database, [one.member for one in ready])
        errors: list[AppError | None] = []
        for one, earlier in zip(ready, found, strict=True):
            is_new = earlier is None and one.objections
            errors.append(Refused(one.objections) if is_new else earlier if isinstance(earlier, AppError) else None)
        return errors

    async def keep(self, member: SealedMessage) -> Outcome:
        """Store a member together with whatever else is being stored."""
        outcome = await self._groups.submit(member)
        if isinstance(outcome, Stored):
            self._clock.set(outcome.created_at)
        return outcome

    @staticmethod
    def answer(member: SealedMessage, outcome: Outcome) -> Accepted:
        """What the caller is told; raises what was refused."""
        match outcome:
            case Stored():
                return Accepted(member.message_id, is_replay=False, message=as_message(member, outcome))
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
