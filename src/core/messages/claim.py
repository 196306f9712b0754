"""Whose turn it is: due messages are leased to one worker, and marked as begun before the bytes leave.

Only the database's clock counts. A claim carries a token; whoever writes an outcome names the token it was given.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    TableValuedAlias,
    Text,
    Uuid,
    cast,
    column,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from core.messages.record import Key
from core.messages.tables import attempts, message_events, messages
from core.messages.values import AttemptOutcome, EventSource, MessageStatus
from core.ports import Channel

LEASE = timedelta(seconds=45)
SEND_DEADLINE = timedelta(seconds=20)
"""How long one call may take; what could not end before its lease does is not begun."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message leased to us, with what is needed to send it."""

    key: Key
    token: int
    attempt: int
    channel: Channel
    to_sealed: bytes
    content_sealed: bytes
    in_reply_to: UUID | None = None
    quoted: str | None = None
    """The company's own id of the message it answers."""


async def claim(
    connection: AsyncConnection, channel: Channel, integration: str, *, worker: str, limit: int
) -> list[Claimed]:
    """Lease up to `limit` due messages of a channel, oldest first, and number an attempt for each."""
    leased = _lease(_due(channel, limit), worker).cte("leased")
    numbered = insert(attempts).from_select(
        ["tenant_id", "message_id", "number", "step", "channel", "integration", "token", "outcome"],
        select(
            leased.c.tenant_id,
            leased.c.id,
            leased.c.attempt_count,
            leased.c.step,
            text_value(channel.value),
            text_value(integration),
            leased.c.lease_token,
            text_value(AttemptOutcome.IN_FLIGHT.value),
        ),
    )
    rows = await connection.execute(select(leased).add_cte(numbered.cte("numbered")))
    return [
        Claimed(
            Key(row.tenant_id, row.id),
            row.lease_token,
            row.attempt_count,
            channel,
            row.to_sealed,
            row.content_sealed,
            row.in_reply_to,
        )
        for row in rows
    ]


def _due(channel: Channel, limit: int) -> CTE:
    return (
        select(messages.c.tenant_id, messages.c.id)
        .where(
            messages.c.channel == channel.value,
            messages.c.status == MessageStatus.QUEUED.value,
            messages.c.lease_until.is_(None),
            messages.c.due_at <= func.now(),
        )
        .order_by(messages.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )


def _lease(due: CTE, worker: str) -> ReturningUpdate[Any]:
    return (
        update(messages)
        .where(messages.c.tenant_id == due.c.tenant_id, messages.c.id == due.c.id)
        .values(
            lease_until=func.now() + LEASE,
            lease_owner=worker,
            lease_token=messages.c.lease_token + 1,
            attempt_count=messages.c.attempt_count + 1,
        )
        .returning(
            messages.c.tenant_id,
            messages.c.id,
            messages.c.lease_token,
            messages.c.attempt_count,
            messages.c.step,
            messages.c.to_sealed,
            messages.c.content_sealed,
            messages.c.in_reply_to,
        )
    )


async def begin(connection: AsyncConnection, claimed: list[Claimed]) -> set[Key]:
    """Write down that these are about to be sent; returns those that may be: still ours, with time enough left."""
    mine = _unnest(claimed)
    sending = (
        update(messages)
        .where(
            messages.c.tenant_id == mine.c.tenant_id,
            messages.c.id == mine.c.id,
            messages.c.lease_token == mine.c.token,
            messages.c.lease_until > func.now() + SEND_DEADLINE,
        )
        .values(status=MessageStatus.SENDING.value, updated_at=func.now())
        .returning(messages.c.tenant_id, messages.c.id, messages.c.attempt_count, messages.c.channel)
        .cte("sending")
    )
    begun = (
        update(attempts)
        .where(
            attempts.c.tenant_id == sending.c.tenant_id,
            attempts.c.message_id == sending.c.id,
            attempts.c.number == sending.c.attempt_count,
        )
        .values(started_at=func.now())
        .cte("begun")
    )
    told = insert(message_events).from_select(
        ["tenant_id", "message_id", "status", "previous_status", "channel", "attempt", "source"],
        select(
            sending.c.tenant_id,
            sending.c.id,
            text_value(MessageStatus.SENDING.value),
            text_value(MessageStatus.QUEUED.value),
            sending.c.channel,
            sending.c.attempt_count,
            text_value(EventSource.WORKER.value),
        ),
    )
    rows = await connection.execute(select(sending).add_cte(begun).add_cte(told.cte("told")))
    return {Key(row.tenant_id, row.id) for row in rows}


def text_value(value: str) -> ColumnElement[str]:
    """A constant in a select list, with its type said: PostgreSQL would have to guess."""
    return cast(literal(value), Text)


def _unnest(claimed: list[Claimed]) -> TableValuedAlias:
    return (
        func.unnest(
            cast([one.key.tenant_id for one in claimed], ARRAY(Uuid)),
            cast([one.key.message_id for one in claimed], ARRAY(Uuid)),
            cast([one.token for one in claimed], ARRAY(BigInteger)),
        )
        .table_valued(column("tenant_id", Uuid), column("id", Uuid), column("token", BigInteger), name="mine")
        .render_derived()
    )
