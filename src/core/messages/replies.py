"""Which message a message answers: named by its caller or by the company, and told to the company in its own words.

Nobody sees into another tenant: an id that names a foreign message names nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.claim import Claimed
from core.messages.record import Key
from core.messages.tables import attempts, messages
from core.privacy.disguise import MARK


async def find_answered(
    connection: AsyncConnection, tenant_id: UUID, integration: str, names: Sequence[str]
) -> UUID | None:
    """Find the tenant's message that a company knows by an id kept as one of these, whoever wrote it."""
    if not names:
        return None
    ours = select(attempts.c.message_id).where(
        attempts.c.tenant_id == tenant_id,
        attempts.c.integration == integration,
        attempts.c.provider_message_id.in_(names),
    )
    theirs = select(messages.c.id).where(
        messages.c.tenant_id == tenant_id,
        messages.c.integration == integration,
        messages.c.provider_message_id.in_(names),
    )
    found: UUID | None = (await connection.execute(union_all(ours, theirs).limit(1))).scalar()
    return found


async def with_quotes(connection: AsyncConnection, integration: str, claimed: Sequence[Claimed]) -> list[Claimed]:
    """Add the company's ids of the messages answered; one it does not know, of another channel say, has none."""
    answered = {Key(one.key.tenant_id, one.in_reply_to) for one in claimed if one.in_reply_to is not None}
    if not answered:
        return list(claimed)
    ours = select(attempts.c.tenant_id, attempts.c.message_id, attempts.c.provider_message_id).where(
        tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(answered),
        attempts.c.integration == integration,
        attempts.c.provider_message_id.is_not(None),
        attempts.c.provider_message_id.not_like(f"{MARK}%"),
    )
    theirs = select(messages.c.tenant_id, messages.c.id, messages.c.provider_message_id).where(
        tuple_(messages.c.tenant_id, messages.c.id).in_(answered),
        messages.c.integration == integration,
        messages.c.provider_message_id.is_not(None),
        # A disguise is no name the company would know.
        messages.c.provider_message_id.not_like(f"{MARK}%"),
    )
    rows = await connection.execute(union_all(ours, theirs))
    known = {(row.tenant_id, row.message_id): row.provider_message_id for row in rows}
    return [replace(one, quoted=known.get((one.key.tenant_id, one.in_reply_to))) for one in claimed]
