"""Requeuing and discarding dead letters: many at once, with an answer for each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.dead_letters.store import (
    MESSAGE_SEND,
    WEBHOOK_APPLY,
    DeadLetter,
    Resolution,
    close_dead_letters,
    dead_letters_by_id,
)
from core.errors import AppError, InvalidState, NotFound
from core.inbox.closing import replay_webhooks
from core.inbox.tables import inbox
from core.messages.retry import Bounds, Channels, Retried, retry_all
from core.messages.status import EventSource
from core.messages.tables import messages as message_rows
from core.words import say


@dataclass(frozen=True, slots=True)
class Requeued:
    """Why each dead letter was refused, None where it was requeued; and the messages that wait for a worker."""

    refusals: Mapping[UUID, AppError | None]
    messages: Sequence[Retried]


async def requeue_dead_letters(
    connection: AsyncConnection,
    tenant: UUID,
    ids: Sequence[UUID],
    *,
    channels: Channels,
    bounds: Bounds | None = None,
) -> Requeued:
    """Put the work of dead letters back in its queue, where that is safe, in the caller's transaction.

    A message that the provider may have taken is refused: a retry has to allow that it arrives twice. So is one outside
    the caller's bounds.
    """
    found = await _lock_work(connection, tenant, ids)
    refusals: dict[UUID, AppError | None] = {one: _refusal(found.get(one), Resolution.REQUEUED) for one in ids}
    ready = [found[one] for one in ids if refusals[one] is None and found[one].resolution is None]
    messages = {one.id: one.message_id for one in ready if one.kind == MESSAGE_SEND and one.message_id}
    webhooks = {one.id: one.inbox_id for one in ready if one.kind == WEBHOOK_APPLY and one.inbox_id}
    retried = await retry_all(
        connection,
        tenant,
        list(dict.fromkeys(messages.values())),
        None,
        EventSource.OPERATOR,
        channels=channels,
        may_double=False,
        bounds=bounds,
    )
    replayed = await replay_webhooks(connection, tenant, list(dict.fromkeys(webhooks.values())))
    for letter, message in messages.items():
        result = retried[message]
        refusals[letter] = result if isinstance(result, AppError) else None
    for letter, webhook in webhooks.items():
        refusals[letter] = replayed[webhook]
    return Requeued(refusals, [one for one in retried.values() if isinstance(one, Retried)])


async def discard_dead_letters(
    connection: AsyncConnection, tenant: UUID, ids: Sequence[UUID]
) -> Mapping[UUID, AppError | None]:
    """Discard dead letters; returns for each why it is refused, None where it is not."""
    found = await _lock_work(connection, tenant, ids)
    refusals = {one: _refusal(found.get(one), Resolution.DISCARDED) for one in ids}
    ready = [one for one, refusal in refusals.items() if refusal is None and found[one].resolution is None]
    await close_dead_letters(connection, tenant, ready, Resolution.DISCARDED)
    return refusals


async def _lock_work(connection: AsyncConnection, tenant: UUID, ids: Sequence[UUID]) -> Mapping[UUID, DeadLetter]:
    """Lock the work of dead letters, and read them.

    The work is locked and not the letters, in the order of the worker: it moves a message first and closes its letter
    last.
    """
    letters = (await dead_letters_by_id(connection, tenant, ids)).values()
    await _lock(connection, inbox, tenant, {one.inbox_id for one in letters})
    await _lock(connection, message_rows, tenant, {one.message_id for one in letters if one.kind == MESSAGE_SEND})
    # Read again: they may have been resolved while this waited for the locks.
    return await dead_letters_by_id(connection, tenant, ids)


async def _lock(connection: AsyncConnection, table: Table, tenant: UUID, ids: Collection[UUID | None]) -> None:
    chosen = select(table.c.id).where(table.c.tenant_id == tenant, table.c.id.in_([one for one in ids if one]))
    await connection.execute(chosen.order_by(table.c.id).with_for_update())


def _refusal(letter: DeadLetter | None, wanted: Resolution) -> AppError | None:
    """Why a dead letter cannot be resolved; a repeated decision is answered like the first."""
    if letter is None:
        return NotFound(say("DEAD_LETTER_NOT_FOUND", "There is no such dead letter."))
    if letter.resolution not in (None, wanted):
        text = say(
            "ALREADY_DECIDED",
            "This dead letter is already {resolution}.",
            resolution=letter.resolution.value.lower(),
        )
        return InvalidState(text, state=letter.resolution.value)
    return None
