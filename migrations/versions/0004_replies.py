"""Replies: which message a message answers, and by what id the company knows one that came in."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE messages
    ADD COLUMN in_reply_to uuid,
    ADD COLUMN integration text,
    ADD COLUMN provider_message_id text;

-- Messages that came in are found by the company's id when somebody answers them; ours have theirs in `attempts`.
CREATE INDEX ix_messages_provider_message_id ON messages (tenant_id, provider_message_id)
    WHERE provider_message_id IS NOT NULL;
"""


def upgrade() -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(TABLES))


def downgrade() -> None:
    op.execute("ALTER TABLE messages DROP COLUMN in_reply_to, DROP COLUMN integration, DROP COLUMN provider_message_id")
