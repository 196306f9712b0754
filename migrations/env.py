"""How migrations run: asynchronously, one at a time, and never waiting long for a lock."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api.migrations import metadata
from core.database import asyncpg_address
from core.live.event_log import TransactionId

ischema_names["xid8"] = TransactionId

# Any constant will do; two deployments that start at once take turns. It is released with the transaction, which also
# holds behind a transaction pooler.
_TURN = 4_201_138_201


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=context.config.attributes.get("version_table", "alembic_version"),
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_TURN})"))
        # A migration that cannot get its lock in time gives up rather than queue everybody behind it.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SET LOCAL statement_timeout = '10min'"))
        context.run_migrations()


async def _run() -> None:
    url, arguments = asyncpg_address(context.config.attributes["database_url"])
    # Migrations may run for longer than a request's command.
    engine = create_async_engine(url, connect_args=arguments | {"command_timeout": None}, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_run())
