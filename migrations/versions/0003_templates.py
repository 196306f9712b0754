"""Templates: ours and copies of a company's, and which of them a message was made of."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE templates (
    tenant_id uuid NOT NULL CONSTRAINT fk_templates_tenant_id REFERENCES tenants (id),
    id uuid NOT NULL,
    channel text NOT NULL,
    name text NOT NULL,
    locale text NOT NULL,
    category text NOT NULL,
    approval text NOT NULL,
    subject text,
    header text,
    body text NOT NULL,
    html text,
    buttons jsonb NOT NULL DEFAULT '[]'::jsonb,
    examples jsonb NOT NULL DEFAULT '{}'::jsonb,
    integration text,
    provider_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz,
    CONSTRAINT pk_templates PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_templates_tenant_id_channel_name_locale UNIQUE (tenant_id, channel, name, locale)
);

CREATE TABLE template_catalogues (
    tenant_id uuid NOT NULL CONSTRAINT fk_template_catalogues_tenant_id REFERENCES tenants (id),
    integration text NOT NULL,
    due_at timestamptz NOT NULL,
    failures smallint NOT NULL DEFAULT 0,
    read_at timestamptz,
    CONSTRAINT pk_template_catalogues PRIMARY KEY (tenant_id, integration)
);

ALTER TABLE messages ADD COLUMN template_id uuid;

GRANT SELECT ON templates TO interalpha_app;
GRANT SELECT, INSERT, UPDATE ON templates, template_catalogues TO interalpha_worker;
"""


def upgrade() -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(TABLES))


def downgrade() -> None:
    op.execute("ALTER TABLE messages DROP COLUMN template_id")
    op.execute("DROP TABLE template_catalogues, templates")
