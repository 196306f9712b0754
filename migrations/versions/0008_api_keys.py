"""API keys: credentials of servers, and messages that remember that no real company may be given them."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE api_keys (
    tenant_id uuid NOT NULL CONSTRAINT fk_api_keys_tenant_id REFERENCES tenants (id),
    id uuid NOT NULL,
    public_id text NOT NULL CONSTRAINT uq_api_keys_public_id UNIQUE,
    secret_hash bytea NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    scopes text[] NOT NULL,
    recipients_sealed bytea,
    recipients_masked text[] NOT NULL DEFAULT '{}'::text[],
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT pk_api_keys PRIMARY KEY (tenant_id, id)
);

ALTER TABLE messages ADD COLUMN simulated_only boolean NOT NULL DEFAULT false;
"""

# As every table of tenants' rows: see 0007.
PROTECT = """
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenants_named ON api_keys TO PUBLIC
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON api_keys TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
"""

# A key is looked up before it is known whose it is. Only whoever can name it is told of it.
FUNCTION = """
CREATE FUNCTION keys_presented(wanted text[])
RETURNS TABLE (public_id text, tenant_id uuid, id uuid, secret_hash bytea, kind text, scopes text[],
    recipients_sealed bytea, expires_at timestamptz, is_expired boolean, is_revoked boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT api_keys.public_id, api_keys.tenant_id, api_keys.id, api_keys.secret_hash, api_keys.kind, api_keys.scopes,
        api_keys.recipients_sealed, api_keys.expires_at, coalesce(api_keys.expires_at <= now(), false),
        api_keys.revoked_at IS NOT NULL OR tenants.deleted_at IS NOT NULL
    FROM public.api_keys JOIN public.tenants ON tenants.id = api_keys.tenant_id
    WHERE api_keys.public_id = ANY (wanted);
END;
REVOKE ALL ON FUNCTION keys_presented FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keys_presented TO interalpha_app;
"""

# What a key may do is settled when it is made: nobody who speaks for the application can widen one.
ROLES = """
GRANT SELECT, INSERT, UPDATE (last_used_at, revoked_at) ON api_keys TO interalpha_app;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    for script in (TABLES, PROTECT, FUNCTION, ROLES):
        _run(script)


def downgrade() -> None:
    op.execute("DROP FUNCTION keys_presented")
    op.execute("DROP TABLE api_keys")
    op.execute("ALTER TABLE messages DROP COLUMN simulated_only")
