"""Unconfirmed messages: ids found in a list are marked, no two attempts hold one id, and a caller may settle by hand.

Every statement is additive, so processes of the version before work on: what they find in a list counts as certain.
Building the indexes reads attempts twice and keeps writers waiting for that long: a second for three million rows.
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE attempts ADD COLUMN is_from_list boolean NOT NULL DEFAULT false;
CREATE INDEX ix_attempts_unknown ON attempts (integration, started_at) WHERE outcome IN ('IN_FLIGHT', 'UNCONFIRMED');

-- Where a list was believed twice, the attempt that is known best is found by the id, and the other one is not.
UPDATE attempts SET provider_id_lookup = NULL
WHERE provider_id_lookup IS NOT NULL AND channel <> 'EMAIL' AND EXISTS (
    SELECT FROM attempts other
    WHERE other.integration = attempts.integration AND other.provider_id_lookup = attempts.provider_id_lookup
      AND (other.rank, other.tenant_id, other.message_id, other.number)
        > (attempts.rank, attempts.tenant_id, attempts.message_id, attempts.number)
);
-- Mail servers' names for a mail come round again, and nothing is looked up by them.
DROP INDEX ix_attempts_provider_id_lookup;
CREATE UNIQUE INDEX ix_attempts_provider_id_lookup ON attempts (integration, provider_id_lookup)
    WHERE provider_id_lookup IS NOT NULL AND channel <> 'EMAIL';

-- What a caller says who settles a message as sent, and no more: the application changes no attempts by itself. The
-- rows are those of the tenants it names.
CREATE FUNCTION settle_attempt_as_sent(of_tenant uuid, of_message uuid, of_number smallint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE public.attempts SET outcome = 'ACCEPTED', rank = 1, failure = NULL
    WHERE attempts.tenant_id = of_tenant AND attempts.message_id = of_message AND attempts.number = of_number
      AND attempts.outcome = 'UNCONFIRMED' AND attempts.rank = 0;
END;
REVOKE ALL ON FUNCTION settle_attempt_as_sent FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settle_attempt_as_sent TO interalpha_app;
"""

DOWNGRADE = """
DROP FUNCTION settle_attempt_as_sent;
DROP INDEX ix_attempts_provider_id_lookup;
CREATE INDEX ix_attempts_provider_id_lookup ON attempts (integration, provider_id_lookup)
    WHERE provider_id_lookup IS NOT NULL;
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
