"""Problems: conditions that need an operator, and the turns at which providers are probed.

The problems of the whole installation have the owner 00000000-0000-0000-0000-000000000000, which is no tenant: only a
transaction that names it reads them.
"""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE problems (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    key text NOT NULL,
    code text NOT NULL,
    severity text NOT NULL,
    integration text,
    subject_kind text,
    subject_id uuid,
    title text NOT NULL,
    detail text NOT NULL,
    advice text NOT NULL,
    count integer NOT NULL DEFAULT 1,
    occurrence text,
    extent integer,
    extent_unit text,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    closed_by text,
    CONSTRAINT pk_problems PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX ix_problems_open ON problems (tenant_id, key) WHERE closed_at IS NULL;
CREATE INDEX ix_problems_closed ON problems (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE probe_turns (
    integration text CONSTRAINT pk_probe_turns PRIMARY KEY,
    began_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL
);
"""

# As every table of tenants' rows: see 0007.
PROTECT = """
ALTER TABLE problems ENABLE ROW LEVEL SECURITY;
ALTER TABLE problems FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenants_named ON problems TO PUBLIC
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON problems TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
"""

# A problem keeps its owner, its key and the time when it opened. Closed ones are deleted by the worker.
ROLES = """
GRANT SELECT, INSERT, UPDATE (code, severity, integration, subject_kind, subject_id, title, detail, advice, count,
    occurrence, extent, extent_unit, last_at, closed_at, closed_by) ON problems TO interalpha_app, interalpha_worker;
GRANT DELETE ON problems TO interalpha_worker;
GRANT SELECT, INSERT, UPDATE ON probe_turns TO interalpha_worker;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(TABLES)
    _run(PROTECT)
    _run(ROLES)


def downgrade() -> None:
    op.execute("DROP TABLE probe_turns, problems")
