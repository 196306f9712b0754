"""Trying failed messages again on request: a new round of steps after the old ones, which keep their numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.addresses import known_address
from core.audit.act import Act
from core.errors import AppError, InvalidState, NotConfigured, NotFound, NotSimulated
from core.messages import queries
from core.messages.accept import Outbox
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.state_machine import MessageState, retried
from core.messages.status import MOST_STEPS, EventSource, MessageStatus, Step, has_room, latest_round
from core.messages.tables import message_events, messages
from core.messages.validation import ChannelService, check_route, served_steps
from core.ports import Channel
from core.ports.principal import UNRESTRICTED, Reach
from core.pubsub import Change
from core.sealing import SealBroken, Sealer
from core.words import say


@dataclass(frozen=True, slots=True)
class Bounds:
    """A caller's reach, and what reads the addresses it is compared with."""

    sealer: Sealer
    reach: Reach

    async def outside(self, connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
        """Those messages, of a tenant's, that this caller could not have sent."""
        if self.reach == UNRESTRICTED:
            return frozenset()
        columns = (messages.c.id, messages.c.to_sealed, messages.c.simulated_only)
        chosen = select(*columns).where(messages.c.tenant_id == tenant, messages.c.id.in_(list(ids)))
        rows = (await connection.execute(chosen)).all()
        return frozenset(row.id for row in rows if not self._holds(tenant, row.id, row.to_sealed, row.simulated_only))

    def _holds(self, tenant: UUID, row: UUID, to_sealed: bytes | None, simulated_only: bool) -> bool:
        if self.reach.simulated_only and not simulated_only:
            return False
        # What is no longer kept is refused for that, whoever asks.
        if self.reach.recipients is None or to_sealed is None:
            return True
        try:
            return self.reach.allows(self.sealer.open(to_sealed, tenant=tenant, row=row, column="to"))
        except SealBroken:
            # Nobody can say whom it goes to: one such message must not keep the others back.
            return False


# Trying failed messages again, because somebody asked: a new round of steps after the old ones, whose numbers stay.


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retried:
    """A message that waits for a worker again, on this channel first."""

    change: Change
    channel: Channel


Refusal = NotFound | InvalidState | NotConfigured
Channels = Mapping[Channel, ChannelService]


async def retry(
    connection: AsyncConnection,
    tenant: UUID,
    message_id: UUID,
    route: Sequence[Step] | None,
    source: EventSource,
    *,
    channels: Channels,
    may_double: bool = True,
    bounds: Bounds | None = None,
) -> Retried:
    """Try a failed message again, over another route or the one of its last try.

    Where it had a time it was worth sending in, it has as much again from now. Without `may_double` one that may
    still arrive is refused, and so is one outside the caller's bounds. Raises NotFound, InvalidState, or NotConfigured
    when nobody serves its first channel, or nobody whom a test key's message may be given.
    """
    results = await retry_all(
        connection, tenant, [message_id], route, source, channels=channels, may_double=may_double, bounds=bounds
    )
    result = results[message_id]
    if isinstance(result, AppError):
        raise result
    return result


def _served(steps: Sequence[Step], channels: Channels) -> Sequence[Step]:
    return served_steps([one for one in steps if one.channel in channels], channels) or steps


async def is_retried(
    connection: AsyncConnection, tenant: UUID, message_id: UUID, route: Sequence[Step] | None, channels: Channels
) -> bool:
    """Whether that very try was asked for already and has not failed: whoever lost the answer asks again."""
    key = MessageKey(tenant, message_id)
    standing = (await lock_readable_states(connection, [key]))[0].get(key)
    if standing is None or standing.status in (MessageStatus.FAILED, MessageStatus.CANCELED):
        return False
    steps = latest_round(standing.route)
    begun = len(standing.route) - len(steps)
    return standing.route[begun].begins_anew and (route is None or list(_served(route, channels)) == list(steps))


async def retry_all(
    connection: AsyncConnection,
    tenant: UUID,
    message_ids: Collection[UUID],
    route: Sequence[Step] | None,
    source: EventSource,
    *,
    channels: Channels,
    may_double: bool = True,
    bounds: Bounds | None = None,
) -> Mapping[UUID, Retried | Refusal]:
    """Try messages again, all in the caller's transaction; says of each what became of it, or why it is refused."""
    if not message_ids:
        return {}
    outside = await bounds.outside(connection, tenant, message_ids) if bounds is not None else frozenset()
    standings, unreadable = await lock_readable_states(connection, {MessageKey(tenant, one) for one in message_ids})
    results: dict[UUID, Retried | Refusal] = {}
    noted: list[EventRecord] = []
    for one in message_ids:
        key = MessageKey(tenant, one)
        if key in unreadable:
            results[one] = await _unreadable(connection, key)
            continue
        if (standing := standings.get(key)) is None:
            results[one] = NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
            continue
        steps = route or latest_round(standing.route)
        steps = _served(steps, channels)
        refusal = out_of_reach(standing) if one in outside else _refusal(standing, steps, channels, may_double)
        if refusal is not None:
            results[one] = refusal
            continue
        move = retried(standing, steps)
        noted.append(EventRecord(key, standing, move, source, detail="somebody asked for another try"))
        results[one] = Retried(Change(*key), move.standing.channel_of(None))
    if noted:
        await _renew_expiry(connection, tenant, [one.key.message_id for one in noted])
        await write_transitions(connection, noted)
    return results


async def lock_readable_states(
    connection: AsyncConnection, keys: Collection[MessageKey]
) -> tuple[Mapping[MessageKey, MessageState], Collection[MessageKey]]:
    """Where messages stand, locked, and which cannot be read: those were parked for that, and keep no other back."""
    try:
        return await lock_states(connection, keys), ()
    except (ValueError, KeyError, TypeError):
        log.warning("retry_reads_each", messages=len(keys))
    standings: dict[MessageKey, MessageState] = {}
    unreadable: set[MessageKey] = set()
    for key in sorted(keys):
        try:
            standings |= await lock_states(connection, [key])
        except (ValueError, KeyError, TypeError):
            log.exception("retry_unreadable", message_id=str(key.message_id))
            unreadable.add(key)
    return standings, unreadable


async def lock_readable_state(connection: AsyncConnection, key: MessageKey) -> MessageState:
    """Where one message stands, locked; raises NotFound, and InvalidState where this version cannot read it."""
    standings, unreadable = await lock_readable_states(connection, [key])
    if unreadable:
        raise await _unreadable(connection, key)
    if key not in standings:
        raise NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
    return standings[key]


async def _unreadable(connection: AsyncConnection, key: MessageKey) -> InvalidState:
    chosen = select(messages.c.status).where(messages.c.tenant_id == key.tenant_id, messages.c.id == key.message_id)
    text = say("UNREADABLE", "This version of the server cannot read the message, so it stays as it is.")
    return InvalidState(text, state=(await connection.execute(chosen)).scalar_one())


def out_of_reach(standing: MessageState) -> InvalidState:
    """The refusal of a caller who could not have sent it."""
    text = say(
        "OUT_OF_REACH",
        "This API key may not have it tried again: a test key only what test keys sent, a key with an allow list only "
        "what goes to somebody on it.",
    )
    return InvalidState(text, state=standing.status.value)


def _refusal(standing: MessageState, steps: Sequence[Step], channels: Channels, may_double: bool) -> Refusal | None:
    # What people wrote to us has arrived and never fails: the status alone keeps it out.
    state = standing.status.value
    if standing.status is MessageStatus.UNCONFIRMED:
        text = say(
            "NOT_FAILED_UNCONFIRMED",
            "Only a failed message can be tried again; this one is unconfirmed: the provider may have accepted it.",
        )
        return InvalidState(text, state=state)
    if standing.status is not MessageStatus.FAILED:
        text = say("NOT_FAILED", "Only a failed message can be tried again; this one is {state}.", state=state)
        return InvalidState(text, state=state)
    if not has_room(standing.route, steps):
        text = say(
            "TRIED_TOO_OFTEN",
            "It has been tried over {count} steps, and {most} are the most. Send a new message.",
            count=len(standing.route),
            most=MOST_STEPS,
        )
        return InvalidState(text, state=state)
    if not may_double and standing.may_still_arrive:
        text = say(
            "MAY_ARRIVE_TWICE",
            "A company perhaps took it: it may arrive twice. Use `retryMessage` to send it all the same.",
        )
        return InvalidState(text, state=state)
    return cannot_be_sent(standing, steps, channels)


def cannot_be_sent(standing: MessageState, steps: Sequence[Step], channels: Channels) -> Refusal | None:
    """Why nothing more can be sent over these steps just now, if so."""
    if standing.is_erased:
        text = say("ERASED", "What it said, or whom it went to, is no longer kept: it cannot be sent again.")
        return InvalidState(text, state=standing.status.value)
    service = channels.get(steps[0].channel)
    if service is not None and not service.is_configured:
        # It would wait for a worker that nobody has.
        return NotConfigured(service.advice, integration=service.integration, path=[])
    return _not_simulated(steps, channels) if standing.simulated_only else None


def _not_simulated(steps: Sequence[Step], channels: Channels) -> NotSimulated | None:
    serving = (channels[step.channel] for step in steps if step.channel in channels)
    real = next((one for one in serving if not one.is_simulated), None)
    return None if real is None else NotSimulated(integration=real.integration, path=[])


async def _renew_expiry(connection: AsyncConnection, tenant: UUID, ids: Sequence[UUID]) -> None:
    last_retry = (
        select(func.max(message_events.c.at))
        .where(
            message_events.c.tenant_id == messages.c.tenant_id,
            message_events.c.message_id == messages.c.id,
            message_events.c.status == MessageStatus.QUEUED.value,
            message_events.c.previous_status == MessageStatus.FAILED.value,
        )
        .scalar_subquery()
    )
    began = func.coalesce(last_retry, messages.c.send_at, messages.c.created_at)
    await connection.execute(
        update(messages)
        .where(messages.c.tenant_id == tenant, messages.c.id.in_(ids), messages.c.expires_at.is_not(None))
        .values(expires_at=func.now() + (messages.c.expires_at - began))
    )


# Trying one failed message again because its sender asked: over its own route, or over another one that fits it.


async def retry_message(
    outbox: Outbox,
    tenant: UUID,
    message_id: UUID,
    route: Sequence[Step] | None,
    *,
    may_double: bool = True,
    reach: Reach = UNRESTRICTED,
    act: Act | None = None,
) -> None:
    """Put a failed message back in its queue, with a new budget of tries, if it lies within its caller's reach.

    One that a company perhaps took may arrive twice; without `may_double` it is refused. Asked again while that try
    goes on, or has come through, nothing changes. Raises NotFound, InvalidState,
    NotConfigured, or Refused with all that is wrong with the route.
    """
    if route is not None:
        await _check_new_route(outbox, tenant, message_id, route, reach)
    async with outbox.database.transaction(tenant) as connection:
        is_outside = await Bounds(outbox.sealer, reach).outside(connection, tenant, [message_id])
        if not is_outside and await is_retried(connection, tenant, message_id, route, outbox.channels):
            if act is not None:
                await act.done(connection, "Message", [])
            return
        retried = await retry(
            connection,
            tenant,
            message_id,
            route,
            EventSource.API,
            channels=outbox.channels,
            may_double=may_double,
            bounds=Bounds(outbox.sealer, reach),
        )
        if act is not None:
            await act.done(connection, "Message", [message_id])
    await outbox.hub.publish([retried.change])
    await outbox.wake(retried.channel)


async def _check_new_route(outbox: Outbox, tenant: UUID, message_id: UUID, route: Sequence[Step], reach: Reach) -> None:
    async with outbox.database.transaction(tenant) as connection:
        found = await queries.messages_by_id(connection, outbox.sealer, tenant, [message_id], sealed=["to", "content"])
    message = found.get(message_id)
    if message is None:
        raise NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
    # What is no longer kept cannot be sent again over any route: whoever tries is told so.
    if message.to is None or message.content is None:
        return
    check_route(route, message.content, known_address(message.to), outbox.channels, ["input", "route"], reach)
