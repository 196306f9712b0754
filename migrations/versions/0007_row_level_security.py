"""Row-level security: whose rows a transaction may touch is also PostgreSQL's business."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Tables of one tenant's rows, and the column that says whose they are.
PROTECTED = {
    "tenants": "id",
    "senders": "tenant_id",
    "idempotency_keys": "tenant_id",
    "external_ids": "tenant_id",
    "messages": "tenant_id",
    "message_batches": "tenant_id",
    "attempts": "tenant_id",
    "message_events": "tenant_id",
    "inbox": "tenant_id",
    "dead_letters": "tenant_id",
    "templates": "tenant_id",
    "template_catalogues": "tenant_id",
    "memberships": "tenant_id",
}

# Whoever names tenants has theirs, the owner of the tables included; whoever names none has nothing. The worker and
# the owner have a second rule: the one sweeps across tenants, the other migrates, and neither names any while it does.
# In a sub-select the setting is read once for a statement; as it stands, once for each row.
PROTECT = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenants_named ON {table} TO PUBLIC
    USING ({column} = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON {table} TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
"""

# What the application asks across tenants, and all it is told. The bodies are bound to these tables when they are
# made, whatever the caller's search_path; the owner's second rule lets them see, unless the caller named tenants.
FUNCTIONS = """
CREATE FUNCTION owners_of_addresses(of_integration text, wanted text[])
RETURNS TABLE (address text, tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT senders.address, senders.tenant_id FROM public.senders
    WHERE senders.integration = of_integration AND senders.address = ANY (wanted);
END;

-- For each tenant and channel by itself, on the index that claims use; none is counted further than `most`.
CREATE FUNCTION messages_waiting(channels text[], most integer)
RETURNS TABLE (tenant_id uuid, channel text, number bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenants.id, wanted.channel, waiting.number
    FROM public.tenants CROSS JOIN unnest(channels) AS wanted(channel) CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT FROM public.messages
            WHERE messages.channel = wanted.channel AND messages.status = 'QUEUED'
              AND messages.tenant_id = tenants.id AND messages.due_at IS NOT NULL AND messages.lease_until IS NULL
            LIMIT most
        ) found
    ) waiting
    WHERE waiting.number > 0;
END;

-- Whoever comes in is looked up before it is known whose rows they may see. One row always: `user_id` is null where
-- they belong to no such tenant, or did not yet. Without an organisation it is the one business here.
CREATE FUNCTION how_they_stand(of_subject text, organization text)
RETURNS TABLE (tenant_id uuid, user_id uuid, is_gone boolean, left_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenants.id, memberships.user_id, users.deleted_at IS NOT NULL OR tenants.deleted_at IS NOT NULL,
        memberships.deleted_at
    FROM (SELECT) asked
    LEFT JOIN public.users ON users.subject = of_subject
    LEFT JOIN public.tenants ON tenants.clerk_organization_id = organization
        OR organization IS NULL AND tenants.id = '01900000-0000-7000-8000-000000000001'
    LEFT JOIN public.memberships ON memberships.tenant_id = tenants.id AND memberships.user_id = users.id;
END;

REVOKE ALL ON FUNCTION owners_of_addresses, messages_waiting, how_they_stand FROM PUBLIC;
GRANT EXECUTE ON FUNCTION owners_of_addresses, messages_waiting, how_they_stand TO interalpha_app;
"""

LAY_OPEN = """
DROP POLICY of_all_while_none_is_named ON {table};
DROP POLICY of_the_tenants_named ON {table};
ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;
ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    for table, column in PROTECTED.items():
        _run(PROTECT.format(table=table, column=column))
    _run(FUNCTIONS)


def downgrade() -> None:
    _run("DROP FUNCTION owners_of_addresses, messages_waiting, how_they_stand")
    for table in PROTECTED:
        _run(LAY_OPEN.format(table=table))
