"""Sessions are looked at again: bans, ended sessions and roles beside deletions, many sessions in one statement."""

from alembic import op

revision = "0034"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE users ADD COLUMN is_banned boolean NOT NULL DEFAULT false;

CREATE TABLE ended_sessions (
    session_id text CONSTRAINT pk_ended_sessions PRIMARY KEY,
    ended_at timestamptz NOT NULL
);
"""

# A session belongs to a person and to no tenant, as people do: see 0010. The application is told of those it can name.
PROTECT = """
ALTER TABLE ended_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE ended_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY of_everybody ON ended_sessions TO interalpha_worker, CURRENT_USER USING (true);
GRANT SELECT, INSERT, DELETE ON ended_sessions TO interalpha_worker;
"""

# One row for each session asked about, in any order; `place` counts from 1. Without an organisation it is the one
# business here. `is_known` is false where a row has to be made first.
FUNCTION = """
CREATE FUNCTION sessions_presented(subjects text[], organizations text[], sessions text[])
RETURNS TABLE (place bigint, organization text, tenant_id uuid, is_known boolean, is_gone boolean,
    left_at timestamptz, role text, role_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT asked.place, asked.organization, tenants.id,
        memberships.user_id IS NOT NULL OR standing.is_gone OR asked.organization IS NULL AND tenants.id IS NULL,
        standing.is_gone, memberships.deleted_at, memberships.role, memberships.clerk_updated_at
    FROM unnest(subjects, organizations, sessions)
        WITH ORDINALITY AS asked(subject, organization, session_id, place)
    LEFT JOIN public.users ON users.subject = asked.subject
    LEFT JOIN public.tenants ON tenants.clerk_organization_id = asked.organization
        OR asked.organization IS NULL AND tenants.id = '01900000-0000-7000-8000-000000000001'
    LEFT JOIN public.memberships ON memberships.tenant_id = tenants.id AND memberships.user_id = users.id
    LEFT JOIN public.ended_sessions ON ended_sessions.session_id = asked.session_id
    CROSS JOIN LATERAL (
        SELECT users.deleted_at IS NOT NULL OR coalesce(users.is_banned, false) OR tenants.deleted_at IS NOT NULL
            OR ended_sessions.session_id IS NOT NULL AS is_gone
    ) standing;
END;
REVOKE ALL ON FUNCTION sessions_presented FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sessions_presented TO interalpha_app;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    for script in (TABLES, PROTECT, FUNCTION):
        _run(script)


def downgrade() -> None:
    op.execute("DROP FUNCTION sessions_presented")
    op.execute("DROP TABLE ended_sessions")
    op.execute("ALTER TABLE users DROP COLUMN is_banned")
