"""People: the application sees those of the tenants it names, and has others kept for it."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A person belongs to no tenant and may work for several, so whose they are is what memberships say; those have policies
# of their own. The worker hears of people before it hears whose they are.
PROTECT = """
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY of_members_of_the_tenants_named ON users FOR SELECT TO PUBLIC
    USING (EXISTS (SELECT FROM memberships WHERE memberships.user_id = users.id));
CREATE POLICY of_everybody ON users TO interalpha_worker, CURRENT_USER USING (true);
REVOKE INSERT (id, subject) ON users FROM interalpha_app;
"""

# Whoever comes in may be new, or somebody of whom another tenant knows: their id, and nothing else, is told.
FUNCTION = """
CREATE FUNCTION keep_person(new_id uuid, of_subject text) RETURNS uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO public.users (id, subject) VALUES (new_id, of_subject) ON CONFLICT (subject) DO NOTHING;
    SELECT users.id FROM public.users WHERE users.subject = of_subject;
END;
REVOKE ALL ON FUNCTION keep_person FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_person TO interalpha_app, interalpha_worker;
"""

LAY_OPEN = """
GRANT INSERT (id, subject) ON users TO interalpha_app;
DROP FUNCTION keep_person;
DROP POLICY of_everybody ON users;
DROP POLICY of_members_of_the_tenants_named ON users;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users DISABLE ROW LEVEL SECURITY;
"""


def _run(script: str) -> None:
    # The driver prepares what SQLAlchemy sends, one statement at a time; a script goes to it directly.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))


def upgrade() -> None:
    _run(PROTECT)
    _run(FUNCTION)


def downgrade() -> None:
    _run(LAY_OPEN)
