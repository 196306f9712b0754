"""Making, reading and revoking API keys; what a key says is shown once, when it is made, and kept nowhere."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.key_finder import COLUMN
from core.access.key_format import KeyKind, mint, prefix_of
from core.access.new_key import NewKey, check_new_key, outlives, outliving
from core.access.principal import Principal, Scope
from core.access.tables import api_keys
from core.identifiers import uuid7
from core.sealing import Sealer
from core.slicing import Slice, read_slice


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown: everything but what lets somebody in. `public_id` is the part it is found by.

    `is_orphaned` says that it lets somebody in though its maker is gone, where that was looked up.
    """

    id: UUID
    public_id: str
    name: str
    kind: KeyKind
    scopes: Sequence[Scope]
    recipients_masked: Sequence[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    is_orphaned: bool = False

    @property
    def prefix(self) -> str:
        """How it begins: enough to recognise it."""
        return prefix_of(self.kind, self.public_id)


async def create(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, key: NewKey, *, maker: Principal | None, created_by: str
) -> tuple[ApiKey, str]:
    """Make a key and give its text, this once; raises Refused."""
    check_new_key(key, maker)
    row, (secret, parts) = uuid7(), mint(key.kind)
    made = insert(api_keys).values(
        tenant_id=tenant,
        id=row,
        public_id=parts.name,
        secret_hash=parts.hash,
        name=key.name,
        kind=key.kind.value,
        scopes=[scope.value for scope in Scope if scope in key.scopes],
        recipients_sealed=_sealed(sealer, tenant, row, key),
        recipients_masked=[one.masked for one in key.recipients],
        created_by=created_by,
        expires_at=None if key.expires_in is None else func.now() + key.expires_in,
    )
    stored = _key((await connection.execute(made.returning(api_keys))).one())
    if outlives(stored.expires_at, maker):
        # The database's clock decides; the caller's transaction takes the row back.
        raise outliving()
    return stored, secret


async def revoke(connection: AsyncConnection, tenant: UUID, key: UUID) -> ApiKey | None:
    """Let a key let nobody in any more; None where the tenant has none of that id. Revoked again, it stays as it is."""
    revoked = (
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant, api_keys.c.id == key)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
        .returning(api_keys)
    )
    row = (await connection.execute(revoked)).one_or_none()
    return None if row is None else _key(row)


async def by_ids(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, ApiKey]:
    """Read a tenant's keys by id; those it does not have are left out."""
    chosen = select(api_keys).where(api_keys.c.tenant_id == tenant, api_keys.c.id.in_(list(ids)))
    return {row.id: _key(row) for row in await connection.execute(chosen)}


async def id_of(connection: AsyncConnection, tenant: UUID, public_id: str) -> UUID | None:
    """The id of a tenant's key by the part it is found by; None where it has no such key."""
    chosen = select(api_keys.c.id).where(api_keys.c.tenant_id == tenant, api_keys.c.public_id == public_id)
    found: UUID | None = (await connection.execute(chosen)).scalar_one_or_none()
    return found


async def page(connection: AsyncConnection, tenant: UUID, which: Slice) -> tuple[Sequence[ApiKey], bool]:
    """Read one page of a tenant's keys, newest first, and whether there are more."""
    statement = select(api_keys).where(api_keys.c.tenant_id == tenant)
    rows, has_more = await read_slice(connection, statement, api_keys.c.id, which)
    return [_key(row) for row in rows], has_more


def _sealed(sealer: Sealer, tenant: UUID, row: UUID, key: NewKey) -> bytes | None:
    recipients = key.reach.recipients
    if recipients is None:
        return None
    return sealer.seal(json.dumps(sorted(recipients)), tenant=tenant, row=row, column=COLUMN)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        public_id=row.public_id,
        name=row.name,
        kind=KeyKind(row.kind),
        scopes=[scope for scope in Scope if scope in row.scopes],
        recipients_masked=row.recipients_masked,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
