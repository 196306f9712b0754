"""Clerk: people, the organisations they belong to, and whose data each organisation's sessions are about."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE tenants
    ADD COLUMN clerk_organization_id text CONSTRAINT uq_tenants_clerk_organization_id UNIQUE,
    ADD COLUMN clerk_updated_at timestamptz,
    ADD COLUMN deleted_at timestamptz;

CREATE TABLE users (
    id uuid CONSTRAINT pk_users PRIMARY KEY,
    subject text NOT NULL CONSTRAINT uq_users_subject UNIQUE,
    profile_sealed bytea,
    clerk_updated_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE memberships (
    tenant_id uuid NOT NULL CONSTRAINT fk_memberships_tenant_id REFERENCES tenants (id),
    user_id uuid NOT NULL CONSTRAINT fk_memberships_user_id REFERENCES users (id),
    role text,
    clerk_updated_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_memberships PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX ix_memberships_user_id ON memberships (user_id);
"""

# Neither role may write tenants. Both may have one kept for an organisation of Clerk's, and that is all this does: it
# reaches no tenant without an organisation, and no column but these.
FUNCTION = """
CREATE FUNCTION keep_organization(new_id uuid, organization text, new_name text, at timestamptz, gone_at timestamptz)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO public.tenants AS kept
        (id, slug, name, time_zone, default_currency, clerk_organization_id, clerk_updated_at, deleted_at)
    -- No slug that two transactions could both want: only a conflict of organisations is foreseen below.
    SELECT new_id, new_id::text, coalesce(new_name, organization), house.time_zone, house.default_currency,
           organization, at, gone_at
    FROM public.tenants AS house WHERE house.id = '01900000-0000-7000-8000-000000000001' AND organization IS NOT NULL
    ON CONFLICT (clerk_organization_id) DO UPDATE SET
        name = CASE WHEN coalesce(kept.clerk_updated_at, '-infinity') < at AND new_name IS NOT NULL
                    THEN new_name ELSE kept.name END,
        clerk_updated_at = greatest(kept.clerk_updated_at, at),
        deleted_at = least(kept.deleted_at, gone_at)
    RETURNING kept.id;
END;
REVOKE ALL ON FUNCTION keep_organization FROM PUBLIC;
"""

ROLES = """
GRANT EXECUTE ON FUNCTION keep_organization TO interalpha_app, interalpha_worker;
GRANT SELECT, INSERT (id, subject) ON users TO interalpha_app;
GRANT SELECT, INSERT (tenant_id, user_id, role) ON memberships TO interalpha_app;
GRANT SELECT, INSERT, UPDATE ON users, memberships TO interalpha_worker;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(TABLES)
    _run(FUNCTION)
    _run(ROLES)


def downgrade() -> None:
    op.execute("DROP FUNCTION keep_organization")
    op.execute("DROP TABLE memberships, users")
    op.execute(
        "ALTER TABLE tenants DROP COLUMN clerk_organization_id, DROP COLUMN clerk_updated_at, DROP COLUMN deleted_at"
    )
