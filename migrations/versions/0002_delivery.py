"""Delivery in full: schedules, expiry, routes in time, batches, dead letters, pulses, and who may change what."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE messages
    ADD COLUMN send_at timestamptz,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN step_until timestamptz,
    ADD COLUMN unconfirmed_at timestamptz,
    ADD COLUMN external_id text,
    ADD COLUMN batch_id uuid;
ALTER TABLE attempts
    ADD COLUMN answer text,
    ADD COLUMN checked_at timestamptz;

-- Each tenant's share of a channel's due work is found by itself: a noisy one cannot hide the others.
DROP INDEX ix_messages_due;
CREATE INDEX ix_messages_due ON messages (channel, status, tenant_id, due_at)
    WHERE due_at IS NOT NULL AND lease_until IS NULL;
-- What has to be looked at again whatever its channel: schedules, deadlines, what nobody knows.
CREATE INDEX ix_messages_look ON messages (status, due_at)
    WHERE status IN ('SCHEDULED', 'UNCONFIRMED', 'SENT') AND due_at IS NOT NULL AND lease_until IS NULL;
-- What runs out of time before it goes out; most messages have all the time there is and are not in it.
CREATE INDEX ix_messages_deadline ON messages (LEAST(expires_at, step_until))
    WHERE status IN ('SCHEDULED', 'QUEUED') AND lease_until IS NULL
        AND (expires_at IS NOT NULL OR step_until IS NOT NULL);
CREATE INDEX ix_messages_batch ON messages (tenant_id, batch_id, id) WHERE batch_id IS NOT NULL;
-- What a company took and has not reported on since.
CREATE INDEX ix_attempts_silent ON attempts (integration, started_at) WHERE outcome = 'ACCEPTED' AND rank = 1;

CREATE INDEX ix_idempotency_keys_expires_at ON idempotency_keys (expires_at);

CREATE TABLE external_ids (
    tenant_id uuid NOT NULL,
    external_id text NOT NULL,
    message_id uuid NOT NULL,
    CONSTRAINT pk_external_ids PRIMARY KEY (tenant_id, external_id)
);

CREATE TABLE message_batches (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_message_batches PRIMARY KEY (tenant_id, id)
);

CREATE TABLE dead_letters (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    integration text,
    message_id uuid,
    inbox_id uuid,
    error text NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    failed_at timestamptz NOT NULL DEFAULT now(),
    resolution text,
    resolved_at timestamptz,
    CONSTRAINT pk_dead_letters PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ix_dead_letters_open ON dead_letters (tenant_id, id) WHERE resolution IS NULL;
CREATE INDEX ix_dead_letters_message ON dead_letters (tenant_id, message_id) WHERE resolution IS NULL;

CREATE TABLE pulses (
    name text CONSTRAINT pk_pulses PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now(),
    resumed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE daily_counts (
    integration text NOT NULL,
    day date NOT NULL,
    ours integer NOT NULL,
    theirs integer,
    checked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_daily_counts PRIMARY KEY (integration, day)
);

-- To cancel, to try again and to replay the API moves rows, and can change nothing else about them.
GRANT UPDATE (status, route, step, channel, failure, due_at, expires_at, step_until, unconfirmed_at, lease_until,
    updated_at, sent_at, delivered_at, read_at) ON messages TO interalpha_app;
GRANT UPDATE (status, due_at, attempts, error, processed_at) ON inbox TO interalpha_app;
GRANT SELECT, INSERT ON external_ids, message_batches TO interalpha_app;
GRANT SELECT ON external_ids, message_batches TO interalpha_worker;
GRANT SELECT, UPDATE (resolution, resolved_at) ON dead_letters TO interalpha_app;
GRANT SELECT, INSERT, UPDATE ON dead_letters TO interalpha_worker;
GRANT SELECT ON daily_counts TO interalpha_app;
GRANT SELECT, INSERT ON daily_counts TO interalpha_worker;
GRANT SELECT, INSERT, UPDATE ON pulses TO interalpha_app, interalpha_worker;
"""

DOWNGRADE = """
DROP TABLE external_ids, message_batches, dead_letters, pulses, daily_counts;
REVOKE UPDATE (status, route, step, channel, failure, due_at, lease_until, updated_at, sent_at, delivered_at, read_at)
    ON messages FROM interalpha_app;
REVOKE UPDATE (status, due_at, attempts, error, processed_at) ON inbox FROM interalpha_app;
DROP INDEX ix_idempotency_keys_expires_at;
DROP INDEX ix_attempts_silent;
DROP INDEX ix_messages_batch;
DROP INDEX ix_messages_deadline;
DROP INDEX ix_messages_look;
DROP INDEX ix_messages_due;
CREATE INDEX ix_messages_due ON messages (channel, due_at) WHERE status = 'QUEUED' AND lease_until IS NULL;
ALTER TABLE attempts
    DROP COLUMN answer,
    DROP COLUMN checked_at;
ALTER TABLE messages
    DROP COLUMN send_at,
    DROP COLUMN expires_at,
    DROP COLUMN step_until,
    DROP COLUMN unconfirmed_at,
    DROP COLUMN external_id,
    DROP COLUMN batch_id;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(UPGRADE)


def downgrade() -> None:
    _run(DOWNGRADE)
