"""Tenants, the addresses that are theirs, the people who sign in and where they belong, and the keys of servers."""

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
    # The organisation whose sessions are about this tenant; of a tenant of one person's own, the person.
    Column("clerk_organization_id", Text, unique=True),
    # The moment, by Clerk's clock, of the newest state that was told of; null while nobody has told anything.
    Column("clerk_updated_at", DateTime(timezone=True)),
    # A deletion is final: whatever is told later, and whatever was on its way, changes nothing of it.
    Column("deleted_at", DateTime(timezone=True)),
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

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    # What tokens call them: Clerk's user id, or the name in a development token.
    Column("subject", Text, nullable=False, unique=True),
    # Name, e-mail address and picture, as JSON; null until they are told, and once the person is gone.
    Column("profile_sealed", LargeBinary),
    Column("is_banned", Boolean, nullable=False, server_default=text("false")),
    Column("clerk_updated_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# Sessions that ended before their tokens do. Rows older than any token that may still be believed are deleted.
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
    # Also the moment of its end, where it has one: unlike a person, it may begin anew.
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
    # The part of the key that is no secret: it is found by this, before anybody knows whose it is.
    Column("public_id", Text, nullable=False, unique=True),
    # SHA-256 of the whole key, which itself is kept nowhere.
    Column("secret_hash", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    # The only addresses its messages may go to, as JSON; null where there is no such list.
    Column("recipients_sealed", LargeBinary),
    Column("recipients_masked", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    # To the minute or so.
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
)
