"""How the system is doing: workers and pulses, and the work that was given up."""

from sqlalchemy import (
    ARRAY,
    Column,
    DateTime,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from core.database import metadata

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The newest migration its code knows; null where it is of a version that did not say so yet.
    Column("revision", Text),
    # The ids of encryption keys that something waits for, and that this worker lacks.
    Column("missing_keys", ARRAY(Text), nullable=False, server_default=text("'{}'")),
)

servers = Table(
    "servers",
    metadata,
    # API processes. They have a table of their own, since every row of the other counts as a worker.
    Column("name", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

contracts = Table(
    "contracts",
    metadata,
    # Alembic's own: which contract was applied last.
    Column("version_num", String(32), primary_key=True),
)

pulses = Table(
    "pulses",
    metadata,
    # A kind of work that must not stand still: taking webhooks in, applying them, sweeping.
    Column("name", Text, primary_key=True),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When it last went on after standing still.
    Column("resumed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

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
    # REQUEUED or DISCARDED, once somebody has decided; SETTLED when it went well after all.
    Column("resolution", Text),
    Column("resolved_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_dead_letters_open", "tenant_id", "id", postgresql_where=text("resolution IS NULL")),
    Index("ix_dead_letters_message", "tenant_id", "message_id", postgresql_where=text("resolution IS NULL")),
)
