"""Claiming due messages: leased to one worker, with a fencing token, and marked as begun before the call is made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Delete,
    Double,
    Interval,
    LargeBinary,
    Row,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    delete,
    false,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.record import MessageKey
from core.messages.status import EventSource, MessageStatus
from core.messages.tables import attempts, message_events, messages
from core.ports import Channel, Content
from core.sealing import is_readable

GIVE_UP_AFTER = timedelta(days=3)
"""How long an unconfirmed message is waited for."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The deadline of one call, how long an unconfirmed message is held before anything is decided about it, and
    `retry_for`: how long a step is tried again at least whose calls surely did nothing.
    """

    send_deadline: timedelta = timedelta(seconds=20)
    hold: timedelta = timedelta(seconds=60)
    retry_for: timedelta = timedelta(hours=1)

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts: what cannot end before it does is not begun."""
        return self.send_deadline * 2 + timedelta(seconds=5)


# Reports that lie unread in the inbox: whoever is about to act for want of a report looks here first.


NO_UNREAD_REPORT = """(attempt_count = 0 OR NOT EXISTS (
    SELECT FROM inbox
    WHERE inbox.tenant_id = messages.tenant_id AND inbox.message_id = messages.id AND inbox.status = 'RECEIVED'
))"""
"""Whether a row of `messages` has no report waiting to be read; what was never tried has none."""

_UNREAD = text(f"""
SELECT tenant_id, id FROM messages
WHERE (tenant_id, id) IN (SELECT * FROM unnest(:tenants, :ids)) AND NOT {NO_UNREAD_REPORT}
""").bindparams(  # noqa: S608  # a constant is all that is filled in
    bindparam("tenants", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid))
)


async def with_unread_reports(connection: AsyncConnection, keys: Collection[MessageKey]) -> set[MessageKey]:
    """Those of these messages that a report lies unread about."""
    wanted = {"tenants": [key.tenant_id for key in keys], "ids": [key.message_id for key in keys]}
    return {MessageKey(row.tenant_id, row.id) for row in await connection.execute(_UNREAD, wanted)}


# Whose turn it is: due messages are leased to one worker, and marked as begun before the bytes leave.
#
# Only the database's clock counts. A claim carries a token; whoever writes an outcome names the token it was given.


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message leased to us, with what is needed to send it."""

    key: MessageKey
    token: int
    attempt: int
    channel: Channel
    to_hash: bytes
    to_sealed: bytes
    content_sealed: bytes
    claimed_at: datetime
    respects_quiet_hours: bool = False
    in_reply_to: UUID | None = None
    simulated_only: bool = False
    """Whether no real company may be given it."""
    quoted: str | None = None
    """The company's own id of the message it answers."""
    has_begun: bool = False
    """Whether it is written down already that it is about to be sent."""
    # Not compared: what a template says holds lists, which have no hash, and the message is the same without it.
    opened: "Opened | None" = field(default=None, compare=False)
    """What it says and to whom, once it has been read back."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The sealed parts of a message, as they are to be sent."""

    to: str
    content: Content


# Nothing is sent again, or over another channel, while a report about what was sent before lies unread.
_IS_DUE = f"""channel = :channel AND status = 'QUEUED' AND due_at <= now() AND lease_until IS NULL
          AND (expires_at > now()) IS NOT FALSE AND (step_until > now()) IS NOT FALSE
          AND {NO_UNREAD_REPORT}
          -- What another process sealed with a key that this one lacks waits for one that has it, without a delay.
          AND (CAST(:keys AS bytea[]) IS NULL
               OR {is_readable("to_sealed")} AND {is_readable("content_sealed")})"""

