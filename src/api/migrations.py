"""Running and inspecting migrations. Alembic is imported when it is used: it costs a third of a second.

Migrations only add, so that processes of the version before work on while a new one is rolled out. What takes something
away is a contract: a migration in a line of its own, `migrations/contracts`, which refuses until nothing needs what it
takes. This code works before it and after it. See ADR 0034.
"""

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from api.nouns import all_nouns
from core.audit.act import audit_events
from core.database import asyncpg_address, contracts, metadata
from core.dead_letters.store import dead_letters
from core.idempotency import idempotency_keys
from core.inbox.tables import inbox
from core.liveness import pulses, servers, workers
from core.privacy.erase import erasures
from core.sealing import lookup_keys

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


class ContractWaits(Exception):
    """A contract that cannot be applied yet; `reasons` say what it waits for."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(" ".join(reasons))
        self.reasons = reasons


def upgrade(database_url: str, target: str = "head") -> Sequence[str]:
    """Bring the database to a revision, and at the newest apply contracts; returns what a contract waits for.

    Runs an event loop of its own, so call it outside one.
    """
    from alembic import command

    command.upgrade(_config(database_url), target)
    if target not in ("head", head_revision()):
        return []
    try:
        command.upgrade(_config(database_url, contracts=True), "head")
    except ContractWaits as waits:
        return waits.reasons
    return []


def downgrade(database_url: str, target: str) -> None:
    """Take the database back to an earlier revision, its contracts first; runs an event loop of its own."""
    from alembic import command

    revision, has_contracts = asyncio.run(_stand(database_url))
    if has_contracts:
        _check_target(_config(database_url), revision, target)
        command.downgrade(_config(database_url, contracts=True), "base")
    command.downgrade(_config(database_url), target)


def _check_target(config: "Config", revision: str | None, target: str) -> None:
    """Refuse a target that is not there before the contracts are taken back for it; raises CommandError."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    script = ScriptDirectory.from_config(config)
    if not re.fullmatch(r"-\d+", target):
        script.get_revision(target)
    elif int(target[1:]) > len(list(script.iterate_revisions(revision or "base", "base"))):
        raise CommandError(f"There are fewer than {target[1:]} migrations to take back.")


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


async def contracts_left(connection: AsyncConnection) -> Sequence[str]:
    """The names of the contracts that were not applied yet, in their order."""
    if (await connection.execute(text("SELECT to_regclass('contracts')::text"))).scalar() is None:
        return []
    applied = (await connection.execute(text("SELECT version_num FROM contracts"))).scalar() or ""
    names = sorted(path.stem for path in (migrations_folder() / _CONTRACTS).glob("[0-9]*.py"))
    return [name for name in names if name.split("_", 1)[0] > applied]


async def _stand(database_url: str) -> tuple[str | None, bool]:
    """The revision a database is at, and whether it has a table of contracts."""
    url, arguments = asyncpg_address(database_url)
    engine = create_async_engine(url, connect_args=arguments, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            found = (await connection.execute(text("SELECT to_regclass('contracts')::text"))).scalar()
            return await current_revision(connection), found is not None
    finally:
        await engine.dispose()


_CONTRACTS = "contracts"


def _config(database_url: str, *, contracts: bool = False) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    if contracts:
        config.set_main_option("path_separator", "os")
        config.set_main_option("version_locations", str(migrations_folder() / _CONTRACTS))
        config.attributes["version_table"] = _CONTRACTS
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["database_url"] = database_url
    return config


# Imports every table, those of the nouns by finding them: for migrations, for the test that compares both, and for the
# rotation of encryption keys.
all_nouns()

__all__ = [
    "audit_events",
    "contracts",
    "dead_letters",
    "erasures",
    "idempotency_keys",
    "inbox",
    "lookup_keys",
    "metadata",
    "pulses",
    "servers",
    "workers",
]
