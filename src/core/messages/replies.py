"""Which message a message answers: named by its caller or by the company, and told to the company in its own words.

Nobody sees into another tenant: an id that names a foreign message names nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Table, cast, null, or_, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.claim import Claimed
from core.messages.provider_ids import ProviderId, clear_forms, lookups, opened_or_none
from core.messages.record import Key
from core.messages.tables import attempts, messages
from core.sealing import Sealer


async def find_answered(
    connection: AsyncConnection, sealer: Sealer, tenant_id: UUID, integration: str, id: str | None
) -> UUID | None:
    """Find the tenant's message that a company knows by an id, whoever wrote it."""
    if not id:
        return None
    ours = select(attempts.c.message_id).where(
        attempts.c.tenant_id == tenant_id, attempts.c.integration == integration, _is_named(attempts, sealer, id)
    )
    theirs = select(messages.c.id).where(
        messages.c.tenant_id == tenant_id, messages.c.integration == integration, _is_named(messages, sealer, id)
    )
    found: UUID | None = (await connection.execute(union_all(ours, theirs).limit(1))).scalar()
    return found


def _is_named(table: Table, sealer: Sealer, id: str) -> ColumnElement[bool]:
    return or_(
        table.c.provider_id_lookup.in_(lookups(sealer, id)), table.c.provider_message_id.in_(clear_forms(sealer, id))
    )


async def with_quotes(
    connection: AsyncConnection, sealer: Sealer, integration: str, claimed: Sequence[Claimed]
) -> list[Claimed]:
    """Add the company's ids of the messages answered; one it does not know, of another channel say, has none.

    One that cannot be opened is left out: the answer goes out without saying what it answers.
    """
    answered = {Key(one.key.tenant_id, one.in_reply_to) for one in claimed if one.in_reply_to is not None}
    if not answered:
        return list(claimed)
    ours = select(attempts.c.tenant_id, attempts.c.message_id, attempts.c.number, *_kept(attempts)).where(
        tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(answered),
        attempts.c.integration == integration,
        _keeps_one(attempts),
    )
    nowhere = cast(null(), Integer).label("number")
    theirs = select(messages.c.tenant_id, messages.c.id, nowhere, *_kept(messages)).where(
        tuple_(messages.c.tenant_id, messages.c.id).in_(answered),
        messages.c.integration == integration,
        _keeps_one(messages),
    )
    rows = await connection.execute(union_all(ours, theirs))
    known = {
        (row.tenant_id, row.message_id): id
        for row in rows
        if (id := opened_or_none(sealer, ProviderId.of_row(row), row.tenant_id, row.message_id, row.number))
    }
    return [replace(one, quoted=known.get((one.key.tenant_id, one.in_reply_to))) for one in claimed]


def _kept(table: Table) -> Sequence[ColumnElement[Any]]:
    return [table.c.provider_id_sealed, table.c.provider_id_lookup, table.c.provider_message_id]


def _keeps_one(table: Table) -> ColumnElement[bool]:
    return or_(table.c.provider_id_sealed.is_not(None), table.c.provider_message_id.is_not(None))
