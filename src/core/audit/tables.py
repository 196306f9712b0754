"""The audit log: append-only, and without a word of anybody's personal data."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, PrimaryKeyConstraint, Table, Text, Uuid, func, text

from core.database import metadata

audit_events = Table(
    "audit_events",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The subject of the credentials, and who acted in its name, if anyone did.
    Column("actor", Text, nullable=False),
    Column("on_behalf", Text),
    Column("kind", Text, nullable=False),
    # The mutation's name, or a command's.
    Column("action", Text, nullable=False),
    # An object by its type and key: a UUID, or the name of what has none.
    Column("target_type", Text),
    Column("target_id", Text),
    Column("request_id", Text),
    # DONE, or REFUSED with the code of the error.
    Column("outcome", Text, nullable=False),
    Column("code", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_audit_events_target", "tenant_id", "target_id", "id", postgresql_where=text("target_id IS NOT NULL")),
)
