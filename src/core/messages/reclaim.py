"""Leases that ran out: a dead worker's messages are taken back, and never sent again blindly."""

from datetime import timedelta

from sqlalchemy import delete, exists, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import FailureParty, FailureReason
from core.messages.claim import text_value
from core.messages.failures import failure_to_json
from core.messages.record import Key
from core.messages.tables import attempts, message_events, messages
from core.messages.values import AttemptOutcome, EventSource, MessageStatus
from core.ports import Failure
from core.pubsub import Change

LOST = Failure(
    FailureReason.OTHER,
    FailureParty.OPERATOR,
    "The worker ended while the message was being sent; whether the company took it is not known yet.",
)


async def take_back(connection: AsyncConnection, *, hold: timedelta, limit: int = 200) -> list[Change]:
    """Deal with leases that ran out: what never began is due again, what had begun is UNCONFIRMED for `hold`.

    When such a call ended nobody saw, so its attempt has no end. A doubt whose settler died is left to the next one.
    """
    lost = (
        select(messages.c.tenant_id, messages.c.id)
        .where(messages.c.lease_until < func.now())
        .order_by(messages.c.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    keys = [Key(row.tenant_id, row.id) for row in await connection.execute(lost)]
    if not keys:
        return []
    await _release_doubts(connection, keys)
    await _return_unbegun(connection, keys)
    await _leave_unconfirmed(connection, keys, hold)
    return [Change(*key) for key in keys]


async def _release_doubts(connection: AsyncConnection, keys: list[Key]) -> None:
    await connection.execute(
        update(messages)
        .where(
            tuple_(messages.c.tenant_id, messages.c.id).in_(keys),
            messages.c.status == MessageStatus.UNCONFIRMED.value,
        )
        .values(lease_until=None, lease_token=messages.c.lease_token + 1)
    )


async def _return_unbegun(connection: AsyncConnection, keys: list[Key]) -> None:
    started = exists().where(
        attempts.c.tenant_id == messages.c.tenant_id,
        attempts.c.message_id == messages.c.id,
        attempts.c.number == messages.c.attempt_count,
        attempts.c.started_at.is_not(None),
    )
    returned = (
        update(messages)
        .where(
            tuple_(messages.c.tenant_id, messages.c.id).in_(keys),
            messages.c.status == MessageStatus.QUEUED.value,
            ~started,
        )
        .values(
            lease_until=None,
            lease_token=messages.c.lease_token + 1,
            attempt_count=messages.c.attempt_count - 1,
            due_at=func.now(),
        )
        .returning(messages.c.tenant_id, messages.c.id, (messages.c.attempt_count + 1).label("number"))
        .cte("returned")
    )
    await connection.execute(
        delete(attempts).where(
            tuple_(attempts.c.tenant_id, attempts.c.message_id, attempts.c.number).in_(
                select(returned.c.tenant_id, returned.c.id, returned.c.number)
            )
        )
    )


async def _leave_unconfirmed(connection: AsyncConnection, keys: list[Key], hold: timedelta) -> None:
    unconfirmed = (
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys), messages.c.lease_until.is_not(None))
        .values(
            status=MessageStatus.UNCONFIRMED.value,
            lease_until=None,
            lease_token=messages.c.lease_token + 1,
            due_at=func.now() + hold,
            unconfirmed_at=func.now(),
            failure=failure_to_json(LOST),
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
        .values(outcome=AttemptOutcome.UNCONFIRMED.value, failure=failure_to_json(LOST))
        .cte("ended")
    )
    told = insert(message_events).from_select(
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
    await connection.execute(told.add_cte(ended))
