"""Accepting and reading batches: messages that were sent in one request, each checked and stored by itself.

A message's id follows from its batch's id and its position, so a batch that is repeated under its key finds what was
stored and stores the rest, for example after a crash in the middle.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import case, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.characters import line_errors, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, Overloaded, Refused
from core.idempotency import IdempotentRequest, claim_key
from core.ids import uuid7
from core.messages.accept import Accepted, Outbox, PreparedMessage
from core.messages.status import MessageStatus
from core.messages.store import Outcome
from core.messages.tables import message_batches, messages
from core.messages.validation import (
    CheckedDraft,
    Draft,
    Referenced,
    canonical,
    check_draft,
    load_referenced,
    read_address,
)
from core.words import say

log = structlog.get_logger(__name__)

MAX_BATCH_SIZE = 500
"""The largest number of messages of a batch."""
_UNDER_WAY = frozenset(
    {MessageStatus.SCHEDULED, MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.UNCONFIRMED}
)
# The last bits of a message's id hold its position in the batch: 1,023 at most.
_PLACES = 0x3FF


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, without its messages."""

    id: UUID
    name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of messages by status; `rested_at` is when the last was sent or ended, None while one is under way."""

    by_status: Mapping[MessageStatus, int]
    rested_at: datetime | None

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


def new_batch_id() -> UUID:
    """Make a batch's id, with room for its messages' positions."""
    return UUID(int=uuid7().int & ~_PLACES)


def member_id(batch_id: UUID, position: int) -> UUID:
    """The id of a batch's message by position, counted from 0: the same whenever the batch is repeated."""
    return UUID(int=batch_id.int + position + 1)


async def claim_batch(
    connection: AsyncConnection, tenant_id: UUID, request: IdempotentRequest, batch_id: UUID, name: str | None
) -> UUID | None:
    """Store a batch under its key; returns the id of the earlier batch if there is one. Raises IdempotencyConflict."""
    earlier = await claim_key(connection, tenant_id, request, batch_id)
    if earlier is None:
        await connection.execute(insert(message_batches).values(tenant_id=tenant_id, id=batch_id, name=name))
    return earlier


async def batches_of(connection: AsyncConnection, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Batch]:
    """Read batches of a tenant by id; leaves out ids that it does not have."""
    rows = await connection.execute(
        select(message_batches).where(message_batches.c.tenant_id == tenant_id, message_batches.c.id.in_(ids))
    )
    return {row.id: Batch(row.id, row.name, row.created_at) for row in rows}


async def counts_of(connection: AsyncConnection, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Counts]:
    """Count the messages of batches by status; leaves out batches without messages."""
    rested_at = case((messages.c.sent_at.is_not(None), messages.c.sent_at), else_=messages.c.updated_at)
    rows = await connection.execute(
        select(messages.c.batch_id, messages.c.status, func.count().label("number"), func.max(rested_at).label("at"))
        .where(messages.c.tenant_id == tenant_id, messages.c.batch_id.in_(ids))
        .group_by(messages.c.batch_id, messages.c.status)
    )
    found: dict[UUID, dict[MessageStatus, int]] = {}
    rested: dict[UUID, list[datetime]] = {}
    for row in rows:
        found.setdefault(row.batch_id, {})[MessageStatus(row.status)] = row.number
        rested.setdefault(row.batch_id, []).append(row.at)
    return {
        batch_id: Counts(by_status, None if by_status.keys() & _UNDER_WAY else max(rested[batch_id]))
        for batch_id, by_status in found.items()
    }


MAX_NAME = 255
_CHECKED_AT_A_STRETCH = 25
"""How many messages are checked before other tasks get a turn."""
_PLACE = ("input", "messages")


# ─── Accepting a batch ────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """A batch as the caller wrote it."""

    drafts: Sequence[Draft]
    idempotency_key: str
    name: str | None = None


Result = Accepted | AppError | None
"""The result of one message: accepted, refused, or None for a rehearsal."""


@dataclass(frozen=True, slots=True)
class AcceptedBatch:
    """A batch, the results of its messages in order, and why steps of their routes are left out."""

    batch_id: UUID
    is_replay: bool
    results: Sequence[Result]
    skipped: Sequence[Sequence[AppError]] = ()


async def accept_batch(outbox: Outbox, tenant_id: UUID, batch: BatchDraft) -> AcceptedBatch:
    """Accept a batch. Raises Refused for the batch as a whole, IdempotencyConflict, or Overloaded: part of it may be
    stored then, and repeating it under the same key stores the rest.
    """
    _check_whole(batch)
    results: dict[int, Result] = {}
    referenced = await load_referenced(outbox.database, tenant_id, batch.drafts)
    checked = await _check_each(outbox, batch.drafts, referenced, results)
    request = _request(outbox, tenant_id, batch, checked)
    async with outbox.database.transaction(tenant_id) as connection:
        new_id = new_batch_id()
        earlier = await claim_batch(connection, tenant_id, request, new_id, batch.name)
    batch_id = earlier or new_id
    ready = await _prepare_each(outbox, tenant_id, batch_id, checked, results)
    await _take(outbox, ready, results)
    positions = range(len(batch.drafts))
    skipped = [checked[position].skipped if position in checked else () for position in positions]
    return AcceptedBatch(batch_id, earlier is not None, [results[position] for position in positions], skipped)


