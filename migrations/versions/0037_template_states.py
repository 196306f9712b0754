"""Templates that are paused or disabled are told apart; `approval` goes on saying what earlier processes understand."""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE templates ADD COLUMN approval_detail text")


def downgrade() -> None:
    op.execute("ALTER TABLE templates DROP COLUMN approval_detail")
