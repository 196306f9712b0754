"""One call to a provider for a claimed message: its deadline, what its outcome means, and when the step is tried again.

A step is tried again only after a call that certainly did nothing, with the pauses of `core/backoff.py`, for as long as
its channel is tried. Time in which nothing could be tried (quiet hours, an open circuit) uses up no try.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Integer, Table, cast, null, or_, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from core.backoff import LONGEST_PAUSE, retry_in
from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    is_cancelling,
)
from core.messages.claim import Claimed, Opened
from core.messages.provider_ids import open_id_or_none
from core.messages.record import MessageKey
from core.messages.state_machine import Attempt, MessageState
from core.messages.status import AttemptOutcome, ProviderId
from core.messages.tables import attempts, messages
from core.ports import MessageSender, OutboundMessage, Receipt, Reference
from core.ports.content import content_for, content_from_json
from core.ports.reports import failure_of
from core.sealing import SealBroken, Sealer

log = structlog.get_logger(__name__)

LONGEST_RATE_LIMITED_PAUSE = timedelta(minutes=5)
"""The longest pause when the provider limits the rate and names no time: limits end sooner than most outages."""

# ─── Outcomes of calls ────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended; `wait` is the time until the next one, if any, and `detail` holds no personal data."""

    attempt: Attempt
    wait: timedelta | None
    detail: str


def judge_outcome(
    state: MessageState,
    number: int,
    integration: str,
    result: Receipt | ProviderError,
    provider_id: ProviderId | None = None,
    *,
    retry_for: timedelta,
) -> Verdict:
    """Judge the outcome of a call; `retry_for` is how long, at least, its step is tried.

    `provider_id` is the receipt's, as it may be kept.
    """
    step = state.attempts[number].step
    if isinstance(result, Receipt):
        accepted = Attempt(
            number,
            step,
            AttemptOutcome.ACCEPTED,
            provider_id=provider_id,
            answer=result.answer,
        )
        return Verdict(accepted, None, f"{integration} accepted it: {result.detail or 'accepted'}")
    code = f" ({result.provider_code})" if result.provider_code else ""
    detail = f"{integration}{code}: {result.message}"
    attempt = Attempt(number, step, _outcome(result), failure=failure_of(result), answer=result.answer)
    if isinstance(result, ProviderRejected | OutcomeUnknown):
        return Verdict(attempt, None, detail)
    # Unavailable, or misconfigured: certainly not sent, so it is tried again.
    asked = result.retry_after if isinstance(result, ProviderUnavailable) else None
    return Verdict(attempt, _wait(state, attempt, asked, retry_for), detail)


def _wait(state: MessageState, attempt: Attempt, asked: float | None, retry_for: timedelta) -> timedelta | None:
    """The time until the next try of a step, if it has one left.

    "Slow down" costs none of the tries that failures have, and the other way round: each alone lasts `retry_for`.
    """
    before = [one for one in state.attempts.values() if one.step == attempt.step and one.number < attempt.number]
    is_slowed = _is_slowed(attempt)
    tries = 1 + sum(_is_slowed(one) is is_slowed for one in before)
    return retry_in(
        tries, asked, retry_for=retry_for, longest=LONGEST_RATE_LIMITED_PAUSE if is_slowed else LONGEST_PAUSE
    )


def _is_slowed(attempt: Attempt) -> bool:
    return attempt.failure is not None and attempt.failure.reason is FailureReason.RATE_LIMITED


def _outcome(error: ProviderError) -> AttemptOutcome:
    match error:
        case ProviderRejected():
            return AttemptOutcome.REJECTED
        case OutcomeUnknown():
            return AttemptOutcome.UNCONFIRMED
        case _:
            return AttemptOutcome.UNAVAILABLE


def blocked_for_test_key(integration: str) -> ProviderRejected:
    """The error for a message of a test key that would go to a real provider."""
    return ProviderRejected(
        f"A test key sent it, and {integration} is not simulated on this server: the provider was not called.",
        provider=integration,
        reason=FailureReason.OTHER,
        party=FailureParty.CALLER,
    )


