"""The tables of templates, our own and copies of providers', and of the catalogues to sync."""

from sqlalchemy import Column, DateTime, ForeignKey, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, func, text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.postgresql import JSONB

from core.database import metadata

templates = Table(
    "templates",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    # Never deleted, since messages refer to it.
    Column("id", Uuid, nullable=False),
    Column("channel", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("category", Text, nullable=False),
    # NOT_NEEDED, PENDING, APPROVED or REJECTED: the values that earlier versions know.
    Column("approval", Text, nullable=False),
    # PAUSED or DISABLED, where `approval` says less: see `shown_approval` in queries.py.
    Column("approval_detail", Text),
    Column("subject", Text),
    Column("header", Text),
    Column("body", Text, nullable=False),
    Column("html", Text),
    # [{"index": 0, "kind": "URL", "text": "https://…/{{1}}"}, …]: the buttons with a placeholder.
    Column("buttons", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # Example values, by variable.
    Column("examples", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # The provider's integration, and the provider's id; null for our own.
    Column("integration", Text),
    Column("provider_id", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When the provider stopped listing it.
    Column("gone_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Unique("tenant_id", "channel", "name", "locale"),
)

template_catalogues = Table(
    "template_catalogues",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("integration", Text, nullable=False),
    # When a worker may read it next; the worker that moves it on reads it.
    Column("due_at", DateTime(timezone=True), nullable=False),
    # Failures in a row.
    Column("failures", SmallInteger, nullable=False, server_default="0"),
    Column("read_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "integration"),
)
