"""API keys whose maker is gone: found, and revoked by the worker."""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

# A key that a key made counts as made by whoever made the first of them; that a key in between was revoked means
# nothing, since keys are replaced so. It runs in the caller's name: row-level security limits it to the tenants that
# the transaction names. The worker may revoke such keys and no others, and cannot let one in again.
FUNCTIONS = """
CREATE FUNCTION orphaned_keys() RETURNS TABLE (tenant_id uuid, id uuid)
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH RECURSIVE made(tenant_id, id, maker, steps) AS (
        SELECT api_keys.tenant_id, api_keys.id, api_keys.created_by, 0
        FROM public.api_keys WHERE api_keys.revoked_at IS NULL
        UNION ALL
        SELECT made.tenant_id, made.id, maker.created_by, made.steps + 1
        FROM made JOIN public.api_keys AS maker
            ON maker.tenant_id = made.tenant_id AND maker.public_id = substr(made.maker, 5)
        WHERE made.maker LIKE 'key:%' AND made.steps < 100
    )
    SELECT DISTINCT made.tenant_id, made.id
    FROM made
    JOIN public.users ON users.subject = made.maker
    LEFT JOIN public.memberships ON memberships.tenant_id = made.tenant_id AND memberships.user_id = users.id
    WHERE users.deleted_at IS NOT NULL OR users.is_banned OR memberships.deleted_at IS NOT NULL;
END;

CREATE FUNCTION revoke_orphaned_keys() RETURNS TABLE (tenant_id uuid, id uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE public.api_keys SET revoked_at = now() FROM public.orphaned_keys() AS orphaned
    WHERE api_keys.tenant_id = orphaned.tenant_id AND api_keys.id = orphaned.id AND api_keys.revoked_at IS NULL
    RETURNING api_keys.tenant_id, api_keys.id;
END;

REVOKE ALL ON FUNCTION orphaned_keys, revoke_orphaned_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orphaned_keys TO interalpha_app;
GRANT EXECUTE ON FUNCTION revoke_orphaned_keys TO interalpha_worker;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(FUNCTIONS)


def downgrade() -> None:
    op.execute("DROP FUNCTION revoke_orphaned_keys, orphaned_keys")
