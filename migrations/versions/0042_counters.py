"""Counters by minute and day, and how far each tenant's log of events has been counted."""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE counters (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    span text NOT NULL,
    since timestamptz NOT NULL,
    label text NOT NULL,
    count bigint NOT NULL,
    CONSTRAINT pk_counters PRIMARY KEY (tenant_id, name, span, since, label)
);
CREATE INDEX ix_counters_minutes ON counters (since) WHERE span = 'MINUTE';

CREATE TABLE counter_cursors (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    transaction_id xid8 NOT NULL DEFAULT '0',
    sequence bigint NOT NULL DEFAULT 0,
    sequence_floor bigint NOT NULL DEFAULT 0,
    CONSTRAINT pk_counter_cursors PRIMARY KEY (tenant_id, name)
);
"""

# As every table of tenants' rows: see 0007.
PROTECT = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenants_named ON {table} TO PUBLIC
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON {table} TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
"""

ROLES = """
GRANT SELECT ON counters, counter_cursors TO interalpha_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON counters TO interalpha_worker;
GRANT SELECT, INSERT, UPDATE ON counter_cursors TO interalpha_worker;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(TABLES)
    for table in ("counters", "counter_cursors"):
        _run(PROTECT.format(table=table))
    _run(ROLES)


def downgrade() -> None:
    op.execute("DROP TABLE counter_cursors, counters")
