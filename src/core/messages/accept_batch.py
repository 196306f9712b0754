"""Taking many messages in at once: each is judged by itself, and a bad one holds nobody up.

A message's id follows from its batch's and its place, so a batch handed in again under its key finds what it has
stored and stores what is missing: after a crash in the middle, repeating it finishes it.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from core.characters import line_errors, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, Overloaded, Refused
from core.idempotency import IdempotentRequest
from core.messages.accept import Accepted, Outbox, Ready
from core.messages.batches import MOST, claim_batch, member_id, new_batch_id
from core.messages.check import Checked, check, read_address
from core.messages.draft import Draft, canonical
from core.messages.known import Known, look_up
from core.messages.member import Outcome
from core.words import say

log = structlog.get_logger(__name__)

MAX_NAME = 255
_BREATH = 25
"""Messages checked at a stretch before others get a turn."""
_PLACE = ("input", "messages")


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """A batch as the caller wrote it."""

    drafts: Sequence[Draft]
    idempotency_key: str
    name: str | None = None


Result = Accepted | AppError | None
"""What became of one message: accepted, refused, or None when it was only a rehearsal."""


@dataclass(frozen=True, slots=True)
class AcceptedBatch:
    """A batch, what became of each of its messages, in order, and which steps of its route are left out."""

    batch_id: UUID
    is_replay: bool
    results: Sequence[Result]
    skipped: Sequence[Sequence[AppError]] = ()


async def accept_batch(outbox: Outbox, tenant_id: UUID, batch: BatchDraft) -> AcceptedBatch:
    """Take a batch in. Raises Refused for the batch as a whole, IdempotencyConflict, or Overloaded: part of it may be
    stored then, and repeating it under the same key stores the rest.
    """
    _check_whole(batch)
    results: dict[int, Result] = {}
    known = await look_up(outbox.database, tenant_id, batch.drafts)
    checked = await _check_each(outbox, batch.drafts, known, results)
    request = _request(outbox, tenant_id, batch, checked)
    async with outbox.database.transaction(tenant_id) as connection:
        ours = new_batch_id()
        earlier = await claim_batch(connection, tenant_id, request, ours, batch.name)
    batch_id = earlier or ours
    ready = await _prepare_each(outbox, tenant_id, batch_id, checked, results)
    await _take(outbox, ready, results)
    places = range(len(batch.drafts))
    skipped = [checked[place].skipped if place in checked else () for place in places]
    return AcceptedBatch(batch_id, earlier is not None, [results[place] for place in places], skipped)


def _check_whole(batch: BatchDraft) -> None:
    errors: list[AppError] = []
    if not 1 <= len(batch.drafts) <= MOST:
        rule = InputRule.TOO_LONG if batch.drafts else InputRule.REQUIRED
        text = say(
            "BATCH_SIZE",
            "A batch holds 1 to {most} messages; this one has {count}.",
            most=MOST,
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


def _request(outbox: Outbox, tenant_id: UUID, batch: BatchDraft, checked: Mapping[int, Checked]) -> IdempotentRequest:
    given = [
        canonical(draft, checked[place].address.value if place in checked else _recipient(draft)) | _own(draft)
        for place, draft in enumerate(batch.drafts)
    ]
    try:
        return IdempotentRequest.of(
            batch.idempotency_key,
            "sendMessages",
            # Addresses that are none are in it as they were written, and may hold what no encoding takes.
            json.dumps({"name": batch.name, "messages": given}, sort_keys=True),
            sealer=outbox.sealer,
            tenant=tenant_id,
            path=["input", "idempotencyKey"],
        )
    except InvalidInput as error:
        raise Refused([error]) from error


def _recipient(draft: Draft) -> str:
    """To whom a refused draft goes: whatever else was wrong, the same address is the same when it comes again."""
    try:
        return read_address(draft, _PLACE).value
    except InvalidInput:
        return draft.recipient


def _own(draft: Draft) -> dict[str, object]:
    return {"idempotencyKey": draft.idempotency_key, "dryRun": draft.is_rehearsal}


async def _check_each(
    outbox: Outbox, drafts: Sequence[Draft], known: Known, results: dict[int, Result]
) -> dict[int, Checked]:
    checked: dict[int, Checked] = {}
    for place, draft in enumerate(drafts):
        if place % _BREATH == 0:
            await asyncio.sleep(0)
        try:
            checked[place] = check(draft, outbox.channels, known, (*_PLACE, str(place)), is_strict=outbox.is_strict)
        except Refused as error:
            results[place] = error
    return checked


async def _prepare_each(
    outbox: Outbox, tenant_id: UUID, batch_id: UUID, checked: dict[int, Checked], results: dict[int, Result]
) -> dict[int, Ready]:
    ready: dict[int, Ready] = {}
    for place, one in checked.items():
        if place % _BREATH == 0:
            await asyncio.sleep(0)
        try:
            ready[place] = await outbox.prepare(
                tenant_id, one, message_id=member_id(batch_id, place), batch_id=batch_id
            )
        except Refused as error:
            results[place] = error
    return ready


async def _take(outbox: Outbox, ready: dict[int, Ready], results: dict[int, Result]) -> None:
    rehearsed = {place: one for place, one in ready.items() if one.member.checked.draft.is_rehearsal}
    objected = {place: one for place, one in ready.items() if one.objections and place not in rehearsed}
    free = {place: one for place, one in ready.items() if place not in rehearsed and place not in objected}
    if rehearsed:
        results |= zip(rehearsed, await outbox.rehearse(list(rehearsed.values())), strict=True)
    outcomes: dict[int, Outcome | BaseException] = {}
    if objected:
        outcomes |= zip(objected, await outbox.judge(list(objected.values())), strict=True)
    kept = await asyncio.gather(*(outbox.keep(one.member) for one in free.values()), return_exceptions=True)
    outcomes |= zip(free, kept, strict=True)
    for place, outcome in outcomes.items():
        results[place] = _result(outbox, ready[place], outcome)


def _result(outbox: Outbox, ready: Ready, outcome: Outcome | BaseException) -> Result:
    match outcome:
        case Overloaded():
            text = say(
                "BATCH_IN_PART",
                "Part of the batch may be stored. Repeat it with the same idempotency key: that stores the rest.",
            )
            raise Overloaded(text, retry_after=outcome.retry_after) from outcome
        case AppError():
            return outcome
        case Exception():
            log.error("batch_member_not_stored", message=str(ready.member.message_id), exc_info=outcome)
            text = say(
                "NOT_STORED",
                "This message could not be stored, for a reason that lies with us; the others are not concerned.",
            )
            return Refused([InvalidInput(text, path=ready.member.checked.place, rule=InputRule.NOT_ALLOWED)])
        case BaseException():
            raise outcome
        case _:
            return outbox.answer(ready.member, outcome)
