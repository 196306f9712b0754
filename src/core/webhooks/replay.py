"""Processing webhooks again, as if they had just come."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import InvalidState, NotFound
from core.operations.dead_letters import close_of_webhooks
from core.webhooks.tables import inbox
from core.webhooks.values import WebhookStatus
from core.words import say


async def replay(
    connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
) -> Mapping[UUID, NotFound | InvalidState | None]:
    """Make webhooks due again, with all their tries; says of each why it is refused, None where it is not.

    What they did already they do not do twice: reports move messages forward only, and a message that came in has
    the id of its webhook.
    """
    if not ids:
        return {}
    chosen = (inbox.c.tenant_id == tenant) & inbox.c.id.in_(list(ids))
    # Locked, so that what is said of each is still so when it is said.
    locked = select(
        inbox.c.id, inbox.c.status, inbox.c.replayed_at, inbox.c.event_sealed.is_not(None).label("is_kept")
    ).where(chosen)
    rows = {row.id: row for row in await connection.execute(locked.order_by(inbox.c.id).with_for_update())}
    refusals = {one: _refusal(rows.get(one)) for one in ids}
    due = [one for one, refusal in refusals.items() if refusal is None and rows[one].status != WebhookStatus.RECEIVED]
    await connection.execute(
        update(inbox)
        .where(inbox.c.tenant_id == tenant, inbox.c.id.in_(due))
        .values(
            status=WebhookStatus.RECEIVED.value,
            due_at=func.now(),
            attempts=0,
            error=None,
            processed_at=None,
            replayed_at=func.now(),
        )
    )
    await close_of_webhooks(connection, tenant, due)
    return refusals


def _refusal(row: Row[Any] | None) -> NotFound | InvalidState | None:
    if row is None:
        return NotFound(say("WEBHOOK_NOT_FOUND", "There is no such webhook."))
    if row.status == WebhookStatus.RECEIVED and row.replayed_at is not None:
        # Somebody asked for that already, and lost the answer perhaps.
        return None
    if row.status == WebhookStatus.RECEIVED:
        return InvalidState(say("WEBHOOK_WAITS_ALREADY", "It is waiting to be processed already."), state=row.status)
    if not row.is_kept:
        text = say("WEBHOOK_ERASED", "What it said is no longer kept: it cannot be processed again.")
        return InvalidState(text, state=row.status)
    return None