# Every tenant with due work gets the same share of a claim, its oldest first; more tenants than places draw lots.
# What another worker holds is passed over, so that two never wait for each other.
_CLAIM = text(f"""
WITH waiting AS (
    SELECT id FROM tenants
    WHERE EXISTS (
        SELECT FROM messages
        WHERE tenant_id = tenants.id AND {_IS_DUE}
    )
    ORDER BY random() LIMIT :places
), picked AS (
    SELECT due.tenant_id, due.id
    FROM waiting CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM messages
        WHERE tenant_id = waiting.id AND {_IS_DUE}
        ORDER BY due_at
        LIMIT (SELECT greatest(1, :places / greatest(1, count(*))) FROM waiting)
        FOR UPDATE SKIP LOCKED
    ) due
), leased AS (
    UPDATE messages SET
        lease_until = now() + :lease, lease_owner = :worker, lease_token = lease_token + 1,
        attempt_count = attempt_count + 1,
        status = CASE WHEN :begins AND NOT respects_quiet_hours THEN 'SENDING' ELSE status END,
        updated_at = CASE WHEN :begins AND NOT respects_quiet_hours THEN now() ELSE updated_at END
    FROM picked WHERE messages.tenant_id = picked.tenant_id AND messages.id = picked.id
    RETURNING messages.tenant_id, messages.id, lease_token, attempt_count, step, to_hash, to_sealed, content_sealed,
        now() AS claimed_at, respects_quiet_hours, in_reply_to, simulated_only,
        status = 'SENDING' AS has_begun
), numbered AS (
    INSERT INTO attempts (tenant_id, message_id, number, step, channel, integration, token, outcome, started_at)
    SELECT tenant_id, id, attempt_count, step, :channel, :integration, lease_token, 'IN_FLIGHT',
        CASE WHEN has_begun THEN now() END
    FROM leased
), told AS (
    INSERT INTO message_events (tenant_id, message_id, status, previous_status, channel, attempt, source)
    SELECT tenant_id, id, 'SENDING', 'QUEUED', :channel, attempt_count, 'WORKER' FROM leased WHERE has_begun
)
SELECT * FROM leased
""").bindparams(  # noqa: S608  # constants are all that is filled in
    bindparam("lease", type_=Interval),
    bindparam("channel", type_=Text),
    bindparam("integration", type_=Text),
    bindparam("begins", type_=Boolean),
    bindparam("keys", type_=ARRAY(LargeBinary)),
)


async def claim(
    connection: AsyncConnection,
    channel: Channel,
    integration: str,
    *,
    worker: str,
    limit: int,
    timing: Timing,
    begins: bool = False,
    keys: Sequence[bytes] | None = None,
) -> list[Claimed]:
    """Lease up to `limit` due messages of a channel, fairly between tenants, and number an attempt for each.

    Only those are leased that lie under one of these `keys`; None leases whatever is due. With `begins` it is written
    down as well that they are about to be sent: for whoever sends all that is claimed, but for those that respect quiet
    hours.
    """
    rows = await connection.execute(
        _CLAIM,
        {
            "channel": channel.value,
            "integration": integration,
            "worker": worker,
            "places": limit,
            "lease": timing.lease,
            "begins": begins,
            "keys": None if keys is None else list(keys),
        },
    )
    return [_claimed(row, channel) for row in rows]


def _claimed(row: Row[Any], channel: Channel) -> Claimed:
    return Claimed(
        MessageKey(row.tenant_id, row.id),
        row.lease_token,
        row.attempt_count,
        channel,
        row.to_hash,
        row.to_sealed,
        row.content_sealed,
        row.claimed_at,
        row.respects_quiet_hours,
        row.in_reply_to,
        row.simulated_only,
        has_begun=row.has_begun,
    )


async def lock_claimed(connection: AsyncConnection, claimed: Sequence[Claimed]) -> None:
    """Lock these until the end of the transaction, in the order in which everybody does: see `lock_standings`.

    For whoever puts several back; beginning locks in that order by itself.
    """
    await connection.execute(_HOLD, _named(claimed))


async def begin(connection: AsyncConnection, claimed: Sequence[Claimed], timing: Timing) -> set[MessageKey]:
    """Write down that these are about to be sent; returns those that may be: ours still, in time, with time enough."""
    rows = await connection.execute(_BEGIN, {**_named(claimed), "deadline": timing.send_deadline})
    return {MessageKey(row.tenant_id, row.id) for row in rows}


