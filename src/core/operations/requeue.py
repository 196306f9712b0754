"""Deciding about dead letters: back into the queue, or given up for good; many at once, each with its own answer."""

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
    """What became of each dead letter, None where it is back at work, and the messages that wait for a worker."""

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
    """Put the work of dead letters back in its queue, as far as that is safe, in the caller's transaction.

    A message that a company perhaps took is refused: whoever sends it again has to say that it may arrive twice. So is
    one outside the caller's bounds.
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
    """Give up on the work of dead letters for good; says of each why it is refused, None where it is not."""
    found = await _lock_work(connection, tenant, ids)
    refusals = {one: _refusal(found.get(one), Resolution.DISCARDED) for one in ids}
    ready = [one for one, refusal in refusals.items() if refusal is None and found[one].resolution is None]
    await close_dead_letters(connection, tenant, ready, Resolution.DISCARDED)
    return refusals


async def _lock_work(connection: AsyncConnection, tenant: UUID, ids: Sequence[UUID]) -> Mapping[UUID, DeadLetter]:
    """Dead letters as they stand while nobody else can decide about their work: it is locked.

    The work and not the letters, and in the order the worker does it: who moves a message closes its letter last.
    """
    letters = (await dead_letters_by_id(connection, tenant, ids)).values()
    await _lock(connection, inbox, tenant, {one.inbox_id for one in letters})
    await _lock(connection, message_rows, tenant, {one.message_id for one in letters if one.kind == MESSAGE_SEND})
    # What was decided while we waited is known now.
    return await dead_letters_by_id(connection, tenant, ids)


async def _lock(connection: AsyncConnection, table: Table, tenant: UUID, ids: Collection[UUID | None]) -> None:
    chosen = select(table.c.id).where(table.c.tenant_id == tenant, table.c.id.in_([one for one in ids if one]))
    await connection.execute(chosen.order_by(table.c.id).with_for_update())


def _refusal(letter: DeadLetter | None, wanted: Resolution) -> AppError | None:
    """Why nothing can be decided about it; what was decided so already, whoever lost the answer is told again."""
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
