"""PostgreSQL: the address as providers hand it out, one engine, and transactions that say whose rows they touch."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import URL, MetaData, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.errors import CommitUnknown, Overloaded
from core.words import say

log = structlog.get_logger(__name__)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# What libpq understands and asyncpg would send to the server as a start-up parameter, which poolers refuse.
_LIBPQ_ONLY = frozenset({"sslmode", "channel_binding", "sslnegotiation", "options", "connect_timeout"})
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})

CONNECT_TIMEOUT = 10.0
COMMAND_TIMEOUT = 15.0


def asyncpg_address(raw: str) -> tuple[URL, dict[str, Any]]:
    """Turn a `DATABASE_URL` as Neon and others hand it out into SQLAlchemy's URL and asyncpg's arguments.

    `sslmode=require` verifies the certificate here, which is more than libpq does. Channel binding is dropped:
    asyncpg has none to bind.
    """
    url = make_url(raw).set(drivername="postgresql+asyncpg")
    mode = url.query.get("sslmode")
    arguments: dict[str, Any] = {"timeout": CONNECT_TIMEOUT, "command_timeout": COMMAND_TIMEOUT}
    if mode in _ENCRYPTED:
        arguments["ssl"] = ssl.create_default_context()
    elif mode == "disable":
        arguments["ssl"] = False
    return url.set(query={key: value for key, value in url.query.items() if key not in _LIBPQ_ONLY}), arguments


def make_engine(raw: str, *, prepared_statements: bool = True, pool_size: int = 10) -> AsyncEngine:
    """Make the engine; connections are opened when first needed. Statements run in autocommit mode, see Database."""
    url, arguments = asyncpg_address(raw)
    if not prepared_statements:
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    return create_async_engine(
        url,
        connect_args=arguments,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        # Neon suspends idle computes; a connection older than this is not worth trusting.
        pool_recycle=240,
        isolation_level="AUTOCOMMIT",
        # Errors would print them, addresses among them.
        hide_parameters=True,
    )


class Database:
    """Transactions over one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @asynccontextmanager
    async def transaction(self, *tenants: UUID, lock_timeout: str = "5s") -> AsyncIterator[AsyncConnection]:
        """Open a transaction for these tenants, commit it at the end, roll it back on any exception.

        Its first words and the tenants travel as one simple query, which PgBouncer's transaction mode understands.
        PostgreSQL's row-level security holds it to them; without tenants the application has nobody's rows, the
        worker everybody's. Raises Overloaded when PostgreSQL cannot be reached, hangs, or
        has no place for us, and CommitUnknown when the very end was lost and something may have been stored.
        """
        connection, driver = await self._begin(_listed(tenants), lock_timeout)
        try:
            try:
                yield connection
            except BaseException as error:
                await _roll_back(connection, driver)
                if is_passing(error):
                    log.warning("transaction_given_up", error=type(error).__name__)
                    text = say("DATABASE_SLOW", "The database did not answer in time; nothing was stored.")
                    raise Overloaded(text, retry_after=2) from error
                raise
            await _commit(connection, driver)
        finally:
            await connection.close()

    async def _begin(self, tenants: str, lock_timeout: str) -> tuple[AsyncConnection, asyncpg.Connection]:
        # The first statement doubles as the ping: a connection that died while idle is replaced, up to the whole pool.
        for _ in range(self.engine.pool.size() + 1):  # type: ignore[attr-defined]
            connection = await self._connect()
            driver = await driver_of(connection)
            try:
                await driver.execute(
                    f"{_FIRST_WORDS} SET LOCAL lock_timeout = '{lock_timeout}';"
                    f" SELECT set_config('app.tenants', '{tenants}', true)"
                )
            except BaseException as error:
                await connection.invalidate()
                await connection.close()
                if isinstance(error, TimeoutError):
                    # A connection that hangs is not one that died: the next would hang as long.
                    text = say("DATABASE_SILENT", "The database does not answer; nothing was stored.")
                    raise Overloaded(text, retry_after=5) from error
                if not isinstance(error, _DIED):
                    raise
            else:
                return connection, driver
        text = say("DATABASE_CLOSING", "The database keeps closing our connections; nothing was stored.")
        raise Overloaded(text, retry_after=5)

    async def _connect(self) -> AsyncConnection:
        try:
            return await self.engine.connect()
        except (OSError, PoolExhausted, DBAPIError, asyncpg.PostgresError) as error:
            log.warning("database_unreachable", error=type(error).__name__)
            text = say("DATABASE_AWAY", "The database cannot be reached; nothing was stored.")
            raise Overloaded(text, retry_after=5) from error

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _listed(tenants: Sequence[UUID]) -> str:
    # They become part of a statement.
    if not all(isinstance(tenant, UUID) for tenant in tenants):
        raise TypeError("Only ids that were read as such name a transaction's tenants.")
    return ",".join(str(tenant) for tenant in tenants)


# A process that hangs in the middle must not hold its locks for ever, nor wait for somebody else's; a statement whose
# caller has died ends, too, and before a living caller gives its connection up. Set on a role that logins are granted,
# these would not reach the logins, and a pooler does not keep what a session set.
_FIRST_WORDS = (
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '30s';"
    f" SET LOCAL statement_timeout = '{COMMAND_TIMEOUT - 1:g}s';"
)
# The driver's "internal" error is what it says of a connection whose end has arrived and not been read yet.
_DIED = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    OSError,
)
# Connection trouble, shutdown, crash, start-up, too many connections, deadlock, lock and statement time-outs.
_PASSING = frozenset({"57P01", "57P02", "57P03", "53300", "40001", "40P01", "55P03", "57014"})


def is_contention(error: BaseException | None) -> bool:
    """Whether others stood in the way: a lock that was not given in time, a deadlock, a statement out of time.

    The connection is as good as before.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None) in {"40001", "40P01", "55P03", "57014"}


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's own connection, for the few statements whose way through SQLAlchemy costs too much."""
    return (await connection.get_raw_connection()).driver_connection


def is_passing(error: BaseException) -> bool:
    """Whether an error of the driver or of SQLAlchemy is the database's passing trouble rather than a mistake."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    has_died = isinstance(cause, TimeoutError | asyncpg.InternalClientError)
    return invalidated or has_died or state in _PASSING or state.startswith("08")


async def _commit(connection: AsyncConnection, driver: asyncpg.Connection) -> None:
    try:
        answer = await driver.execute("COMMIT")
    except BaseException as error:
        await connection.invalidate()
        if isinstance(error, _DIED):
            message = say(
                "COMMIT_UNKNOWN",
                "The connection to the database broke at the very end: repeat it, with the same idempotency key.",
            )
            raise CommitUnknown(message, retry_after=2) from error
        raise
    # COMMIT of a transaction that failed inside answers ROLLBACK, without an error.
    if answer != "COMMIT":
        raise RuntimeError("The transaction had failed before its end and was rolled back.")


async def _roll_back(connection: AsyncConnection, driver: asyncpg.Connection) -> None:
    try:
        await driver.execute("ROLLBACK", timeout=COMMAND_TIMEOUT)
    except (asyncpg.PostgresError, *_DIED) as error:
        # The server rolls back by itself once the connection is gone.
        log.warning("rollback_failed", error=type(error).__name__)
        await connection.invalidate()
