"""Retrying failed messages on request: new steps are added after the old ones, which keep their numbers."""

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
from core.ports.identity import UNRESTRICTED, Reach
from core.pubsub import Change
from core.sealing import SealBroken, Sealer
from core.words import say

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A caller's reach, and the sealer that opens the addresses it is compared with."""

    sealer: Sealer
    reach: Reach

    async def outside(self, connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
        """Return those of a tenant's messages that this caller could not have sent."""
        if self.reach == UNRESTRICTED:
            return frozenset()
        columns = (messages.c.id, messages.c.to_sealed, messages.c.simulated_only)
        chosen = select(*columns).where(messages.c.tenant_id == tenant, messages.c.id.in_(list(ids)))
        rows = (await connection.execute(chosen)).all()
        return frozenset(row.id for row in rows if not self._holds(tenant, row.id, row.to_sealed, row.simulated_only))

    def _holds(self, tenant: UUID, row: UUID, to_sealed: bytes | None, simulated_only: bool) -> bool:
        if self.reach.simulated_only and not simulated_only:
            return False
        # Erased messages are refused for that reason, for every caller.
        if self.reach.recipients is None or to_sealed is None:
            return True
        try:
            return self.reach.allows(self.sealer.open(to_sealed, tenant=tenant, row=row, column="to"))
        except SealBroken:
            # Its recipient is unknown here; the other messages are not affected.
            return False


@dataclass(frozen=True, slots=True)
class Retried:
    """A message that is queued again, on this channel first."""

    change: Change
    channel: Channel


Refusal = NotFound | InvalidState | NotConfigured
Channels = Mapping[Channel, ChannelService]


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
    """Queue a failed message again, with a new number of tries, if it is within its caller's reach.

    One that a provider may have accepted may arrive twice; without `may_double` it is refused. Repeated before the
    retry has failed, it changes nothing. Raises NotFound, InvalidState, NotConfigured, or Refused with all errors of
    the route.
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
    # An erased message is refused later, for that reason.
    if message.to is None or message.content is None:
        return
    check_route(route, message.content, known_address(message.to), outbox.channels, ["input", "route"], reach)


async def is_retried(
    connection: AsyncConnection, tenant: UUID, message_id: UUID, route: Sequence[Step] | None, channels: Channels
) -> bool:
    """Whether this retry was requested before and has not failed: its caller may have lost the answer."""
    key = MessageKey(tenant, message_id)
    state = (await lock_readable_states(connection, [key]))[0].get(key)
    if state is None or state.status in (MessageStatus.FAILED, MessageStatus.CANCELED):
        return False
    steps = latest_round(state.route)
    begun = len(state.route) - len(steps)
    return state.route[begun].begins_anew and (route is None or list(_served(route, channels)) == list(steps))


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
    """Retry a failed message in the caller's transaction, over another route or its latest one.

    A message with `expiresIn` gets the same time again from now. Without `may_double` one that may still arrive is
    refused, and so is one outside the caller's bounds. Raises NotFound, InvalidState, or NotConfigured when no provider
    serves its first channel, or none that may receive messages of test keys.
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
    """Retry messages in the caller's transaction; returns the result or the refusal of each."""
    if not message_ids:
        return {}
    outside = await bounds.outside(connection, tenant, message_ids) if bounds is not None else frozenset()
    states, unreadable = await lock_readable_states(connection, {MessageKey(tenant, one) for one in message_ids})
    results: dict[UUID, Retried | Refusal] = {}
    records: list[EventRecord] = []
    for one in message_ids:
        key = MessageKey(tenant, one)
        if key in unreadable:
            results[one] = await _unreadable(connection, key)
            continue
        if (state := states.get(key)) is None:
            results[one] = NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
            continue
        steps = route or latest_round(state.route)
        steps = _served(steps, channels)
        refusal = out_of_reach(state) if one in outside else _refusal(state, steps, channels, may_double)
        if refusal is not None:
            results[one] = refusal
            continue
        transition = retried(state, steps)
        records.append(EventRecord(key, state, transition, source, detail="a retry was requested"))
        results[one] = Retried(Change(*key), transition.state.channel_of(None))
    if records:
        await _renew_expiry(connection, tenant, [one.key.message_id for one in records])
        await write_transitions(connection, records)
    return results


def _refusal(state: MessageState, steps: Sequence[Step], channels: Channels, may_double: bool) -> Refusal | None:
    # Inbound messages never fail, so the status alone excludes them.
    status = state.status.value
    if state.status is MessageStatus.UNCONFIRMED:
        text = say(
            "NOT_FAILED_UNCONFIRMED",
            "Only a failed message can be retried; this one is unconfirmed: the provider may have accepted it.",
        )
        return InvalidState(text, state=status)
    if state.status is not MessageStatus.FAILED:
        text = say("NOT_FAILED", "Only a failed message can be retried; this one is {state}.", state=status)
        return InvalidState(text, state=status)
    if not has_room(state.route, steps):
        text = say(
            "TRIED_TOO_OFTEN",
            "The message was already tried in {count} steps; the limit is {most}. Send a new message.",
            count=len(state.route),
            most=MOST_STEPS,
        )
        return InvalidState(text, state=status)
    if not may_double and state.may_still_arrive:
        text = say(
            "MAY_ARRIVE_TWICE",
            "The provider may have accepted the message, so it may arrive twice. Use `retryMessage` to send it anyway.",
        )
        return InvalidState(text, state=status)
    return cannot_be_sent(state, steps, channels)


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


def cannot_be_sent(state: MessageState, steps: Sequence[Step], channels: Channels) -> Refusal | None:
    """Why a message cannot be sent over these steps now; None if it can."""
    if state.is_erased:
        text = say("ERASED", "The content or the recipient is no longer stored, so the message cannot be sent again.")
        return InvalidState(text, state=state.status.value)
    service = channels.get(steps[0].channel)
    if service is not None and not service.is_configured:
        # No worker serves the channel.
        return NotConfigured(service.advice, integration=service.integration, path=[])
    return _not_simulated(steps, channels) if state.simulated_only else None


def out_of_reach(state: MessageState) -> InvalidState:
    """The refusal for a caller who could not have sent the message."""
    text = say(
        "OUT_OF_REACH",
        (
            "This API key may not retry this message. A test key retries only what test keys sent; a key with an "
            "allow list retries only messages to recipients on its list."
        ),
    )
    return InvalidState(text, state=state.status.value)


# ─── Shared with other commands ───────────────────────────────────────────


async def lock_readable_states(
    connection: AsyncConnection, keys: Collection[MessageKey]
) -> tuple[Mapping[MessageKey, MessageState], Collection[MessageKey]]:
    """Lock messages and read their states; also returns those that this version cannot read."""
    try:
        return await lock_states(connection, keys), ()
    except (ValueError, KeyError, TypeError):
        log.warning("retry_reads_each", messages=len(keys))
    states: dict[MessageKey, MessageState] = {}
    unreadable: set[MessageKey] = set()
    for key in sorted(keys):
        try:
            states |= await lock_states(connection, [key])
        except (ValueError, KeyError, TypeError):
            log.exception("retry_unreadable", message_id=str(key.message_id))
            unreadable.add(key)
    return states, unreadable


async def lock_readable_state(connection: AsyncConnection, key: MessageKey) -> MessageState:
    """Lock a message and read its state; raises NotFound, and InvalidState where this version cannot read it."""
    states, unreadable = await lock_readable_states(connection, [key])
    if unreadable:
        raise await _unreadable(connection, key)
    if key not in states:
        raise NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
    return states[key]


async def _unreadable(connection: AsyncConnection, key: MessageKey) -> InvalidState:
    chosen = select(messages.c.status).where(messages.c.tenant_id == key.tenant_id, messages.c.id == key.message_id)
    text = say("UNREADABLE", "This version of the server cannot read the message, so it was not changed.")
    return InvalidState(text, state=(await connection.execute(chosen)).scalar_one())
