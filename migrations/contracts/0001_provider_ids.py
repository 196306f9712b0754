"""Clear provider ids end: their columns go, and whatever a process still writes there is not kept.

It waits until the workers have sealed every id that lies in clear, and no process of the version before is seen.
"""

from alembic import op
from sqlalchemy import text

from api.migrations import ContractWaits

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EXPANDED = "0012"
"""The first migration whose processes read sealed ids."""
MOST = 100_000

LEFT = """
SELECT count(*) FROM (
    SELECT FROM {table} WHERE provider_message_id IS NOT NULL AND CASE
        WHEN provider_message_id ~ '^~[0-9a-f]{{32}}$' THEN provider_id_lookup IS NULL
        ELSE provider_id_sealed IS NULL END
    LIMIT :most
) waiting
"""
# A process that ended in peace took its row away; another is believed gone when it was silent for a minute.
EARLIER = """
SELECT name, extract(epoch FROM now() - seen_at)::integer AS ago FROM (
    SELECT name, revision, seen_at FROM workers UNION ALL SELECT name, revision, seen_at FROM servers
) processes
WHERE coalesce(revision, '') < :expanded AND seen_at > now() - interval '1 minute' ORDER BY name
"""

# The column that takes the place was made empty, with its index, long before. Messages first, as everybody locks them.
CONTRACT = """
ALTER TABLE messages DROP COLUMN provider_message_id;
ALTER TABLE messages RENAME COLUMN provider_id_empty TO provider_message_id;
ALTER TABLE attempts DROP COLUMN provider_message_id;
ALTER TABLE attempts RENAME COLUMN provider_id_empty TO provider_message_id;
ALTER INDEX ix_messages_provider_id_empty RENAME TO ix_messages_provider_message_id;
ALTER INDEX ix_attempts_provider_id_empty RENAME TO ix_attempts_provider_message_id;
CREATE FUNCTION keep_no_clear_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.provider_message_id := NULL;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION keep_no_clear_id FROM PUBLIC;
CREATE TRIGGER keep_no_clear_id BEFORE INSERT OR UPDATE OF provider_message_id ON messages
    FOR EACH ROW WHEN (NEW.provider_message_id IS NOT NULL) EXECUTE FUNCTION keep_no_clear_id();
CREATE TRIGGER keep_no_clear_id BEFORE INSERT OR UPDATE OF provider_message_id ON attempts
    FOR EACH ROW WHEN (NEW.provider_message_id IS NOT NULL) EXECUTE FUNCTION keep_no_clear_id();
"""

# What was in clear does not come back: it is sealed, and processes of the version before cannot read it.
EXPAND = """
DROP TRIGGER keep_no_clear_id ON attempts;
DROP TRIGGER keep_no_clear_id ON messages;
DROP FUNCTION keep_no_clear_id;
ALTER INDEX ix_attempts_provider_message_id RENAME TO ix_attempts_provider_id_empty;
ALTER INDEX ix_messages_provider_message_id RENAME TO ix_messages_provider_id_empty;
ALTER TABLE attempts RENAME COLUMN provider_message_id TO provider_id_empty;
ALTER TABLE attempts ADD COLUMN provider_message_id text;
ALTER TABLE messages RENAME COLUMN provider_message_id TO provider_id_empty;
ALTER TABLE messages ADD COLUMN provider_message_id text;
CREATE INDEX ix_attempts_provider_message_id ON attempts (integration, provider_message_id);
CREATE INDEX ix_messages_provider_message_id ON messages (tenant_id, provider_message_id)
    WHERE provider_message_id IS NOT NULL;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def _reasons() -> list[str]:
    connection, reasons = op.get_bind(), []
    for table in ("messages", "attempts"):
        left = connection.execute(text(LEFT.format(table=table)), {"most": MOST}).scalar_one()
        if left:
            many = f"{left:,}" if left < MOST else f"at least {MOST:,}"
            reasons.append(
                f"{many} rows of {table} hold a provider's id in clear; a worker of this version seals them."
            )
    earlier = connection.execute(text(EARLIER), {"expanded": EXPANDED})
    living = [f"The process {row.name} of the version before was seen {row.ago} s ago: end it." for row in earlier]
    return reasons + living


def upgrade() -> None:
    if reasons := _reasons():
        raise ContractWaits(reasons)
    _run(CONTRACT)


def downgrade() -> None:
    _run(EXPAND)
