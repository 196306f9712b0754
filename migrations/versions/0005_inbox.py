"""The inbox in full: what was replayed, and what failed found at once."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE inbox ADD COLUMN replayed_at timestamptz;
CREATE INDEX ix_inbox_failed ON inbox (tenant_id, id) WHERE status = 'FAILED';

-- To replay, the API makes an event due again, and can change nothing of what the company said.
GRANT UPDATE (replayed_at) ON inbox TO interalpha_app;
"""

DOWNGRADE = """
DROP INDEX ix_inbox_failed;
ALTER TABLE inbox DROP COLUMN replayed_at;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(UPGRADE)


def downgrade() -> None:
    _run(DOWNGRADE)
