"""The ledger of calls to providers. It belongs to the operator, has no tenant, and holds no personal data."""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE provider_calls (
            integration text NOT NULL,
            operation text NOT NULL,
            minute timestamptz NOT NULL,
            outcome text NOT NULL,
            count integer NOT NULL,
            milliseconds bigint NOT NULL,
            buckets integer[] NOT NULL,
            last_at timestamptz NOT NULL,
            CONSTRAINT pk_provider_calls PRIMARY KEY (minute, integration, operation, outcome)
        )
        """
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON provider_calls TO interalpha_app, interalpha_worker")
    op.execute("GRANT DELETE ON provider_calls TO interalpha_worker")


def downgrade() -> None:
    op.execute("DROP TABLE provider_calls")
