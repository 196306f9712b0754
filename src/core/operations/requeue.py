"""Requeuing and discarding dead letters: many at once, with an answer for each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.dead_letters.store import (
    WEBHOOK_APPLY,
    DeadLetter,
    Resolution,
    close_dead_letters,
    dead_letters_by_id,
)
from core.dead_letters.subjects import Subjects
from core.errors import AppError, InvalidState, NotFound
from core.inbox.closing import replay_webhooks
from core.inbox.tables import inbox
from core.nouns import Installation, SubjectOrder
from core.ports.identity import UNRESTRICTED, Reach
from core.words import say


@dataclass(frozen=True, slots=True)
class RequeuedLetters:
    """Why each dead letter was refused, None where it was requeued; `then` are run after the commit."""

    refusals: Mapping[UUID, AppError | None]
    then: Sequence[Callable[[], Awaitable[None]]]


async def requeue_dead_letters(
    installation: Installation,
    subjects: Subjects,
    connection: AsyncConnection,
    tenant: UUID,
    ids: Sequence[UUID],
    reach: Reach = UNRESTRICTED,
) -> RequeuedLetters:
    """Put the work of dead letters back in its queue, where that is safe, in the caller's transaction.

    Each kind of work is requeued by its noun, within the caller's reach: a message that the provider may have taken is
    refused, for example.
    """
    found = await _lock_work(connection, subjects, tenant, ids)
    refusals: dict[UUID, AppError | None] = {one: _refusal(found.get(one), Resolution.REQUEUED) for one in ids}
    ready = [found[one] for one in ids if refusals[one] is None and found[one].resolution is None]
    then: list[Callable[[], Awaitable[None]]] = []
    for work in dict.fromkeys(one.kind for one in ready):
        letters = [one for one in ready if one.kind == work]
        if work == WEBHOOK_APPLY:
            webhooks = {one.id: one.inbox_id for one in letters if one.inbox_id}
            replayed = await replay_webhooks(connection, tenant, list(dict.fromkeys(webhooks.values())))
            refusals |= {letter: replayed[webhook] for letter, webhook in webhooks.items()}
        elif (subject := subjects.by_work.get(work)) is None:
            refusals |= {one.id: _not_known(one) for one in letters}
        else:
            about = {one.id: one.subject.id for one in letters if one.subject}
            refusals |= {one.id: _not_known(one) for one in letters if one.subject is None}
            order = SubjectOrder(installation, connection, tenant, list(dict.fromkeys(about.values())), reach)
            requeued = await subject.requeue(order)
            refusals |= {letter: requeued.refusals[id] for letter, id in about.items()}
            then.append(requeued.then)
    return RequeuedLetters(refusals, then)


async def discard_dead_letters(
    connection: AsyncConnection, subjects: Subjects, tenant: UUID, ids: Sequence[UUID]
) -> Mapping[UUID, AppError | None]:
    """Discard dead letters; returns for each why it is refused, None where it is not."""
    found = await _lock_work(connection, subjects, tenant, ids)
    refusals = {one: _refusal(found.get(one), Resolution.DISCARDED) for one in ids}
    ready = [one for one, refusal in refusals.items() if refusal is None and found[one].resolution is None]
    await close_dead_letters(connection, tenant, ready, Resolution.DISCARDED)
    return refusals


async def _lock_work(
    connection: AsyncConnection, subjects: Subjects, tenant: UUID, ids: Sequence[UUID]
) -> Mapping[UUID, DeadLetter]:
    """Lock the work of dead letters, and read them.

    The work is locked and not the letters, in the order of the worker: it moves an object first and closes its letter
    last.
    """
    letters = (await dead_letters_by_id(connection, tenant, ids)).values()
    webhooks = [one.inbox_id for one in letters if one.inbox_id]
    chosen = select(inbox.c.id).where(inbox.c.tenant_id == tenant, inbox.c.id.in_(webhooks))
    await connection.execute(chosen.order_by(inbox.c.id).with_for_update())
    for work, subject in subjects.by_work.items():
        if about := [one.subject.id for one in letters if one.kind == work and one.subject]:
            await subject.lock(connection, tenant, about)
    # Read again: they may have been resolved while this waited for the locks.
    return await dead_letters_by_id(connection, tenant, ids)


def _not_known(letter: DeadLetter) -> InvalidState:
    text = say(
        "WORK_NOT_KNOWN",
        "This version of the server does not know the work {work}, so it cannot requeue it. It can be discarded.",
        work=letter.kind,
    )
    return InvalidState(text, state=letter.kind)


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
