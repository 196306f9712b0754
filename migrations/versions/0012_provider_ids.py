"""Sealed provider ids: the columns that this version fills beside the clear ones. `migrations/contracts` ends that.

Every statement is additive, so processes of the version before work on. The four indexes are empty when they are built;
building one reads its table once, and writers wait for that long.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = """
-- The contract drops the columns of clear ids and puts the empty ones in their place: statements that name them, of
-- processes that run on, find an empty column and its index, and nothing large is rewritten or read meanwhile.
ALTER TABLE attempts
    ADD COLUMN provider_id_sealed bytea, ADD COLUMN provider_id_lookup bytea, ADD COLUMN provider_id_empty text;
ALTER TABLE messages
    ADD COLUMN provider_id_sealed bytea, ADD COLUMN provider_id_lookup bytea, ADD COLUMN provider_id_empty text;
CREATE INDEX ix_attempts_provider_id_empty ON attempts (integration, provider_id_empty)
    WHERE provider_id_empty IS NOT NULL;
CREATE INDEX ix_messages_provider_id_empty ON messages (tenant_id, provider_id_empty)
    WHERE provider_id_empty IS NOT NULL;
CREATE INDEX ix_attempts_provider_id_lookup ON attempts (integration, provider_id_lookup)
    WHERE provider_id_lookup IS NOT NULL;
CREATE INDEX ix_messages_provider_id_lookup ON messages (tenant_id, provider_id_lookup)
    WHERE provider_id_lookup IS NOT NULL;

-- The secret of the look-up hashes that are never made anew. It is sealed as everything else, and rotated with it.
CREATE TABLE lookup_keys (
    id uuid NOT NULL,
    secret_sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_lookup_keys PRIMARY KEY (id)
);

-- The newest migration a process knows; null for the version that did not say it.
ALTER TABLE workers ADD COLUMN revision text;
-- The ids of encryption keys that something waits for, and that this worker lacks.
ALTER TABLE workers ADD COLUMN missing_keys text[] NOT NULL DEFAULT '{}';
CREATE TABLE servers (
    name text NOT NULL,
    revision text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_servers PRIMARY KEY (name)
);

-- Where Alembic notes which contract was applied last.
CREATE TABLE contracts (
    version_num varchar(32) NOT NULL,
    CONSTRAINT pk_contracts PRIMARY KEY (version_num)
);
"""

# The application neither looks messages up by a provider's id nor gives them one.
ROLES = """
GRANT SELECT, INSERT, UPDATE ON lookup_keys TO interalpha_worker;
GRANT SELECT ON contracts TO interalpha_app, interalpha_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON servers TO interalpha_app;
GRANT SELECT ON servers TO interalpha_worker;
-- A name that holds the address of somebody who is erased is masked.
GRANT SELECT (name), UPDATE (name) ON api_keys TO interalpha_worker;
"""

DOWNGRADE = """
DROP TABLE contracts, servers, lookup_keys;
REVOKE SELECT (name), UPDATE (name) ON api_keys FROM interalpha_worker;
ALTER TABLE workers DROP COLUMN revision, DROP COLUMN missing_keys;
ALTER TABLE messages
    DROP COLUMN provider_id_sealed, DROP COLUMN provider_id_lookup, DROP COLUMN provider_id_empty;
ALTER TABLE attempts
    DROP COLUMN provider_id_sealed, DROP COLUMN provider_id_lookup, DROP COLUMN provider_id_empty;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(TABLES)
    _run(ROLES)


def downgrade() -> None:
    _run(DOWNGRADE)
