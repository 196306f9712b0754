"""Names that callers gave to things, and that spell a person's address: external ids, batches, API keys and so on.

They are meant to hold none; some callers use a number all the same.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, delete, func, literal, literal_column, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.tables import api_keys
from core.idempotency import idempotency_keys
from core.messages.tables import external_ids, message_batches, messages
from core.privacy.person import Person

_PUNCTUATION = "%[0-9a-f]{2}|[ ().+-]"
# Arabic, Persian and Hindi digits.
_OTHER_DIGITS = ("".join(chr(first + n) for first in (0x660, 0x6F0, 0x966) for n in range(10)), "0123456789" * 3)


async def forget_names(connection: AsyncConnection, tenant: UUID, person: Person) -> int:
    """Take a person's address out of names; returns how many there were.

    An external id becomes its message's own id, so that the two tables go on agreeing. An idempotency key is dropped:
    what was asked for under it is stopped or done.
    """
    rows = await connection.execute(
        update(external_ids)
        .where(external_ids.c.tenant_id == tenant, _spells(external_ids.c.external_id, person))
        .values(external_id=_erased(external_ids.c.message_id))
        .returning(external_ids.c.message_id)
    )
    ids = list(rows.scalars())
    if ids:
        await connection.execute(
            update(messages)
            .where(messages.c.tenant_id == tenant, messages.c.id.in_(ids))
            .values(external_id=_erased(messages.c.id))
        )
    dropped = await connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.tenant_id == tenant, _spells(idempotency_keys.c.key, person))
    )
    unnamed = await connection.execute(
        update(message_batches)
        .where(message_batches.c.tenant_id == tenant, _spells(message_batches.c.name, person))
        .values(name=None)
    )
    masked = await connection.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant, _spells(api_keys.c.name, person))
        .values(name=_erased(api_keys.c.id))
    )
    return len(ids) + dropped.rowcount + unnamed.rowcount + masked.rowcount


def _spells(name: Any, person: Person) -> ColumnElement[bool]:
    # Full-width signs and the digits of other scripts are read as ASCII's, and a form's %40 as what it stands for.
    plain = func.translate(func.lower(func.normalize(name, literal_column("NFKC"))), *_OTHER_DIGITS)
    plain = func.replace(plain, "%40", "@")
    spells = plain.op("~")(person.pattern)
    if not person.address.startswith("+"):
        return spells
    # As people write numbers, too: (11) 98765-4321.
    return or_(spells, func.regexp_replace(plain, _PUNCTUATION, "", "g").op("~")(person.pattern))


def _erased(id: Any) -> ColumnElement[str]:
    return literal("erased-", Text) + cast(id, Text)
