"""Processing webhooks again, as if they had just come."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import func, select, update
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
    rows = await connection.execute(
        update(inbox)
        .where(chosen, inbox.c.status != WebhookStatus.RECEIVED.value, inbox.c.event_sealed.is_not(None))
        .values(
            status=WebhookStatus.RECEIVED.value,
            due_at=func.now(),
            attempts=0,
            error=None,
            processed_at=None,
            replayed_at=func.now(),
        )
        .returning(inbox.c.id)
    )
    done = set(rows.scalars())
    await close_of_webhooks(connection, tenant, done)
    left = set(ids) - done
    rows = (await connection.execute(select(inbox.c.id, inbox.c.status).where(chosen))).all() if left else []
    waiting = {row.id: str(row.status) for row in rows}
    return {one: None if one in done else _refusal(waiting.get(one)) for one in ids}


def _refusal(status: str | None) -> NotFound | InvalidState:
    if status is None:
        return NotFound(say("WEBHOOK_NOT_FOUND", "There is no such webhook."))
    if status == WebhookStatus.RECEIVED:
        return InvalidState(say("WEBHOOK_WAITS_ALREADY", "It is waiting to be processed already."), state=status)
    text = say("WEBHOOK_ERASED", "What it said is no longer kept: it cannot be processed again.")
    return InvalidState(text, state=status)
