"""The tables of tenants, their sender addresses, people, memberships, ended sessions and API keys."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

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
    # The organisation of the sessions that are about this tenant; of a person's own tenant, the person.
    Column("clerk_organization_id", Text, unique=True),
    # The moment, by Clerk's clock, of the newest state that was reported; null where none was.
    Column("clerk_updated_at", DateTime(timezone=True)),
    # A deletion is final: events that arrive later do not undo it.
    Column("deleted_at", DateTime(timezone=True)),
)

senders = Table(
    "senders",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), primary_key=True),
    Column("integration", Text, primary_key=True),
    # A number in E.164 form, a messaging service or a mailbox: our address as the provider names it.
    Column("address", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # One address belongs to one tenant: it decides the tenant of an inbound message.
    UniqueConstraint("integration", "address"),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The subject of their tokens: Clerk's user id, or the name in a development token.
    Column("subject", Text, nullable=False, unique=True),
    # Name, e-mail address and picture, as JSON; null until they are reported, and once the person is deleted.
    Column("profile_sealed", LargeBinary),
    Column("is_banned", Boolean, nullable=False, server_default=text("false")),
    Column("clerk_updated_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# Sessions that ended before their tokens do. Rows older than any token that may still be valid are deleted.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("ended_at", DateTime(timezone=True), nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("role", Text),
    # Also the moment of its end: unlike a person, a membership may begin again.
    Column("clerk_updated_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("tenant_id", "user_id"),
    Index("ix_memberships_user_id", "user_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    # The part of the key that is not secret: the key is found by it, before its tenant is known.
    Column("public_id", Text, nullable=False, unique=True),
    # SHA-256 of the whole key, which is not stored.
    Column("secret_hash", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    # The only addresses its messages may go to, as JSON; null where there is no allow list.
    Column("recipients_sealed", LargeBinary),
    Column("recipients_masked", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    # Exact to about a minute.
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
)
