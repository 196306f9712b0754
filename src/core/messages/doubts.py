"""Doubts that are due: unconfirmed messages leased to one settler, with what is needed to ask the company about them.

A doubt is left alone while a report about it lies unread in the inbox, and until everything that could have brought
one has been at work, without a gap, for as long as doubts are held.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Interval, Row, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.content import content_for, content_from_json
from core.messages.record import Key
from core.messages.timing import Timing
from core.messages.unread import NOTHING_UNREAD
from core.operations.pulses import heard_since
from core.ports import Channel, Reference, Sought
from core.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt nobody knows the end of. `age` is how long; `has_twin` when one like it is under way just now."""

    key: Key
    token: int
    attempt: int
    integration: str
    channel: Channel
    age: timedelta
    started_at: datetime
    has_twin: bool
    simulated_only: bool
    to_sealed: bytes
    content_sealed: bytes

    def sought(self, sealer: Sealer) -> Sought:
        """What the company is asked for; raises SealBroken."""
        tenant, row = self.key
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
    leased.tenant_id, leased.id, leased.lease_token, leased.to_sealed, leased.content_sealed, leased.simulated_only,
    now() - leased.unconfirmed_at AS age,
    attempts.number, attempts.integration, attempts.channel, attempts.started_at,
    EXISTS (
        SELECT FROM messages twin JOIN attempts other ON other.tenant_id = twin.tenant_id
            AND other.message_id = twin.id AND other.number = twin.attempt_count
        WHERE twin.tenant_id = leased.tenant_id AND twin.to_hash = leased.to_hash AND twin.id <> leased.id
          AND twin.status = 'SENDING' AND other.integration = attempts.integration
    ) AS has_twin
FROM leased CROSS JOIN LATERAL (
    -- Not its last number: what was claimed after the doubt and never begun was no attempt.
    SELECT * FROM attempts
    WHERE tenant_id = leased.tenant_id AND message_id = leased.id AND started_at IS NOT NULL
    ORDER BY number DESC LIMIT 1
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
        token=row.lease_token,
        attempt=row.number,
        integration=row.integration,
        channel=Channel(row.channel),
        age=row.age,
        started_at=row.started_at,
        has_twin=row.has_twin,
        simulated_only=row.simulated_only,
        to_sealed=row.to_sealed,
        content_sealed=row.content_sealed,
    )
