"""The tables of parcels and their events."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from core.database import metadata
from core.live.event_log import TransactionId

parcels = Table(
    "parcels",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("message_id", Uuid),
    Column("status", Text, nullable=False, server_default="WAITING"),
    Column("recipient_sealed", LargeBinary),
    Column("recipient_hash", LargeBinary),
    PrimaryKeyConstraint("tenant_id", "id"),
)

parcel_events = Table(
    "parcel_events",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("parcel_id", Uuid, nullable=False),
    Column("sequence", BigInteger, Identity(always=True), nullable=False),
    Column("transaction_id", TransactionId, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("status", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("tenant_id", "parcel_id", "sequence"),
    Index("ix_parcel_events_cursor", "tenant_id", "transaction_id", "sequence"),
)
