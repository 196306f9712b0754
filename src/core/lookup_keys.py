"""The secret of the hashes by which providers' ids are found: made once, kept sealed, and never replaced.

So an id has one hash for good, whatever the current encryption key is, and a unique index can keep two messages from
holding the same id. Rotation seals the secret anew like any other value; the hashes stay. See ADR 0034.
"""

import os
from base64 import b64decode, b64encode
from uuid import UUID

from sqlalchemy import Column, DateTime, LargeBinary, Table, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from core.database import Database, metadata
from core.sealing import NO_TENANT, Sealer

lookup_keys = Table(
    "lookup_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


_ROW = UUID(int=1)
"""There is one secret, in one row."""
_COLUMN = "secret"
_BYTES = 32


async def prepare_lookups(database: Database, sealer: Sealer) -> None:
    """Give a sealer this database's secret for hashing ids; the first worker makes it. Later calls cost nothing.

    Raises KeyMissing where the secret is sealed with a key that is not among ENCRYPTION_KEYS.
    """
    if sealer.can_hash_ids:
        return
    kept = select(lookup_keys.c.secret_sealed).where(lookup_keys.c.id == _ROW)
    async with database.transaction() as connection:
        found = (await connection.execute(kept)).scalar()
        if found is None:
            new = b64encode(os.urandom(_BYTES)).decode()
            sealed = sealer.seal(new, tenant=NO_TENANT, row=_ROW, column=_COLUMN)
            await connection.execute(insert(lookup_keys).values(id=_ROW, secret_sealed=sealed).on_conflict_do_nothing())
            # Another worker may have been faster.
            found = (await connection.execute(kept)).scalar_one()
    sealer.hash_ids_with(b64decode(sealer.open(found, tenant=NO_TENANT, row=_ROW, column=_COLUMN)))


async def replace_lookups(database: Database, sealer: Sealer) -> None:
    """Replace a secret whose key is lost: ids hashed before are not found by the new one."""
    new = b64encode(os.urandom(_BYTES)).decode()
    sealed = sealer.seal(new, tenant=NO_TENANT, row=_ROW, column=_COLUMN)
    row = insert(lookup_keys).values(id=_ROW, secret_sealed=sealed)
    async with database.transaction() as connection:
        await connection.execute(
            row.on_conflict_do_update(index_elements=["id"], set_={"secret_sealed": row.excluded.secret_sealed})
        )
