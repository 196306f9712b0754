"""Messages, the attempts to deliver them, and everything that happened to them.

The message row is its own outbox: `status`, `due_at` and the lease say what a worker has to do. Columns that end in
`_sealed` hold personal data encrypted (`core/sealing.py`); `_masked` is what lists and logs show, `_hash` finds.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

from core.database import metadata


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8: with a sequence it makes a cursor that overlapping commits cannot outrun."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


messages = Table(
    "messages",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("direction", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("channel", Text, nullable=False),
    # [{"channel": "SMS", "outcome": "TRYING"}, …]; `step` is the one under way.
    Column("route", JSONB, nullable=False),
    Column("step", SmallInteger, nullable=False, server_default="0"),
    Column("to_sealed", LargeBinary, nullable=False),
    Column("to_masked", Text, nullable=False),
    Column("to_hash", LargeBinary, nullable=False),
    Column("from_sealed", LargeBinary),
    Column("from_masked", Text),
    Column("from_hash", LargeBinary),
    Column("content_sealed", LargeBinary, nullable=False),
    # The message of the same tenant that it answers.
    Column("in_reply_to", Uuid),
    # Who brought a message that came in, and the company's id for it; of those we send, the attempts know.
    Column("integration", Text),
    Column("provider_message_id", Text),
    Column("failure", JSONB(none_as_null=True)),
    # When a worker may take it; null when there is nothing to do.
    Column("due_at", DateTime(timezone=True)),
    Column("lease_until", DateTime(timezone=True)),
    Column("lease_owner", Text),
    # Grows with each claim: whoever begins a send must still hold the token it was given.
    Column("lease_token", BigInteger, nullable=False, server_default="0"),
    Column("attempt_count", SmallInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("sent_at", DateTime(timezone=True)),
    Column("delivered_at", DateTime(timezone=True)),
    Column("read_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_messages_due", "channel", "due_at", postgresql_where=text("status = 'QUEUED' AND lease_until IS NULL")),
    Index("ix_messages_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
    Index("ix_messages_status", "tenant_id", "status", "id"),
    Index("ix_messages_channel", "tenant_id", "channel", "id"),
    Index("ix_messages_to", "tenant_id", "to_hash", "id"),
    Index(
        "ix_messages_provider_message_id",
        "tenant_id",
        "provider_message_id",
        postgresql_where=text("provider_message_id IS NOT NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("step", SmallInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("integration", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    # The highest thing the company has reported about it: SENT 1, FAILED 2, DELIVERED 3, READ 4.
    Column("rank", SmallInteger, nullable=False, server_default="0"),
    Column("provider_message_id", Text),
    Column("failure", JSONB(none_as_null=True)),
    # Null until the bytes are about to leave: an attempt that never began may be made again.
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "message_id", "number"),
    ForeignKeyConstraint(
        ["tenant_id", "message_id"], ["messages.tenant_id", "messages.id"], name="fk_attempts_message"
    ),
    Index("ix_attempts_provider_message_id", "integration", "provider_message_id"),
)

message_events = Table(
    "message_events",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("sequence", BigInteger, Identity(always=True), nullable=False),
    Column("transaction_id", TransactionId, nullable=False, server_default=text("pg_current_xact_id()")),
    # The status it led to; equal to the one before when it was only noted.
    Column("status", Text, nullable=False),
    Column("previous_status", Text),
    Column("channel", Text),
    Column("attempt", SmallInteger),
    Column("detail", Text),
    Column("source", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("tenant_id", "message_id", "sequence"),
    ForeignKeyConstraint(["tenant_id", "message_id"], ["messages.tenant_id", "messages.id"], name="fk_events_message"),
    Index("ix_message_events_cursor", "tenant_id", "transaction_id", "sequence"),
)
