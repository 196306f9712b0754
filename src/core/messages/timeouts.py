"""What time changes: schedules that are due, messages that expired, steps past their deadline, leases that ran out."""

from datetime import timedelta

from sqlalchemy import func, insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.claims import end_lease, lock_lost, return_unbegun
from core.errors import FailureParty, FailureReason
from core.messages.bulk_transition import transition_all
from core.messages.claim import NO_UNREAD_REPORT, text_value
from core.messages.record import EventRecord, MessageKey, lock_states
from core.messages.state_machine import MessageState, Transition, after_deadline, after_expiry, after_schedule
from core.messages.status import AttemptOutcome, EventSource, MessageStatus
from core.messages.tables import MESSAGES, attempts, message_events, messages
from core.ports import Failure
from core.ports.reports import failure_to_json
from core.pubsub import Change

# Two conditions with an index each; constants instead of parameters, since only then the partial indexes are used.
# No deadline has an effect while a report that may say it was delivered waits in the inbox.
_DUE = text(f"lease_until IS NULL AND status IN ('SCHEDULED', 'SENT') AND due_at <= now() AND {NO_UNREAD_REPORT}")
_PAST_DEADLINE = text(
    "lease_until IS NULL AND status IN ('SCHEDULED', 'QUEUED')"
    " AND (expires_at IS NOT NULL OR step_until IS NOT NULL) AND LEAST(expires_at, step_until) <= now()"
    f" AND {NO_UNREAD_REPORT}"
)


async def apply_due_times(connection: AsyncConnection, *, limit: int = 200) -> list[Change]:
    """Move up to so many messages that are due or past a deadline, in the caller's transaction."""
    has_expired: dict[MessageKey, bool] = {}
    for condition in (_DUE, _PAST_DEADLINE):
        rows = await connection.execute(
            select(messages.c.tenant_id, messages.c.id, (messages.c.expires_at <= func.now()).label("has_expired"))
            .where(condition)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        has_expired |= {MessageKey(row.tenant_id, row.id): bool(row.has_expired) for row in rows}
    if not has_expired:
        return []
    return await transition_all(
        connection, has_expired, lock_states, lambda key, state: _record(key, state, has_expired[key])
    )


def _record(key: MessageKey, state: MessageState, has_expired: bool) -> EventRecord:
    transition, detail = _time_transition(state, has_expired)
    return EventRecord(key, state, transition, EventSource.SCHEDULER, detail=detail)


def _time_transition(state: MessageState, has_expired: bool) -> tuple[Transition, str]:
    if has_expired and state.status is not MessageStatus.SENT:
        words = "before a delivery was reported" if state.may_still_arrive else "before it was sent"
        return after_expiry(state), f"it expired {words}"
    if has_expired:
        return after_deadline(state), "it expired, and no further step is tried"
    if state.status is MessageStatus.SCHEDULED:
        return after_schedule(state), "its scheduled time has come"
    step = state.route[state.step]
    return after_deadline(state), f"{step.channel} did not reach {step.until} in time"


# ─── Leases ───────────────────────────────────────────────────────────────


WORKER_LOST = Failure(
    FailureReason.OTHER,
    FailureParty.OPERATOR,
    "The worker ended while the message was being sent; whether the provider accepted it is not known yet.",
)


async def reclaim_expired_leases(connection: AsyncConnection, *, hold: timedelta, limit: int = 200) -> list[Change]:
    """Take back messages whose lease ran out: those not begun are due again, those begun are UNCONFIRMED for `hold`.

    The end of such a call was not seen, so its attempt has none. An unconfirmed message whose settler died is released
    for the next one.
    """
    keys = [MessageKey(*key) for key in await lock_lost(connection, MESSAGES, limit=limit)]
    if not keys:
        return []
    await _release_unconfirmed(connection, keys)
    await return_unbegun(connection, MESSAGES, keys)
    await _leave_unconfirmed(connection, keys, hold)
    return [Change(*key) for key in keys]


async def _release_unconfirmed(connection: AsyncConnection, keys: list[MessageKey]) -> None:
    await connection.execute(
        update(messages)
        .where(
            tuple_(messages.c.tenant_id, messages.c.id).in_(keys),
            messages.c.status == MessageStatus.UNCONFIRMED.value,
        )
        .values(end_lease(MESSAGES))
    )


async def _leave_unconfirmed(connection: AsyncConnection, keys: list[MessageKey], hold: timedelta) -> None:
    unconfirmed = (
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys), messages.c.lease_until.is_not(None))
        .values(
            **end_lease(MESSAGES),
            status=MessageStatus.UNCONFIRMED.value,
            due_at=func.now() + hold,
            unconfirmed_at=func.now(),
            failure=failure_to_json(WORKER_LOST),
            updated_at=func.now(),
        )
        .returning(messages.c.tenant_id, messages.c.id, messages.c.attempt_count, messages.c.channel)
        .cte("unconfirmed")
    )
    ended = (
        update(attempts)
        .where(
            attempts.c.tenant_id == unconfirmed.c.tenant_id,
            attempts.c.message_id == unconfirmed.c.id,
            attempts.c.number == unconfirmed.c.attempt_count,
        )
        .values(outcome=AttemptOutcome.UNCONFIRMED.value, failure=failure_to_json(WORKER_LOST))
        .cte("ended")
    )
    logged = insert(message_events).from_select(
        ["tenant_id", "message_id", "status", "previous_status", "channel", "attempt", "detail", "source"],
        select(
            unconfirmed.c.tenant_id,
            unconfirmed.c.id,
            text_value(MessageStatus.UNCONFIRMED.value),
            text_value(MessageStatus.SENDING.value),
            unconfirmed.c.channel,
            unconfirmed.c.attempt_count,
            text_value("its worker's lease ran out"),
            text_value(EventSource.WORKER.value),
        ),
    )
    await connection.execute(logged.add_cte(ended))
