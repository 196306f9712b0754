"""Taking a message in: everything is checked first, then message, event and idempotency key are committed as one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from core.access.zones import TenantZones
from core.clock import DatabaseClock
from core.database import Database
from core.errors import AppError, InvalidInput, QueueFull, Refused
from core.idempotency import IdempotentRequest
from core.identifiers import uuid7
from core.messages.announce import Announcer
from core.messages.check import Checked, check
from core.messages.draft import ChannelService, Draft, canonical
from core.messages.groups import Groups
from core.messages.known import look_up
from core.messages.member import Earlier, Member, Outcome, Stored, as_message, seal
from core.messages.read import Message
from core.messages.store import find_earlier, store
from core.messages.timetable import Timetable
from core.operations.pressure import Pressure
from core.ports import Channel
from core.pubsub import Hub
from core.quiet_hours import NIGHT, QuietHours
from core.sealing import Sealer
from core.words import say

_COME_BACK = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message we answer for: `is_replay` when an earlier request made it, else with the `message` as it now is."""

    message_id: UUID
    is_replay: bool
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A member, and what is held against it unless it is known already."""

    member: Member
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
        quiet_hours: QuietHours = NIGHT,
        queue_limit: int = 100_000,
        is_strict: bool = False,
    ) -> None:
        self.database = database
        self.sealer = sealer
        self.hub = hub
        self.channels = channels
        self.wake = wake
        self.is_strict = is_strict
        self.pressure = Pressure(database, queue_limit)
        self._clock = DatabaseClock(database)
        self._timetable = Timetable(self._clock, TenantZones(database), quiet_hours)
        self._groups = Groups(partial(store, database), Announcer(hub, wake).announce)

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

    async def _take(self, ready: Ready) -> Accepted:
        if ready.objections:
            return self.answer(ready.member, (await self.judge([ready]))[0])
        return self.answer(ready.member, await self.keep(ready.member))

    async def _checked(self, tenant_id: UUID, draft: Draft) -> Checked:
        known = await look_up(self.database, tenant_id, [draft])
        return check(draft, self.channels, known, is_strict=self.is_strict)

    async def prepare(
        self, tenant_id: UUID, checked: Checked, *, message_id: UUID | None = None, batch_id: UUID | None = None
    ) -> Ready:
        """Make a checked draft ready to be stored. Raises Refused for a key that cannot be one, and Overloaded."""
        request, objections, hour = self._idempotent(tenant_id, checked), list(checked.objections), None
        try:
            hour = await self._timetable.hour_of(tenant_id, checked)
        except InvalidInput as error:
            objections.append(error)
        channel = checked.route[0].channel
        if self.pressure.is_too_high(channel, tenant_id):
            objections.append(self._queue_full(channel, checked.place))
        member = seal(
            checked, self.sealer, tenant_id, message_id or uuid7(), request=request, send_at=hour, batch_id=batch_id
        )
        return Ready(member, objections)

    async def judge(self, objected: Sequence[Ready]) -> Sequence[Outcome]:
        """What becomes of members something is held against: those made before are known, the others refused."""
        named = [one for one in objected if one.member.request is not None or one.member.batch_id is not None]
        found = await find_earlier(self.database, [one.member for one in named]) if named else []
        known = {one.member.message_id: earlier for one, earlier in zip(named, found, strict=True) if earlier}
        return [known.get(one.member.message_id) or Refused(one.objections) for one in objected]

    async def rehearse(self, ready: Sequence[Ready]) -> Sequence[AppError | None]:
        """What would be refused if these were to be stored; nothing is."""
        found = await find_earlier(self.database, [one.member for one in ready])
        errors: list[AppError | None] = []
        for one, earlier in zip(ready, found, strict=True):
            is_new = earlier is None and one.objections
            errors.append(Refused(one.objections) if is_new else earlier if isinstance(earlier, AppError) else None)
        return errors

    async def keep(self, member: Member) -> Outcome:
        """Store a member together with whatever else is being stored."""
        outcome = await self._groups.submit(member)
        if isinstance(outcome, Stored):
            self._clock.set(outcome.created_at)
        return outcome

    @staticmethod
    def answer(member: Member, outcome: Outcome) -> Accepted:
        """What the caller is told; raises what was refused."""
        match outcome:
            case Stored():
                return Accepted(member.message_id, is_replay=False, message=as_message(member, outcome))
            case Earlier(message_id):
                return Accepted(message_id, is_replay=True)
            case AppError():
                raise outcome

    def _idempotent(self, tenant_id: UUID, checked: Checked) -> IdempotentRequest | None:
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
