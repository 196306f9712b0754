"""Claiming due messages: leased to one worker with a fencing token, and marked as begun before the call is made.

Only the database's clock counts. A claim carries a token, and an outcome is written only with the token of the claim.
`delivery.py` claims, begins and releases; `sending.py` makes the calls; `record.py` writes their outcomes.
"""

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
"""How long an unconfirmed message is waited for before its step counts as failed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The deadline of a call, `hold`: how long an unconfirmed message is left before it is settled, and `retry_for`:
    how long, at least, a step is tried again when its calls certainly did nothing.
    """

    send_deadline: timedelta = timedelta(seconds=20)
    hold: timedelta = timedelta(seconds=60)
    retry_for: timedelta = timedelta(hours=1)

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts: a call that could end later is not begun."""
        return self.send_deadline * 2 + timedelta(seconds=5)


NO_UNREAD_REPORT = """(attempt_count = 0 OR NOT EXISTS (
    SELECT FROM inbox
    WHERE inbox.tenant_id = messages.tenant_id AND inbox.message_id = messages.id AND inbox.status = 'RECEIVED'
))"""
"""A condition on `messages`: no report about the message waits in the inbox. Without an attempt there is none.

What would act because no report has come checks this first.
"""

_UNREAD = text(f"""
SELECT tenant_id, id FROM messages
WHERE (tenant_id, id) IN (SELECT * FROM unnest(:tenants, :ids)) AND NOT {NO_UNREAD_REPORT}
""").bindparams(  # noqa: S608  # a constant is all that is filled in
    bindparam("tenants", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid))
)


async def with_unread_reports(connection: AsyncConnection, keys: Collection[MessageKey]) -> set[MessageKey]:
    """Return those of the messages that have a report waiting in the inbox."""
    wanted = {"tenants": [key.tenant_id for key in keys], "ids": [key.message_id for key in keys]}
    return {MessageKey(row.tenant_id, row.id) for row in await connection.execute(_UNREAD, wanted)}


# ─── Claims ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message leased to this worker, with what is needed to send it."""

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
    """Whether only a simulated provider may receive it."""
    quoted: str | None = None
    """The provider's id of the message it replies to."""
    has_begun: bool = False
    """Whether the claim marked it as begun already."""
    # Not compared: the content of a template holds lists, which cannot be hashed.
    opened: "Opened | None" = field(default=None, compare=False)
    """Its content and recipient, once they were opened."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The sealed parts of a message, opened for sending."""

    to: str
    content: Content


# Nothing is sent again, or over another channel, while a report about an earlier attempt waits in the inbox.
_IS_DUE = f"""channel = :channel AND status = 'QUEUED' AND due_at <= now() AND lease_until IS NULL
          AND (expires_at > now()) IS NOT FALSE AND (step_until > now()) IS NOT FALSE
          AND {NO_UNREAD_REPORT}
          -- What is sealed with a key that this process lacks is left to one that has it.
          AND (CAST(:keys AS bytea[]) IS NULL
               OR {is_readable("to_sealed")} AND {is_readable("content_sealed")})"""

# Every tenant with due work gets an equal share of a claim, its oldest messages first; if there are more tenants than
# places, tenants are chosen at random. Rows that another worker has locked are skipped.
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
), logged AS (
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

    `keys` are the encryption keys of this process: messages sealed with others are left out; None leases all. With
    `begins` the messages are marked as begun, too, except those that respect quiet hours: for callers that send
    everything they claim.
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
    """Lock claimed messages until the end of the transaction, in the one order of locks: see `record.py`.

    For releasing several of them; `begin` locks in that order itself.
    """
    await connection.execute(_LOCK, _claim_values(claimed))


async def begin(connection: AsyncConnection, claimed: Sequence[Claimed], timing: Timing) -> set[MessageKey]:
    """Mark claims as begun; returns those that may be sent: leased still, not expired, with time for the call."""
    rows = await connection.execute(_BEGIN, {**_claim_values(claimed), "deadline": timing.send_deadline})
    return {MessageKey(row.tenant_id, row.id) for row in rows}


async def release(
    connection: AsyncConnection, claimed: Sequence[Claimed], waits: Sequence[float], *, stops_time: bool = False
) -> None:
    """Undo claims that were not begun: each message is due again in so many seconds, and no try is counted.

    Where that stops its step's time, the step has as much of it left afterwards.
    """
    if claimed:
        await connection.execute(_RELEASE, {**_claim_values(claimed), "waits": list(waits), "stops_time": stops_time})


async def postpone(connection: AsyncConnection, keys: Sequence[MessageKey]) -> None:
    """Make messages that cannot be read due again in a minute; no try is counted."""
    due = tuple_(messages.c.tenant_id, messages.c.id).in_(keys)
    await connection.execute(
        update(messages)
        .where(due, messages.c.status == MessageStatus.QUEUED.value, messages.c.lease_until.is_(None))
        .values(due_at=func.now() + _UNREADABLE_PAUSE)
    )


_UNREADABLE_PAUSE = timedelta(minutes=1)


def text_value(value: str) -> ColumnElement[str]:
    """A constant with an explicit type, for a select list: PostgreSQL would have to guess."""
    return cast(literal(value), Text)


def _claim_values(claimed: Sequence[Claimed]) -> dict[str, Any]:
    return {
        "tenants": [one.key.tenant_id for one in claimed],
        "ids": [one.key.message_id for one in claimed],
        "tokens": [one.token for one in claimed],
    }


_MINE_PARAMETERS = [
    bindparam("tenants", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("tokens", type_=ARRAY(BigInteger)),
]
_MINE_COLUMNS = [column("tenant_id", Uuid), column("id", Uuid), column("token", BigInteger)]


# Statements are built once: building one costs more than running it.
def _select_mine() -> Select[Any]:
    mine = func.unnest(*_MINE_PARAMETERS).table_valued(*_MINE_COLUMNS, name="mine").render_derived()
    return (
        select(mine.c.tenant_id, mine.c.id, mine.c.token)
        .join(messages, (messages.c.tenant_id == mine.c.tenant_id) & (messages.c.id == mine.c.id))
        .order_by(messages.c.tenant_id, messages.c.id)
        .with_for_update(of=messages)
    )


def _begin_statement() -> Select[Any]:
    mine = _select_mine().cte("mine")
    sending = (
        update(messages)
        .where(
            messages.c.tenant_id == mine.c.tenant_id,
            messages.c.id == mine.c.id,
            messages.c.lease_token == mine.c.token,
            messages.c.lease_until > func.now() + bindparam("deadline", type_=Interval),
            # The process may have been suspended since the claim.
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
    logged = insert(message_events).from_select(
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
    return select(sending).add_cte(begun).add_cte(logged.cte("logged"))


def _release_statement() -> Delete:
    waits = bindparam("waits", type_=ARRAY(Double))
    mine = (
        func.unnest(*_MINE_PARAMETERS, waits)
        .table_valued(*_MINE_COLUMNS, column("wait", Double), name="mine")
        .render_derived()
    )
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


_LOCK, _BEGIN, _RELEASE = _select_mine(), _begin_statement(), _release_statement()
