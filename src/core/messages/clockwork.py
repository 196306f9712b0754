"""What time brings: scheduled messages become due, expired ones fail, and a step out of time gives way to the next."""

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.moving import move_all
from core.messages.record import Key, Noted, lock_standings
from core.messages.tables import messages
from core.messages.transitions import Move, Standing, after_deadline, after_expiry, after_hour
from core.messages.unread import NOTHING_UNREAD
from core.messages.values import EventSource, MessageStatus
from core.pubsub import Change

# Two conditions, an index each, and words instead of parameters, since only then do the partial indexes fit them.
# No time is up as long as a report that may say it arrived lies unread.
_HAS_COME = text(f"lease_until IS NULL AND status IN ('SCHEDULED', 'SENT') AND due_at <= now() AND {NOTHING_UNREAD}")
_IS_TOO_LATE = text(
    "lease_until IS NULL AND status IN ('SCHEDULED', 'QUEUED')"
    " AND (expires_at IS NOT NULL OR step_until IS NOT NULL) AND LEAST(expires_at, step_until) <= now()"
    f" AND {NOTHING_UNREAD}"
)


async def let_time_pass(connection: AsyncConnection, *, limit: int = 200) -> list[Change]:
    """Move up to so many messages whose hour has come or whose time is up, in the caller's transaction."""
    has_expired: dict[Key, bool] = {}
    for condition in (_HAS_COME, _IS_TOO_LATE):
        rows = await connection.execute(
            select(messages.c.tenant_id, messages.c.id, (messages.c.expires_at <= func.now()).label("has_expired"))
            .where(condition)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        has_expired |= {Key(row.tenant_id, row.id): bool(row.has_expired) for row in rows}
    if not has_expired:
        return []
    return await move_all(
        connection, has_expired, lock_standings, lambda key, standing: _noted(key, standing, has_expired[key])
    )


def _noted(key: Key, standing: Standing, has_expired: bool) -> Noted:
    move, detail = _brought(standing, has_expired)
    return Noted(key, standing, move, EventSource.SCHEDULER, detail=detail)


def _brought(standing: Standing, has_expired: bool) -> tuple[Move, str]:
    if has_expired and standing.status is not MessageStatus.SENT:
        words = "before anybody reported that it arrived" if standing.may_still_arrive else "before it went out"
        return after_expiry(standing), f"its time was up {words}"
    if has_expired:
        return after_deadline(standing), "its time was up, and what was sent is left to arrive"
    if standing.status is MessageStatus.SCHEDULED:
        return after_hour(standing), "its hour has come"
    step = standing.route[standing.step]
    return after_deadline(standing), f"{step.channel} did not come to {step.until} in its time"
