"""Dead letters: work that failed for good, kept until somebody decides about it."""

from sqlalchemy import (
    Column,
    DateTime,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from core.database import metadata

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    # The kind of work: message.send, webhook.apply.
    Column("kind", Text, nullable=False),
    Column("integration", Text),
    Column("message_id", Uuid),
    Column("inbox_id", Uuid),
    Column("error", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("failed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # REQUEUED or DISCARDED by an operator; SETTLED when the work succeeded after all.
    Column("resolution", Text),
    Column("resolved_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_dead_letters_open", "tenant_id", "id", postgresql_where=text("resolution IS NULL")),
    Index("ix_dead_letters_message", "tenant_id", "message_id", postgresql_where=text("resolution IS NULL")),
)
