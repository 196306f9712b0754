"""Reports that lie unread in the inbox: whoever is about to act for want of a report looks here first."""

from collections.abc import Collection

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.record import Key

NOTHING_UNREAD = """(attempt_count = 0 OR NOT EXISTS (
    SELECT FROM inbox
    WHERE inbox.tenant_id = messages.tenant_id AND inbox.message_id = messages.id AND inbox.status = 'RECEIVED'
))"""
"""Whether a row of `messages` has no report waiting to be read; what was never tried has none."""

_UNREAD = text(f"""
SELECT tenant_id, id FROM messages
WHERE (tenant_id, id) IN (SELECT * FROM unnest(:tenants, :ids)) AND NOT {NOTHING_UNREAD}
""").bindparams(  # noqa: S608  # a constant is all that is filled in
    bindparam("tenants", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid))
)


async def unread_about(connection: AsyncConnection, keys: Collection[Key]) -> set[Key]:
    """Those of these messages that a report lies unread about."""
    wanted = {"tenants": [key.tenant_id for key in keys], "ids": [key.message_id for key in keys]}
    return {Key(row.tenant_id, row.id) for row in await connection.execute(_UNREAD, wanted)}
