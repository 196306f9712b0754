"""Personal data: who did what, what is no longer kept, and requests to erase a person."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
-- What is no longer kept is null; the row stays, and with it what happened and when.
ALTER TABLE messages
    ALTER COLUMN to_sealed DROP NOT NULL,
    ALTER COLUMN to_hash DROP NOT NULL,
    ALTER COLUMN content_sealed DROP NOT NULL,
    ADD COLUMN made_by jsonb,
    ADD COLUMN erased_at timestamptz,
    ADD CONSTRAINT ck_messages_kept CHECK (erased_at IS NOT NULL
        OR (to_sealed IS NOT NULL AND to_hash IS NOT NULL AND content_sealed IS NOT NULL)) NOT VALID;
ALTER TABLE inbox
    ALTER COLUMN event_sealed DROP NOT NULL,
    ALTER COLUMN raw_sealed DROP NOT NULL,
    ADD COLUMN erased_at timestamptz,
    ADD CONSTRAINT ck_inbox_kept CHECK (erased_at IS NOT NULL
        OR (event_sealed IS NOT NULL AND raw_sealed IS NOT NULL)) NOT VALID;
-- Where this was gone back from, an empty value stands for what was erased before.
UPDATE messages SET to_sealed = nullif(to_sealed, ''), to_hash = nullif(to_hash, ''),
    content_sealed = nullif(content_sealed, ''), erased_at = updated_at
    WHERE to_sealed = '' OR to_hash = '' OR content_sealed = '';
UPDATE inbox SET event_sealed = nullif(event_sealed, ''), raw_sealed = nullif(raw_sealed, ''), erased_at = received_at
    WHERE event_sealed = '' OR raw_sealed = '';
-- Looked at without keeping writers out.
ALTER TABLE messages VALIDATE CONSTRAINT ck_messages_kept;
ALTER TABLE inbox VALIDATE CONSTRAINT ck_inbox_kept;
-- The daily look for what is too old reads no row twice that has nothing left to lose.
CREATE INDEX ix_messages_kept ON messages (created_at) WHERE to_sealed IS NOT NULL OR content_sealed IS NOT NULL;
CREATE INDEX ix_messages_from ON messages (tenant_id, from_hash, id) WHERE from_hash IS NOT NULL;
CREATE INDEX ix_inbox_kept ON inbox (received_at) WHERE event_sealed IS NOT NULL OR raw_sealed IS NOT NULL;

CREATE TABLE audit_events (
    tenant_id uuid NOT NULL CONSTRAINT fk_audit_events_tenant_id REFERENCES tenants (id),
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    on_behalf text,
    kind text NOT NULL,
    action text NOT NULL,
    target_type text,
    target_id text,
    request_id text,
    outcome text NOT NULL,
    code text,
    CONSTRAINT pk_audit_events PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ix_audit_events_target ON audit_events (tenant_id, target_id, id) WHERE target_id IS NOT NULL;

CREATE TABLE erasures (
    tenant_id uuid NOT NULL CONSTRAINT fk_erasures_tenant_id REFERENCES tenants (id),
    id uuid NOT NULL,
    recipient_sealed bytea,
    recipient_hash bytea,
    inbox_after uuid,
    messages integer NOT NULL DEFAULT 0,
    canceled integer NOT NULL DEFAULT 0,
    webhooks integer NOT NULL DEFAULT 0,
    names integer NOT NULL DEFAULT 0,
    due_at timestamptz DEFAULT now(),
    requested_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CONSTRAINT pk_erasures PRIMARY KEY (tenant_id, id)
);
-- Asked for twice while it goes on, it is one erasure.
CREATE UNIQUE INDEX uq_erasures_open ON erasures (tenant_id, recipient_hash) WHERE finished_at IS NULL;
CREATE INDEX ix_erasures_due ON erasures (due_at) WHERE finished_at IS NULL;
"""

PROTECTED = ("audit_events", "erasures")

# As for every other table of one tenant's rows.
PROTECT = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenants_named ON {table} TO PUBLIC
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON {table} TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
"""

# What was written about an act stays as it was written, whoever asks.
ROLES = """
GRANT SELECT, INSERT ON audit_events TO interalpha_app, interalpha_worker;
GRANT SELECT, INSERT (tenant_id, id, recipient_sealed, recipient_hash) ON erasures TO interalpha_app;
GRANT SELECT, UPDATE ON erasures TO interalpha_worker;
GRANT UPDATE (external_id) ON external_ids TO interalpha_worker;
GRANT UPDATE (name) ON message_batches TO interalpha_worker;
-- Lists are sealed anew, and whoever is erased is struck off them.
GRANT SELECT (tenant_id, id, recipients_sealed), UPDATE (recipients_sealed, recipients_masked) ON api_keys
    TO interalpha_worker;
"""

# What was erased cannot come back: such rows hold an empty value instead, which opens no more than nothing does.
DOWNGRADE = """
DROP TABLE erasures, audit_events;
REVOKE SELECT (tenant_id, id, recipients_sealed), UPDATE (recipients_sealed, recipients_masked) ON api_keys
    FROM interalpha_worker;
REVOKE UPDATE (external_id) ON external_ids FROM interalpha_worker;
REVOKE UPDATE (name) ON message_batches FROM interalpha_worker;
DROP INDEX ix_inbox_kept;
DROP INDEX ix_messages_from;
DROP INDEX ix_messages_kept;
UPDATE inbox SET event_sealed = coalesce(event_sealed, ''), raw_sealed = coalesce(raw_sealed, '')
    WHERE event_sealed IS NULL OR raw_sealed IS NULL;
UPDATE messages SET to_sealed = coalesce(to_sealed, ''), to_hash = coalesce(to_hash, ''),
    content_sealed = coalesce(content_sealed, '')
    WHERE to_sealed IS NULL OR to_hash IS NULL OR content_sealed IS NULL;
ALTER TABLE inbox
    DROP CONSTRAINT ck_inbox_kept,
    DROP COLUMN erased_at,
    ALTER COLUMN raw_sealed SET NOT NULL,
    ALTER COLUMN event_sealed SET NOT NULL;
ALTER TABLE messages
    DROP CONSTRAINT ck_messages_kept,
    DROP COLUMN erased_at,
    DROP COLUMN made_by,
    ALTER COLUMN content_sealed SET NOT NULL,
    ALTER COLUMN to_hash SET NOT NULL,
    ALTER COLUMN to_sealed SET NOT NULL;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(TABLES)
    for table in PROTECTED:
        _run(PROTECT.format(table=table))
    _run(ROLES)


def downgrade() -> None:
    _run(DOWNGRADE)
