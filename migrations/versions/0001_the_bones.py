"""The bones: tenants and their addresses, messages with attempts and events, inbox, idempotency, workers, roles."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE tenants (
    id uuid CONSTRAINT pk_tenants PRIMARY KEY,
    slug text NOT NULL CONSTRAINT uq_tenants_slug UNIQUE,
    name text NOT NULL,
    time_zone text NOT NULL,
    default_currency text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE senders (
    tenant_id uuid NOT NULL CONSTRAINT fk_senders_tenant_id REFERENCES tenants (id),
    integration text NOT NULL,
    address text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_senders PRIMARY KEY (tenant_id, integration, address),
    CONSTRAINT uq_senders_integration_address UNIQUE (integration, address)
);

CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    key text NOT NULL,
    operation text NOT NULL,
    request_hash bytea NOT NULL,
    resource_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (tenant_id, key)
);

CREATE TABLE messages (
    tenant_id uuid NOT NULL CONSTRAINT fk_messages_tenant_id REFERENCES tenants (id),
    id uuid NOT NULL,
    direction text NOT NULL,
    status text NOT NULL,
    channel text NOT NULL,
    route jsonb NOT NULL,
    step smallint NOT NULL DEFAULT 0,
    to_sealed bytea NOT NULL,
    to_masked text NOT NULL,
    to_hash bytea NOT NULL,
    from_sealed bytea,
    from_masked text,
    from_hash bytea,
    content_sealed bytea NOT NULL,
    failure jsonb,
    due_at timestamptz,
    lease_until timestamptz,
    lease_owner text,
    lease_token bigint NOT NULL DEFAULT 0,
    attempt_count smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    delivered_at timestamptz,
    read_at timestamptz,
    CONSTRAINT pk_messages PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ix_messages_due ON messages (channel, due_at) WHERE status = 'QUEUED' AND lease_until IS NULL;
CREATE INDEX ix_messages_leased ON messages (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX ix_messages_status ON messages (tenant_id, status, id);
CREATE INDEX ix_messages_channel ON messages (tenant_id, channel, id);
CREATE INDEX ix_messages_to ON messages (tenant_id, to_hash, id);

CREATE TABLE attempts (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    number smallint NOT NULL,
    step smallint NOT NULL,
    channel text NOT NULL,
    integration text NOT NULL,
    token bigint NOT NULL,
    outcome text NOT NULL,
    rank smallint NOT NULL DEFAULT 0,
    provider_message_id text,
    failure jsonb,
    started_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT pk_attempts PRIMARY KEY (tenant_id, message_id, number),
    CONSTRAINT fk_attempts_message FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX ix_attempts_provider_message_id ON attempts (integration, provider_message_id);

CREATE TABLE message_events (
    tenant_id uuid NOT NULL,
    message_id uuid NOT NULL,
    sequence bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    status text NOT NULL,
    previous_status text,
    channel text,
    attempt smallint,
    detail text,
    source text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_message_events PRIMARY KEY (tenant_id, message_id, sequence),
    CONSTRAINT fk_events_message FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX ix_message_events_cursor ON message_events (tenant_id, transaction_id, sequence);

CREATE TABLE inbox (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    integration text NOT NULL,
    dedupe_key text NOT NULL,
    event_type text NOT NULL,
    status text NOT NULL DEFAULT 'RECEIVED',
    message_id uuid,
    event_sealed bytea NOT NULL,
    raw_sealed bytea NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    error text,
    due_at timestamptz NOT NULL DEFAULT now(),
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    CONSTRAINT pk_inbox PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_inbox_tenant_id_integration_dedupe_key UNIQUE (tenant_id, integration, dedupe_key)
);
CREATE INDEX ix_inbox_due ON inbox (due_at) WHERE status = 'RECEIVED';
CREATE INDEX ix_inbox_message ON inbox (tenant_id, message_id);

CREATE TABLE workers (
    name text CONSTRAINT pk_workers PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO tenants (id, slug, name, time_zone, default_currency)
VALUES ('01900000-0000-7000-8000-000000000001', 'default', 'Default', 'America/Sao_Paulo', 'BRL');
"""

# Roles belong to the whole cluster: another database of it may have made them already, perhaps at this very moment.
# Whoever connects is granted one of them: the application must not be able to change tables, nor the worker.
ROLES = """
DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['interalpha_app', 'interalpha_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO interalpha_app, interalpha_worker;
GRANT SELECT ON alembic_version, tenants, workers TO interalpha_app, interalpha_worker;
GRANT SELECT ON senders, attempts TO interalpha_app;
GRANT SELECT, INSERT ON messages, message_events, inbox TO interalpha_app;
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO interalpha_app;
GRANT SELECT, INSERT, UPDATE ON messages, inbox TO interalpha_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON attempts, workers TO interalpha_worker;
GRANT SELECT, INSERT ON message_events, senders TO interalpha_worker;
GRANT SELECT, DELETE ON idempotency_keys TO interalpha_worker;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(TABLES)
    _run(ROLES)


def downgrade() -> None:
    # The roles stay: other databases of the cluster may use them, and without tables they can do nothing.
    op.execute("DROP TABLE workers, inbox, message_events, attempts, messages, idempotency_keys, senders, tenants")
    op.execute("REVOKE ALL ON SCHEMA public FROM interalpha_app, interalpha_worker")
    op.execute("REVOKE ALL ON alembic_version FROM interalpha_app, interalpha_worker")
