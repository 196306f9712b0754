"""Applying events that are due: each noun's handler applies its own, all of a batch in one transaction."""

from collections.abc import Awaitable, Callable, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, is_contention, is_transient, savepoint
from core.errors import Overloaded
from core.inbox.closing import (
    defer_contended,
    defer_unknown,
    forget_webhooks,
    mark_ignored,
    mark_processed,
    retry_later,
)
from core.inbox.events import EventTypes
from core.inbox.store import claim_due_events, inbox_rows
from core.nouns import EventOutcomes, InboxEvent
from core.pubsub import Change, Hub
from core.sealing import Sealer, prepare_lookups

log = structlog.get_logger(__name__)

# How long a group waits for locked objects, and then each event by itself: an event whose object is still locked is
# put off, so that the next one does not wait behind it.
_LOCK_TIMEOUT, _SINGLE_LOCK_TIMEOUT = "1s", "100ms"


class NoOutcome(Exception):
    """A handler gave no outcome for an event."""


async def apply_due_events(database: Database, sealer: Sealer, hub: Hub, types: EventTypes, *, limit: int = 200) -> int:
    """Apply events of the inbox that are due, in one transaction; returns how many were taken.

    An event that cannot be applied is tried again later, in the end parked as FAILED, and does not delay the others.
    """
    await prepare_lookups(database, sealer)
    try:
        return await _apply_taken(database, sealer, hub, types, limit, _apply, _LOCK_TIMEOUT)
    except Overloaded as error:
        if not is_contention(error.__cause__):
            raise
        log.warning("inbox_batch_waits", reason="an object is locked")
    except Exception:
        log.exception("inbox_batch_broke")
    return await _apply_taken(database, sealer, hub, types, limit, _apply_each, _SINGLE_LOCK_TIMEOUT)


Apply = Callable[[AsyncConnection, Sealer, EventTypes, Sequence[InboxEvent]], Awaitable[list[Change]]]


async def _apply_taken(
    database: Database,
    sealer: Sealer,
    hub: Hub,
    types: EventTypes,
    limit: int,
    apply: Apply,
    lock_timeout: str,
) -> int:
    async with database.transaction(lock_timeout=lock_timeout) as connection:
        taken = await claim_due_events(connection, sealer, types, limit=limit)
        changes = await apply(connection, sealer, types, taken) if taken else []
    await hub.publish(changes)
    return len(taken)


async def _apply_each(
    connection: AsyncConnection, sealer: Sealer, types: EventTypes, taken: Sequence[InboxEvent]
) -> list[Change]:
    changes: list[Change] = []
    for kept in taken:
        try:
            async with savepoint(connection):
                changes += await _apply(connection, sealer, types, [kept])
        except Exception as error:
            if is_contention(error):
                await defer_contended(connection, kept.place)
            elif is_transient(error):
                raise
            else:
                log.exception("inbox_unappliable", inbox_id=str(kept.place.id))
                await retry_later(connection, {kept.place: f"cannot be applied: {type(error).__name__}"})
    return changes


async def _apply(
    connection: AsyncConnection, sealer: Sealer, types: EventTypes, taken: Sequence[InboxEvent]
) -> list[Change]:
    changes: list[Change] = []
    for handle, events in types.by_handler(taken):
        outcomes = await handle(connection, sealer, events)
        if left := {kept.place for kept in events} - outcomes.handled:
            raise NoOutcome(f"{len(left)} of {len(events)} events")
        await _close(connection, sealer, outcomes)
        changes += outcomes.changes
    return changes


async def _close(connection: AsyncConnection, sealer: Sealer, outcomes: EventOutcomes) -> None:
    await mark_processed(connection, outcomes.processed)
    await mark_ignored(connection, outcomes.ignored, "nothing here acts on this event")
    # Only what is closed can be erased.
    await forget_webhooks(connection, sealer, await inbox_rows(connection, outcomes.forgotten))
    ours = [place for place in outcomes.unknown if place in outcomes.names_ours]
    others = [place for place in outcomes.unknown if place not in outcomes.names_ours]
    await defer_unknown(connection, ours, names_ours=True)
    await defer_unknown(connection, others, names_ours=False)