async def release(
    connection: AsyncConnection, claimed: Sequence[Claimed], waits: Sequence[float], *, stops_time: bool = False
) -> None:
    """Undo claims that were not begun: each message is due again in so many seconds, and no try is counted.

    Where that stops its step's time, the step has as much of it left afterwards.
    """
    if claimed:
        await connection.execute(_PUT_BACK, {**_named(claimed), "waits": list(waits), "stops_time": stops_time})


async def postpone(connection: AsyncConnection, keys: Sequence[MessageKey]) -> None:
    """Look again in a minute at messages that are due and cannot be read: nothing was begun, and no try is counted."""
    due = tuple_(messages.c.tenant_id, messages.c.id).in_(keys)
    await connection.execute(
        update(messages)
        .where(due, messages.c.status == MessageStatus.QUEUED.value, messages.c.lease_until.is_(None))
        .values(due_at=func.now() + _UNREADABLE_PAUSE)
    )


_UNREADABLE_PAUSE = timedelta(minutes=1)


def text_value(value: str) -> ColumnElement[str]:
    """A constant in a select list, with its type said: PostgreSQL would have to guess."""
    return cast(literal(value), Text)


def _named(claimed: Sequence[Claimed]) -> dict[str, Any]:
    return {
        "tenants": [one.key.tenant_id for one in claimed],
        "ids": [one.key.message_id for one in claimed],
        "tokens": [one.token for one in claimed],
    }


_MINE = [
    bindparam("tenants", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("tokens", type_=ARRAY(BigInteger)),
]
_MINE_AS = [column("tenant_id", Uuid), column("id", Uuid), column("token", BigInteger)]


# Statements are built once: building one costs more than running it.
def _holding() -> Select[Any]:
    mine = func.unnest(*_MINE).table_valued(*_MINE_AS, name="mine").render_derived()
    return (
        select(mine.c.tenant_id, mine.c.id, mine.c.token)
        .join(messages, (messages.c.tenant_id == mine.c.tenant_id) & (messages.c.id == mine.c.id))
        .order_by(messages.c.tenant_id, messages.c.id)
        .with_for_update(of=messages)
    )


def _beginning() -> Select[Any]:
    mine = _holding().cte("mine")
    sending = (
        update(messages)
        .where(
            messages.c.tenant_id == mine.c.tenant_id,
            messages.c.id == mine.c.id,
            messages.c.lease_token == mine.c.token,
            messages.c.lease_until > func.now() + bindparam("deadline", type_=Interval),
            # Between claim and beginning a worker may have slept for as long as its lease.
            (messages.c.expires_at > func.now()).is_not(false()),
            (messages.c.step_until > func.now()).is_not(false()),
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
    return select(sending).add_cte(begun).add_cte(told.cte("told"))


def _putting_back() -> Delete:
    waits = bindparam("waits", type_=ARRAY(Double))
    mine = func.unnest(*_MINE, waits).table_valued(*_MINE_AS, column("wait", Double), name="mine").render_derived()
    wait = func.make_interval(0, 0, 0, 0, 0, 0, mine.c.wait)
    stops_time = bindparam("stops_time", type_=Boolean)
    returned = (
        update(messages)
        .where(
            messages.c.tenant_id == mine.c.tenant_id,
            messages.c.id == mine.c.id,
            messages.c.lease_token == mine.c.token,
            messages.c.status == MessageStatus.QUEUED.value,
            messages.c.lease_until.is_not(None),
        )
        .values(
            lease_until=None,
            lease_token=messages.c.lease_token + 1,
            attempt_count=messages.c.attempt_count - 1,
            due_at=func.now() + wait,
            step_until=case((stops_time, messages.c.step_until + wait), else_=messages.c.step_until),
        )
        .returning(messages.c.tenant_id, messages.c.id, (messages.c.attempt_count + 1).label("number"))
        .cte("returned")
    )
    return delete(attempts).where(
        tuple_(attempts.c.tenant_id, attempts.c.message_id, attempts.c.number).in_(
            select(returned.c.tenant_id, returned.c.id, returned.c.number)
        )
    )


_HOLD, _BEGIN, _PUT_BACK = _holding(), _beginning(), _putting_back()
