"""Idempotency: the same key with the same input is the same request, for seven days."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    delete,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.characters import check_line
from core.database import Database, metadata
from core.errors import IdempotencyConflict, InputRule, InvalidInput
from core.sealing import Sealer
from core.words import say

KEPT = timedelta(days=7)
MAX_KEY_LENGTH = 255

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    # The resource that the first request made.
    Column("resource_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("tenant_id", "key"),
    # Expired keys are found by it.
    Index("ix_idempotency_keys_expires_at", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request under a key: two are the same when they share a fingerprint (of those of each key, current first)."""

    key: str
    operation: str
    fingerprints: Sequence[bytes]

    @classmethod
    def of(
        cls, key: str, operation: str, canonical_input: Any, *, sealer: Sealer, tenant: UUID, path: list[str]
    ) -> "IdempotentRequest":
        """Take a request's canonical input (JSON-serialisable); raises InvalidInput for a key that cannot be one."""
        check_line(key, path)
        if not key.strip():
            raise InvalidInput(
                say(
                    "IDEMPOTENCY_KEY_EMPTY", "The idempotency key is empty. Leave it out, or give 1 to 255 characters."
                ),
                path=path,
                rule=InputRule.TOO_SHORT,
            )
        if len(key) > MAX_KEY_LENGTH:
            raise InvalidInput(
                say(
                    "IDEMPOTENCY_KEY_TOO_LONG",
                    "The idempotency key has {count} characters; the limit is {most}.",
                    count=len(key),
                    most=MAX_KEY_LENGTH,
                ),
                path=path,
                rule=InputRule.TOO_LONG,
            )
        canonical = json.dumps([operation, canonical_input], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        # Keyed, since the input holds addresses, and an unkeyed hash of a telephone number is easily guessed.
        return cls(key, operation, sealer.fingerprints(canonical, tenant=tenant))


async def claim_key(
    connection: AsyncConnection, tenant_id: UUID, request: IdempotentRequest, resource_id: UUID
) -> UUID | None:
    """Take the key for `resource_id` in the caller's transaction; None when it is ours now.

    When an earlier request holds it, its resource's id comes back; with other input, IdempotencyConflict. While a
    first request with the key is still under way, this waits for it and then sees what it made.
    """
    row = {
        "tenant_id": tenant_id,
        "key": request.key,
        "operation": request.operation,
        "request_hash": request.fingerprints[0],
        "resource_id": resource_id,
        "created_at": func.now(),
        "expires_at": func.now() + KEPT,
    }
    statement = insert(idempotency_keys).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["tenant_id", "key"],
        set_={name: statement.excluded[name] for name in row if name not in ("tenant_id", "key")},
        where=idempotency_keys.c.expires_at <= func.now(),
    )
    taken = await connection.execute(statement.returning(idempotency_keys.c.resource_id))
    if taken.first() is not None:
        return None
    earlier = (
        await connection.execute(
            select(idempotency_keys).where(
                idempotency_keys.c.tenant_id == tenant_id, idempotency_keys.c.key == request.key
            )
        )
    ).one()
    if earlier.request_hash not in request.fingerprints:
        raise conflict_error(request.key, earlier.created_at)
    found: UUID = earlier.resource_id
    return found


async def delete_expired_keys(database: Database, *, limit: int = 1_000) -> int:
    """Delete up to `limit` expired keys; returns how many there were."""
    keys, now = idempotency_keys.c, func.now()
    expired = select(keys.tenant_id, keys.key).where(keys.expires_at <= now).order_by(keys.expires_at).limit(limit)
    async with database.transaction() as connection:
        deleted = await connection.execute(
            # Repeated outside the subquery: a key that is claimed again meanwhile is checked again, and stays.
            delete(idempotency_keys).where(tuple_(keys.tenant_id, keys.key).in_(expired), keys.expires_at <= now)
        )
    return deleted.rowcount


def conflict_error(
    key: str, first_used_at: datetime, path: Sequence[str] = ("input", "idempotencyKey")
) -> IdempotencyConflict:
    """The error for a key that was used before with other input."""
    shown = key if len(key) <= 40 else key[:37] + "…"
    return IdempotencyConflict(
        say(
            "IDEMPOTENCY_CONFLICT",
            "The idempotency key {key} was used before with other input. Use a new key for a new request.",
            key=repr(shown),
        ),
        first_used_at=first_used_at,
        path=path,
    )
