"""The tables of messages, attempts and events, of batches and external ids, and of daily counts.

The message row is its own outbox: `status`, `due_at` and the lease say what a worker has to do. Columns that end in
`_sealed` hold personal data encrypted (`core/sealing.py`); `_masked` is what lists and logs show, `_hash` is for
look-ups, and `_lookup` too, by a hash whose key is never rotated, so that it can be unique.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
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

from core.claims import WorkTable
from core.database import metadata
from core.live.event_log import TransactionId
from core.messages.status import MessageStatus

messages = Table(
    "messages",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("direction", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("channel", Text, nullable=False),
    # The steps as `core/messages/status.py` writes them; `step` is the current one. A retry appends its steps, so that
    # a step keeps its number.
    Column("route", JSONB, nullable=False),
    Column("step", SmallInteger, nullable=False, server_default="0"),
    # Null once it was erased, like every column that says who the recipient was and what was said.
    Column("to_sealed", LargeBinary),
    Column("to_masked", Text, nullable=False),
    Column("to_hash", LargeBinary),
    Column("from_sealed", LargeBinary),
    Column("from_masked", Text),
    Column("from_hash", LargeBinary),
    Column("content_sealed", LargeBinary),
    # The message of the same tenant that it replies to.
    Column("in_reply_to", Uuid),
    # Of an inbound message: the integration, and the provider's id. Of an outbound one, its attempts hold them.
    Column("integration", Text),
    Column("provider_id_sealed", LargeBinary),
    Column("provider_id_lookup", LargeBinary),
    # In clear, for processes of the version before; always null once the contract was applied. See ADR 0034.
    Column("provider_message_id", Text),
    Column("failure", JSONB(none_as_null=True)),
    # When a worker has to look at it again, in any status; null when there is nothing to do.
    Column("due_at", DateTime(timezone=True)),
    # The scheduled time; kept after it has come.
    Column("send_at", DateTime(timezone=True)),
    # After this moment no attempt is begun.
    Column("expires_at", DateTime(timezone=True)),
    # The deadline of the current step for reaching its goal; null where it has none.
    Column("step_until", DateTime(timezone=True)),
    # Since when it has been unconfirmed.
    Column("unconfirmed_at", DateTime(timezone=True)),
    Column("lease_until", DateTime(timezone=True)),
    Column("lease_owner", Text),
    # The fencing token, which grows with each claim: a call begins only with the token of the claim.
    Column("lease_token", BigInteger, nullable=False, server_default="0"),
    Column("attempt_count", SmallInteger, nullable=False, server_default="0"),
    Column("external_id", Text),
    Column("batch_id", Uuid),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("sent_at", DateTime(timezone=True)),
    Column("delivered_at", DateTime(timezone=True)),
    Column("read_at", DateTime(timezone=True)),
    # The template it was made from; the values of its variables are in `content_sealed`.
    Column("template_id", Uuid),
    # Sent with a test key: only simulated providers may receive it, also in retries.
    Column("simulated_only", Boolean, nullable=False, server_default=text("false")),
    # Not sent in the recipient's quiet hours, also when it is delayed.
    Column("respects_quiet_hours", Boolean, nullable=False, server_default=text("false")),
    # The author, as `core/audit/act.py` writes it: the row is the audit event of its own sending.
    Column("made_by", JSONB(none_as_null=True)),
    # When its content was erased.
    Column("erased_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint(
        "erased_at IS NOT NULL OR (to_sealed IS NOT NULL AND to_hash IS NOT NULL AND content_sealed IS NOT NULL)",
        name="kept",
    ),
    # By tenant, so that a tenant with much due work does not hide the others'.
    Index(
        "ix_messages_due",
        "channel",
        "status",
        "tenant_id",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL AND lease_until IS NULL"),
    ),
    # Messages to look at again, on any channel: schedules, deadlines, unconfirmed ones.
    Index(
        "ix_messages_look",
        "status",
        "due_at",
        postgresql_where=text(
            "status IN ('SCHEDULED', 'UNCONFIRMED', 'SENT') AND due_at IS NOT NULL AND lease_until IS NULL"
        ),
    ),
    # Messages with a deadline before they are sent; most have none and are not in the index.
    Index(
        "ix_messages_deadline",
        text("LEAST(expires_at, step_until)"),
        postgresql_where=text(
            "status IN ('SCHEDULED', 'QUEUED') AND lease_until IS NULL"
            " AND (expires_at IS NOT NULL OR step_until IS NOT NULL)"
        ),
    ),
    Index("ix_messages_batch", "tenant_id", "batch_id", "id", postgresql_where=text("batch_id IS NOT NULL")),
    Index("ix_messages_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
    Index("ix_messages_status", "tenant_id", "status", "id"),
    Index("ix_messages_channel", "tenant_id", "channel", "id"),
    Index("ix_messages_to", "tenant_id", "to_hash", "id"),
    Index("ix_messages_from", "tenant_id", "from_hash", "id", postgresql_where=text("from_hash IS NOT NULL")),
    # Messages that are not erased yet, for the deletion of old data.
    Index(
        "ix_messages_kept",
        "created_at",
        postgresql_where=text("to_sealed IS NOT NULL OR content_sealed IS NOT NULL"),
    ),
    Index(
        "ix_messages_provider_message_id",
        "tenant_id",
        "provider_message_id",
        postgresql_where=text("provider_message_id IS NOT NULL"),
    ),
    Index(
        "ix_messages_provider_id_lookup",
        "tenant_id",
        "provider_id_lookup",
        postgresql_where=text("provider_id_lookup IS NOT NULL"),
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
    # The rank of the highest status that was reported: SENT 1, FAILED 2, DELIVERED 3, READ 4.
    Column("rank", SmallInteger, nullable=False, server_default="0"),
    Column("provider_id_sealed", LargeBinary),
    Column("provider_id_lookup", LargeBinary),
    # In clear, for processes of the version before; always null once the contract was applied. See ADR 0034.
    Column("provider_message_id", Text),
    # Whether the id comes from a look-alike record in the provider's list, and no report has confirmed it.
    Column("is_from_list", Boolean, nullable=False, server_default=text("false")),
    Column("failure", JSONB(none_as_null=True)),
    # The part of the provider's answer that may be stored unencrypted: codes and ids, never texts or addresses.
    Column("answer", Text),
    # Null until the call is about to be made: an attempt that never began may be repeated.
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    # When the provider was last asked about it.
    Column("checked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "message_id", "number"),
    ForeignKeyConstraint(
        ["tenant_id", "message_id"], ["messages.tenant_id", "messages.id"], name="fk_attempts_message"
    ),
    Index(
        "ix_attempts_provider_message_id",
        "integration",
        "provider_message_id",
        postgresql_where=text("provider_message_id IS NOT NULL"),
    ),
    # Unconfirmed attempts and calls under way, to compare with records of a provider's list.
    Index(
        "ix_attempts_unknown",
        "integration",
        "started_at",
        postgresql_where=text("outcome IN ('IN_FLIGHT', 'UNCONFIRMED')"),
    ),
    Index(
        "ix_attempts_provider_id_lookup",
        "integration",
        "provider_id_lookup",
        unique=True,
        # Mail servers reuse their ids, and nothing is looked up by them.
        postgresql_where=text("provider_id_lookup IS NOT NULL AND channel <> 'EMAIL'"),
    ),
    Index(
        "ix_attempts_silent", "integration", "started_at", postgresql_where=text("outcome = 'ACCEPTED' AND rank = 1")
    ),
    # It has no id of its own: its sealed columns are bound to the message and the number.
    info={"sealed_for": ("message_id", "number")},
)

MESSAGES = WorkTable(
    messages, attempts, of="message_id", waiting=MessageStatus.QUEUED.value, working=MessageStatus.SENDING.value
)
"""How messages are claimed."""

message_events = Table(
    "message_events",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("sequence", BigInteger, Identity(always=True), nullable=False),
    Column("transaction_id", TransactionId, nullable=False, server_default=text("pg_current_xact_id()")),
    # The status it led to; equal to the previous one when nothing changed.
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

external_ids = Table(
    "external_ids",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    # The caller's own reference; it stays taken for ever.
    Column("external_id", Text, nullable=False),
    Column("message_id", Uuid, nullable=False),
    PrimaryKeyConstraint("tenant_id", "external_id"),
)

message_batches = Table(
    "message_batches",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("name", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("tenant_id", "id"),
)


daily_counts = Table(
    "daily_counts",
    metadata,
    Column("integration", Text, nullable=False),
    # A day in UTC: our number of accepted messages, and the provider's number of sent ones (null if it gives none).
    Column("day", Date, nullable=False),
    Column("ours", Integer, nullable=False),
    Column("theirs", Integer),
    Column("checked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("integration", "day"),
)