def _check_whole(batch: BatchDraft) -> None:
    errors: list[AppError] = []
    if not 1 <= len(batch.drafts) <= MAX_BATCH_SIZE:
        rule = InputRule.TOO_LONG if batch.drafts else InputRule.REQUIRED
        text = say(
            "BATCH_SIZE",
            "A batch holds 1 to {most} messages; this one has {count}.",
            most=MAX_BATCH_SIZE,
            count=len(batch.drafts),
        )
        errors.append(InvalidInput(text, path=_PLACE, rule=rule))
    if batch.name is not None:
        errors += _name_errors(batch.name, ["input", "name"])
    if errors:
        raise Refused(errors)


def _name_errors(name: str, path: Sequence[str]) -> Iterator[AppError]:
    if refused_on_line(name):
        yield from line_errors(name, path)
    elif len(name) > MAX_NAME:
        text = say("BATCH_NAME", "A batch's name has at most {most} characters, on one line.", most=MAX_NAME)
        yield InvalidInput(text, path=path, rule=InputRule.MALFORMED)


def _request(
    outbox: Outbox, tenant_id: UUID, batch: BatchDraft, checked: Mapping[int, CheckedDraft]
) -> IdempotentRequest:
    given = [
        canonical(draft, checked[position].address.value if position in checked else _recipient(draft)) | _own(draft)
        for position, draft in enumerate(batch.drafts)
    ]
    try:
        return IdempotentRequest.of(
            batch.idempotency_key,
            "sendMessages",
            # Malformed addresses are included as they were written, and may hold characters that cannot be encoded.
            json.dumps({"name": batch.name, "messages": given}, sort_keys=True),
            sealer=outbox.sealer,
            tenant=tenant_id,
            path=["input", "idempotencyKey"],
        )
    except InvalidInput as error:
        raise Refused([error]) from error


def _recipient(draft: Draft) -> str:
    """The recipient of a refused draft, in its one form where it is well-formed, so that a repetition is equal."""
    try:
        return read_address(draft, _PLACE).value
    except InvalidInput:
        return draft.recipient


def _own(draft: Draft) -> dict[str, object]:
    return {"idempotencyKey": draft.idempotency_key, "dryRun": draft.is_rehearsal}


async def _check_each(
    outbox: Outbox, drafts: Sequence[Draft], referenced: Referenced, results: dict[int, Result]
) -> dict[int, CheckedDraft]:
    checked: dict[int, CheckedDraft] = {}
    for position, draft in enumerate(drafts):
        if position % _CHECKED_AT_A_STRETCH == 0:
            await asyncio.sleep(0)
        try:
            checked[position] = check_draft(
                draft, outbox.channels, referenced, (*_PLACE, str(position)), is_strict=outbox.is_strict
            )
        except Refused as error:
            results[position] = error
    return checked


async def _prepare_each(
    outbox: Outbox, tenant_id: UUID, batch_id: UUID, checked: dict[int, CheckedDraft], results: dict[int, Result]
) -> dict[int, PreparedMessage]:
    ready: dict[int, PreparedMessage] = {}
    for position, one in checked.items():
        if position % _CHECKED_AT_A_STRETCH == 0:
            await asyncio.sleep(0)
        try:
            ready[position] = await outbox.prepare(
                tenant_id, one, message_id=member_id(batch_id, position), batch_id=batch_id
            )
        except Refused as error:
            results[position] = error
    return ready


async def _take(outbox: Outbox, ready: dict[int, PreparedMessage], results: dict[int, Result]) -> None:
    rehearsed = {position: one for position, one in ready.items() if one.sealed.checked.draft.is_rehearsal}
    objected = {position: one for position, one in ready.items() if one.objections and position not in rehearsed}
    free = {position: one for position, one in ready.items() if position not in rehearsed and position not in objected}
    if rehearsed:
        results |= zip(rehearsed, await outbox.rehearse(list(rehearsed.values())), strict=True)
    outcomes: dict[int, Outcome | BaseException] = {}
    if objected:
        outcomes |= zip(objected, await outbox.judge(list(objected.values())), strict=True)
    kept = await asyncio.gather(*(outbox.keep(one.sealed) for one in free.values()), return_exceptions=True)
    outcomes |= zip(free, kept, strict=True)
    for position, outcome in outcomes.items():
        results[position] = _result(outbox, ready[position], outcome)


def _result(outbox: Outbox, ready: PreparedMessage, outcome: Outcome | BaseException) -> Result:
    match outcome:
        case Overloaded():
            text = say(
                "BATCH_IN_PART",
                (
                    "Part of the batch may have been stored. Repeat the request with the same idempotency key to "
                    "store the rest."
                ),
            )
            raise Overloaded(text, retry_after=outcome.retry_after) from outcome
        case AppError():
            return outcome
        case Exception():
            log.error("batch_member_not_stored", message=str(ready.sealed.message_id), exc_info=outcome)
            text = say(
                "NOT_STORED",
                (
                    "This message could not be stored because of an error of this server; the other messages are "
                    "not affected."
                ),
            )
            return Refused([InvalidInput(text, path=ready.sealed.checked.place, rule=InputRule.NOT_ALLOWED)])
        case BaseException():
            raise outcome
        case _:
            return outbox.answer(ready.sealed, outcome)
