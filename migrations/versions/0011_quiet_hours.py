"""Quiet hours for as long as a message lives: whatever makes it late, it is not sent at night."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN respects_quiet_hours boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE messages DROP COLUMN respects_quiet_hours")
