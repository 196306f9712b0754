"""The table of the inbox: one row per event that a provider reported, however often it was sent."""

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from core.database import metadata


class WebhookStatus(StrEnum):
    """RECEIVED until the worker has processed it; IGNORED when nothing here uses it; FAILED when all tries failed."""

    RECEIVED = "RECEIVED"
    PROCESSED = "PROCESSED"
    IGNORED = "IGNORED"
    FAILED = "FAILED"


inbox = Table(
    "inbox",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("integration", Text, nullable=False),
    # The same for an event that is sent twice; a hash of the raw bytes where the provider gives no id.
    Column("dedupe_key", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    # RECEIVED until the worker has processed it, then PROCESSED, IGNORED (nothing here uses it) or FAILED.
    Column("status", Text, nullable=False, server_default="RECEIVED"),
    # The object it is about: from the beginning where the webhook names it, else once it was applied. The column keeps
    # its name of the time when every object was a message, so that processes of that version go on working.
    Column("subject_kind", Text, server_default="Message"),
    Column("message_id", Uuid, key="subject_id"),
    # Both null once they are no longer kept.
    Column("event_sealed", LargeBinary),
    Column("raw_sealed", LargeBinary),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("error", Text),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("processed_at", DateTime(timezone=True)),
    # When an operator last requested that it is processed again.
    Column("replayed_at", DateTime(timezone=True)),
    Column("erased_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint(
        "erased_at IS NOT NULL OR (event_sealed IS NOT NULL AND raw_sealed IS NOT NULL)",
        name="kept",
    ),
    UniqueConstraint("tenant_id", "integration", "dedupe_key"),
    Index("ix_inbox_due", "due_at", postgresql_where=text("status = 'RECEIVED'")),
    Index("ix_inbox_message", "tenant_id", "subject_id"),
    Index("ix_inbox_kept", "received_at", postgresql_where=text("event_sealed IS NOT NULL OR raw_sealed IS NOT NULL")),
    Index("ix_inbox_failed", "tenant_id", "id", postgresql_where=text("status = 'FAILED'")),
)
