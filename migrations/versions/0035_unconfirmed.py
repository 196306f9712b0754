"""Unconfirmed messages: which ids come from a provider's list alone, and who may settle a message by hand.

Every statement is additive, so processes of the version before work on: what they find in a list counts as certain. The
index holds few rows; building it reads the table once and keeps writers waiting for that long.
"""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE attempts ADD COLUMN is_from_list boolean NOT NULL DEFAULT false;
CREATE INDEX ix_attempts_unknown ON attempts (integration, started_at) WHERE outcome IN ('IN_FLIGHT', 'UNCONFIRMED');
-- A caller who settles a message by hand says that its last attempt was taken.
GRANT UPDATE (outcome, rank, failure) ON attempts TO interalpha_app;
"""

DOWNGRADE = """
REVOKE UPDATE (outcome, rank, failure) ON attempts FROM interalpha_app;
DROP INDEX ix_attempts_unknown;
ALTER TABLE attempts DROP COLUMN is_from_list;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(UPGRADE)


def downgrade() -> None:
    _run(DOWNGRADE)
