"""Tenants, and the addresses that are theirs."""

from sqlalchemy import Column, DateTime, ForeignKey, Table, Text, UniqueConstraint, Uuid, func

from core.database import metadata

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("default_currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

senders = Table(
    "senders",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), primary_key=True),
    Column("integration", Text, primary_key=True),
    # A number in E.164 form, a messaging service, a mailbox: whatever the company calls our end.
    Column("address", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # One address belongs to one tenant: this is what decides whose an inbound message is.
    UniqueConstraint("integration", "address"),
)
