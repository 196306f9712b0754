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
    CTE,
    Boolean,
    ColumnElement,
    Delete,
    LargeBinary,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.claims import (
    WAIT,
    begin_rows,
    begin_values,
    claim_rows,
    claim_values,
    held_values,
    lock_claims,
    number_attempts,
    release_rows,
    release_values,
    start_attempts,
)
from core.messages.record import MessageKey
from core.messages.status import AttemptOutcome, EventSource
from core.messages.tables import MESSAGES, message_events, messages
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
_MAY_BE_SENT = text(f"""channel = :of_channel
          AND (expires_at > now()) IS NOT FALSE AND (step_until > now()) IS NOT FALSE
          AND {NO_UNREAD_REPORT}
          -- What is sealed with a key that this process lacks is left to one that has it.
          AND (CAST(:keys AS bytea[]) IS NULL
               OR {is_readable("to_sealed")} AND {is_readable("content_sealed")})""").bindparams(
    bindparam("of_channel", type_=Text), bindparam("keys", type_=ARRAY(LargeBinary))
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
            **claim_values(worker=worker, limit=limit, lease=timing.lease),
            "of_channel": channel.value,
            "of_integration": integration,
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
    await connection.execute(_LOCK, held_values(_pairs(claimed)))


async def begin(connection: AsyncConnection, claimed: Sequence[Claimed], timing: Timing) -> set[MessageKey]:
    """Mark claims as begun; returns those that may be sent: leased still, not expired, with time for the call."""
    rows = await connection.execute(_BEGIN, begin_values(_pairs(claimed), timing.send_deadline))
    return {MessageKey(row.tenant_id, row.id) for row in rows}


async def release(
    connection: AsyncConnection, claimed: Sequence[Claimed], waits: Sequence[float], *, stops_time: bool = False
) -> None:
    """Undo claims that were not begun: each message is due again in so many seconds, and no try is counted.

    Where that stops its step's time, the step has as much of it left afterwards.
    """
    if claimed:
        await connection.execute(_RELEASE, release_values(_pairs(claimed), waits) | {"stops_time": stops_time})


def text_value(value: str) -> ColumnElement[str]:
    """A constant with an explicit type, for a select list: PostgreSQL would have to guess."""
    return cast(literal(value), Text)


def _pairs(claimed: Sequence[Claimed]) -> list[tuple[MessageKey, int]]:
    return [(one.key, one.token) for one in claimed]


_NEEDED = "step", "to_hash", "to_sealed", "content_sealed", "respects_quiet_hours", "in_reply_to", "simulated_only"


def _claim_statement() -> Select[Any]:
    begins = and_(bindparam("begins", type_=Boolean), ~messages.c.respects_quiet_hours)
    claimed = claim_rows(
        MESSAGES,
        _MAY_BE_SENT,
        returning=[
            *(messages.c[name] for name in _NEEDED),
            (messages.c.status == text_value(MESSAGES.working)).label("has_begun"),
        ],
        values={
            "status": case((begins, text_value(MESSAGES.working)), else_=messages.c.status),
            "updated_at": case((begins, func.now()), else_=messages.c.updated_at),
        },
    )
    channel = bindparam("of_channel", type_=Text)
    attempt = {
        "step": claimed.c.step,
        "channel": channel,
        "integration": bindparam("of_integration", type_=Text),
        "outcome": text_value(AttemptOutcome.IN_FLIGHT.value),
        "started_at": case((claimed.c.has_begun, func.now())),
    }
    logged = _log_beginning(claimed, channel, claimed.c.has_begun)
    return select(claimed).add_cte(number_attempts(MESSAGES, claimed, attempt)).add_cte(logged)


def _begin_statement() -> Select[Any]:
    begun = begin_rows(
        MESSAGES,
        # The process may have been suspended since the claim.
        (messages.c.expires_at > func.now()).is_not(false()),
        (messages.c.step_until > func.now()).is_not(false()),
        returning=[messages.c.channel],
        values={"updated_at": func.now()},
    )
    return select(begun).add_cte(start_attempts(MESSAGES, begun)).add_cte(_log_beginning(begun, begun.c.channel))


def _log_beginning(begun: CTE, channel: ColumnElement[str], *conditions: ColumnElement[bool]) -> CTE:
    return (
        insert(message_events)
        .from_select(
            ["tenant_id", "message_id", "status", "previous_status", "channel", "attempt", "source"],
            select(
                begun.c.tenant_id,
                begun.c.id,
                text_value(MESSAGES.working),
                text_value(MESSAGES.waiting),
                channel,
                begun.c.attempt_count,
                text_value(EventSource.WORKER.value),
            ).where(*conditions),
        )
        .cte("logged")
    )


def _release_statement() -> Delete:
    stops_time = bindparam("stops_time", type_=Boolean)
    left = case((stops_time, messages.c.step_until + WAIT), else_=messages.c.step_until)
    return release_rows(MESSAGES, {"step_until": left})


_CLAIM, _BEGIN, _RELEASE = _claim_statement(), _begin_statement(), _release_statement()
_LOCK = lock_claims(MESSAGES)