# ─── Calls ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a call; `ticket` names the circuit's period in which it began, `took` is its duration.

    Where no call was made there is no ticket, and the duration is zero.
    """

    one: Claimed
    result: Receipt | ProviderError
    ticket: int | None = None
    took: timedelta = timedelta(0)

    @property
    def error(self) -> ProviderError | None:
        """The error, if there was one."""
        return self.result if isinstance(self.result, ProviderError) else None


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes the calls of one channel to one provider; `is_simulated` when no call leaves this machine.

    What has not begun at `begin_by`, by this process's own clock, could end after its lease has, and is not begun.
    """

    integration: str
    sender: MessageSender
    deadline: timedelta
    begin_by: float
    is_simulated: bool = False

    async def call(self, one: Claimed, ticket: int | None) -> CallResult:
        """Send one message; any error is part of the result. Raises only when the task itself is cancelled."""
        if one.simulated_only and not self.is_simulated:
            # The last check before the call, for fallbacks and retries too. No call was made, so it does not count for
            # the circuit.
            return CallResult(one, blocked_for_test_key(self.integration))
        if one.opened is None:
            raise LookupError("what is claimed is opened before it is begun")
        message = _outbound(one, one.opened)
        began = time.monotonic()
        if began > self.begin_by:
            # The process was suspended after the message was marked as begun; another worker may have it by now.
            return CallResult(one, _started_too_late(self.integration))
        result = await self._send(message)
        return CallResult(one, result, ticket, timedelta(seconds=time.monotonic() - began))

    async def _send(self, message: OutboundMessage) -> Receipt | ProviderError:
        seconds = self.deadline.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self.sender.send(message)
        except ProviderError as error:
            return error
        except TimeoutError:
            return OutcomeUnknown(f"{self.integration} did not answer within {seconds:g} s.", provider=self.integration)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelling(error):
                raise
            # It may have failed after the bytes were sent.
            log.exception("send_broke", integration=self.integration, message_id=str(message.reference.message_id))
            words = "Something broke on our side while sending."
            return OutcomeUnknown(words, provider=self.integration, scope=FailureScope.OURS)


def open_all(sealer: Sealer, claimed: Sequence[Claimed]) -> tuple[list[Claimed], dict[MessageKey, str]]:
    """Open claimed messages; those that cannot be opened are returned separately, with the reason.

    A key may be missing here or mistyped, a row altered, or written by a later version. So the message is not begun,
    and does not fail.
    """
    readable, unreadable = [], {}
    for one in claimed:
        try:
            readable.append(replace(one, opened=_open(sealer, one)))
        except Exception as error:  # noqa: BLE001  # any error: the other messages are sent
            unreadable[one.key] = str(error) if isinstance(error, SealBroken) else type(error).__name__
    return readable, unreadable


def _open(sealer: Sealer, one: Claimed) -> Opened:
    tenant, row = one.key
    content = content_from_json(sealer.open(one.content_sealed, tenant=tenant, row=row, column="content"))
    return Opened(sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"), content_for(content, one.channel))


def _outbound(one: Claimed, opened: Opened) -> OutboundMessage:
    reference = Reference(*one.key, one.attempt)
    return OutboundMessage(reference, one.channel, opened.to, opened.content, in_reply_to=one.quoted)


def _started_too_late(integration: str) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The worker was held up for too long to begin, and {integration} was not called.",
        provider=integration,
        party=FailureParty.OPERATOR,
        scope=FailureScope.OURS,
    )


async def with_quoted_ids(
    connection: AsyncConnection, sealer: Sealer, integration: str, claimed: Sequence[Claimed]
) -> list[Claimed]:
    """Add the provider's ids of the messages that these reply to; a message of another channel has none.

    One that cannot be opened is left out: the answer goes out without saying what it answers.
    """
    answered = {MessageKey(one.key.tenant_id, one.in_reply_to) for one in claimed if one.in_reply_to is not None}
    if not answered:
        return list(claimed)
    ours = select(attempts.c.tenant_id, attempts.c.message_id, attempts.c.number, *_kept(attempts)).where(
        tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(answered),
        attempts.c.integration == integration,
        _keeps_one(attempts),
    )
    nowhere = cast(null(), Integer).label("number")
    theirs = select(messages.c.tenant_id, messages.c.id, nowhere, *_kept(messages)).where(
        tuple_(messages.c.tenant_id, messages.c.id).in_(answered),
        messages.c.integration == integration,
        _keeps_one(messages),
    )
    rows = await connection.execute(union_all(ours, theirs))
    known = {
        (row.tenant_id, row.message_id): id
        for row in rows
        if (id := open_id_or_none(sealer, ProviderId.of_row(row), row.tenant_id, row.message_id, row.number))
    }
    return [replace(one, quoted=known.get((one.key.tenant_id, one.in_reply_to))) for one in claimed]


def _kept(table: Table) -> Sequence[ColumnElement[Any]]:
    return [table.c.provider_id_sealed, table.c.provider_id_lookup, table.c.provider_message_id]


def _keeps_one(table: Table) -> ColumnElement[bool]:
    return or_(table.c.provider_id_sealed.is_not(None), table.c.provider_message_id.is_not(None))
