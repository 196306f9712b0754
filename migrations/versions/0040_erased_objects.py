"""An erasure counts objects of any kind; messages stay in their own column, which earlier processes add to.

A default that is a constant takes no time on a table of any size.
"""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE erasures ADD COLUMN other_objects jsonb NOT NULL DEFAULT '{}'::jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE erasures DROP COLUMN other_objects")
