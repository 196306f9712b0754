"""Running and inspecting migrations. Alembic is imported when it is used: it costs a third of a second."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from alembic.config import Config


def migrations_folder() -> Path:
    """Where the migrations lie: beside `src` in a checkout, inside the package in a wheel."""
    installed = Path(__file__).parent / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"


@cache
def head_revision() -> str:
    """The newest revision this code knows. Read from the file names, since this is asked at every start."""
    return max(path.name.split("_", 1)[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py"))


def is_current(revision: str | None) -> bool:
    """Whether this code can work on a database at a revision: its own, or a newer one.

    While a new version is rolled out, old processes finish on the new tables; migrations only add what they need.
    """
    return revision is not None and revision >= head_revision()


def upgrade(database_url: str, target: str = "head") -> None:
    """Bring the database to a revision; runs an event loop of its own, so call it outside one."""
    from alembic import command

    command.upgrade(_config(database_url), target)


def downgrade(database_url: str, target: str) -> None:
    """Take the database back to an earlier revision; runs an event loop of its own."""
    from alembic import command

    command.downgrade(_config(database_url), target)


def new(database_url: str, message: str) -> None:
    """Write a migration for what the tables say and the database does not."""
    from alembic import command

    number = f"{int(head_revision()) + 1:04d}"
    command.revision(_config(database_url), message, autogenerate=True, rev_id=number)


async def current_revision(connection: AsyncConnection) -> str | None:
    """The revision the database is at; None before the first migration."""
    # Asked first: a statement that fails would spoil the caller's transaction.
    if (await connection.execute(text("SELECT to_regclass('alembic_version')::text"))).scalar() is None:
        return None
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()


def _config(database_url: str) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["database_url"] = database_url
    return config
