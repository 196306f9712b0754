"""Doubts that are due: unconfirmed messages leased to one settler, with what is needed to ask the company about them.

A doubt is left alone while a report about it lies unread in the inbox, and until everything that could have brought
one has been at work, without a gap, for as long as doubts are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, DateTime, Interval, Row, Text, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.content import content_for, content_from_json
from core.messages.record import Key
from core.messages.timing import Timing
from core.messages.unread import NOTHING_UNREAD
from core.messages.values import AttemptOutcome
from core.operations.pulses import heard_since
from core.ports import Channel, Reference, Sought
from core.sealing import SealBroken, Sealer

RIVALS_WITHIN = timedelta(hours=1)
"""How far apart two attempts may have begun that one record of a provider's list may be: more than providers' clocks
and queues put between an attempt and its record."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt nobody knows the end of, of a message leased to be settled; `age` is for how long.

    Of a rival, which is not settled now, there is neither age nor token. `is_under_way` until its call has ended.
    """

    key: Key
    attempt: int
    integration: str
    channel: Channel
    started_at: datetime
    simulated_only: bool
    to_masked: str
    to_sealed: bytes | None
    content_sealed: bytes | None
    is_under_way: bool = False
    token: int = 0
    age: timedelta = timedelta(0)

    def sought(self, sealer: Sealer) -> Sought:
        """What the company is asked for; raises SealBroken, also where that is no longer kept."""
        tenant, row = self.key
        if self.to_sealed is None or self.content_sealed is None:
            raise SealBroken("what was sent is no longer kept")
        content = content_from_json(sealer.open(self.content_sealed, tenant=tenant, row=row, column="content"))
        return Sought(
            Reference(tenant, row, self.attempt),
            self.channel,
            sealer.open(self.to_sealed, tenant=tenant, row=row, column="to"),
            content_for(content, self.channel),
            self.started_at,
        )


_LEASE = text(f"""
WITH due AS (
    SELECT tenant_id, id FROM messages
    WHERE status = 'UNCONFIRMED' AND due_at <= now() AND lease_until IS NULL AND {NOTHING_UNREAD}
    ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE messages SET lease_until = now() + :lease, lease_owner = :worker, lease_token = lease_token + 1
    FROM due WHERE messages.tenant_id = due.tenant_id AND messages.id = due.id
    RETURNING messages.*
)
SELECT
    leased.tenant_id, leased.id, leased.lease_token, leased.to_masked, leased.to_sealed, leased.content_sealed,
    leased.simulated_only, now() - leased.unconfirmed_at AS age,
    attempts.number, attempts.integration, attempts.channel, attempts.started_at
FROM leased CROSS JOIN LATERAL (
    -- Not its last number: what was claimed after the doubt and never begun was no attempt, and what was tried after it
    -- and refused is known.
    SELECT * FROM attempts
    WHERE tenant_id = leased.tenant_id AND message_id = leased.id AND started_at IS NOT NULL
    ORDER BY (outcome = 'UNCONFIRMED' AND rank = 0) DESC, number DESC LIMIT 1
) attempts
""").bindparams(bindparam("lease", type_=Interval))  # noqa: S608  # a constant is all that is filled in


async def lease_doubts(connection: AsyncConnection, *, worker: str, limit: int, timing: Timing) -> list[Doubt]:
    """Lease doubts that are due; none while we may have been deaf within the time that doubts are held."""
    heard = (await connection.execute(select(heard_since().scalar_subquery() + timing.hold < text("now()")))).scalar()
    if not heard:
        return []
    rows = await connection.execute(_LEASE, {"worker": worker, "limit": limit, "lease": timing.lease})
    return [_doubt(row) for row in rows]


def _doubt(row: Row[Any]) -> Doubt:
    return Doubt(
        key=Key(row.tenant_id, row.id),
        attempt=row.number,
        integration=row.integration,
        channel=Channel(row.channel),
        started_at=row.started_at,
        simulated_only=row.simulated_only,
        to_masked=row.to_masked,
        to_sealed=row.to_sealed,
        content_sealed=row.content_sealed,
        token=row.lease_token,
        age=row.age,
    )


# An address is masked alike for every tenant and under every key. One that is no longer kept may be any.
_RIVALS = text("""
SELECT DISTINCT ON (rival.tenant_id, rival.message_id, rival.number)
    rival.tenant_id, rival.message_id, rival.number, rival.integration, rival.channel, rival.started_at, rival.outcome,
    messages.simulated_only, messages.to_masked, messages.to_sealed, messages.content_sealed
FROM unnest(:tenants, :ids, :integrations, :starts, :masked)
    AS doubt(tenant_id, message_id, integration, started_at, to_masked)
JOIN LATERAL (
    SELECT * FROM attempts WHERE outcome IN ('IN_FLIGHT', 'UNCONFIRMED') AND integration = doubt.integration
        AND started_at BETWEEN doubt.started_at - :apart AND doubt.started_at + :apart
    -- Settled by hand as sent: it has a record, and nobody knows which.
    UNION ALL SELECT * FROM attempts WHERE outcome = 'ACCEPTED' AND rank = 1 AND integration = doubt.integration
        AND started_at BETWEEN doubt.started_at - :apart AND doubt.started_at + :apart
        AND provider_id_lookup IS NULL AND provider_message_id IS NULL AND channel <> 'EMAIL'
) rival ON (rival.tenant_id, rival.message_id) <> (doubt.tenant_id, doubt.message_id)
JOIN messages ON messages.tenant_id = rival.tenant_id AND messages.id = rival.message_id
    AND (messages.to_masked = doubt.to_masked OR messages.to_sealed IS NULL)
LIMIT :limit
""").bindparams(
    bindparam("tenants", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("integrations", type_=ARRAY(Text)),
    bindparam("starts", type_=ARRAY(DateTime(timezone=True))),
    bindparam("masked", type_=ARRAY(Text)),
    bindparam("apart", type_=Interval),
)


async def rivals_of(connection: AsyncConnection, doubts: Sequence[Doubt], *, limit: int) -> list[Doubt]:
    """Attempts of other messages, whosever, that one record of a provider's list may be as well, up to so many."""
    rows = await connection.execute(
        _RIVALS,
        {
            "tenants": [one.key.tenant_id for one in doubts],
            "ids": [one.key.message_id for one in doubts],
            "integrations": [one.integration for one in doubts],
            "starts": [one.started_at for one in doubts],
            "masked": [one.to_masked for one in doubts],
            "apart": RIVALS_WITHIN,
            "limit": limit,
        },
    )
    return [
        Doubt(
            Key(row.tenant_id, row.message_id),
            row.number,
            row.integration,
            Channel(row.channel),
            row.started_at,
            row.simulated_only,
            row.to_masked,
            row.to_sealed,
            row.content_sealed,
            is_under_way=row.outcome == AttemptOutcome.IN_FLIGHT.value,
        )
        for row in rows
    ]
