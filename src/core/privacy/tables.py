"""Requests to erase everything about one person; who it was is itself forgotten when it is done."""

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Uuid,
    func,
    text,
)

from core.database import metadata

_OPEN = text("finished_at IS NULL")

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    # Null when it is done.
    Column("recipient_sealed", LargeBinary),
    Column("recipient_hash", LargeBinary),
    # The last webhook that was looked into: whoever goes on begins behind it.
    Column("inbox_after", Uuid),
    Column("messages", Integer, nullable=False, server_default="0"),
    Column("canceled", Integer, nullable=False, server_default="0"),
    Column("webhooks", Integer, nullable=False, server_default="0"),
    # External ids, idempotency keys and names of batches that spelled the address.
    Column("names", Integer, nullable=False, server_default="0"),
    Column("due_at", DateTime(timezone=True), server_default=func.now()),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("uq_erasures_open", "tenant_id", "recipient_hash", unique=True, postgresql_where=_OPEN),
    Index("ix_erasures_due", "due_at", postgresql_where=_OPEN),
)
