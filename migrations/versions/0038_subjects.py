"""Webhooks and dead letters refer to objects of any kind; a row of an earlier process is about a message.

A default that is a constant takes no time on a table of any size. The ids stay in the column `message_id`, which
earlier processes read and write.
"""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE inbox ADD COLUMN subject_kind text DEFAULT 'Message'")
    op.execute("ALTER TABLE dead_letters ADD COLUMN subject_kind text DEFAULT 'Message'")


def downgrade() -> None:
    op.execute("ALTER TABLE dead_letters DROP COLUMN subject_kind")
    op.execute("ALTER TABLE inbox DROP COLUMN subject_kind")
