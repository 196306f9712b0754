"""PostgreSQL: the engine of a `DATABASE_URL`, and transactions that declare the tenants whose rows they touch."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    MetaData,
    Row,
    String,
    Table,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.errors import CommitUnknown, Overloaded
from core.log_throttle import ThrottledLog
from core.settings.postgres_url import PostgresUrl, read_postgres_url
from core.store_faults import database_fault, driver_error, is_setup
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

COMMAND_TIMEOUT = 15.0


def asyncpg_address(raw: str) -> tuple[URL, dict[str, Any]]:
    """Turn a `DATABASE_URL` into SQLAlchemy's arguments: an empty URL, and a function that opens connections.

    The URL is read by `core.settings.postgres_url` alone, so that `interalpha check` shows what is connected to.
    """
    address = read_postgres_url(raw)
    arguments: dict[str, Any] = {"async_creator_fn": partial(_open, address), "command_timeout": COMMAND_TIMEOUT}
    if not address.has_prepared_statements:
        arguments |= _UNPREPARED
    return URL.create("postgresql+asyncpg"), arguments


def make_engine(raw: str, *, prepared_statements: bool = True, pool_size: int = 10) -> AsyncEngine:
    """Make the engine; connections are opened when first needed. Statements run in autocommit mode, see Database."""
    url, arguments = asyncpg_address(raw)
    if not prepared_statements:
        arguments |= _UNPREPARED
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


_UNPREPARED = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}


async def _open(address: PostgresUrl, **arguments: Any) -> asyncpg.Connection:
    """Connect to the first host that takes us, each within its own time."""
    hosts = list(address.hosts)
    if address.is_shuffled:
        random.shuffle(hosts)
    for place, (host, port) in enumerate(hosts, start=1):
        try:
            connection = await asyncpg.connect(
                host=host,
                port=port,
                user=address.user,
                password=address.password,
                passfile=address.passfile,
                database=address.database,
                # Never over a Unix socket, as libpq has it; given, so that no PGSSLMODE of the environment is taken.
                ssl=False if host.startswith("/") else address.tls,
                direct_tls=address.is_direct_tls,
                server_settings=dict(address.server_settings),
                target_session_attrs=address.session,
                timeout=address.connect_timeout,
                **arguments,
            )
        # A host name that no DNS could hold is a UnicodeError.
        except (OSError, UnicodeError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched):
            if place == len(hosts):
                raise
        else:
            _keep_alive(connection, address.keep_alive)
            return connection
    raise ValueError("An address names at least one host.")


# libpq's names of socket options: https://www.postgresql.org/docs/18/libpq-connect.html
_SOCKET_OPTIONS = {
    "keepalives": (socket.SOL_SOCKET, "SO_KEEPALIVE"),
    "keepalives_idle": (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
    "keepalives_interval": (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
    "keepalives_count": (socket.IPPROTO_TCP, "TCP_KEEPCNT"),
    "tcp_user_timeout": (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"),
}


def _keep_alive(connection: asyncpg.Connection, wanted: Mapping[str, int]) -> None:
    plug = connection._transport.get_extra_info("socket")
    if not wanted or plug is None or plug.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for name, value in ({"keepalives": 1} | dict(wanted)).items():
        level, option = _SOCKET_OPTIONS[name]
        # 0 is the system's own value; and not every system has every option.
        if hasattr(socket, option) and (value or name == "keepalives"):
            plug.setsockopt(level, getattr(socket, option), value)


class Database:
    """Transactions over one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._troubles = ThrottledLog()

    @asynccontextmanager
    async def transaction(self, *tenants: UUID, lock_timeout: str = "5s") -> AsyncIterator[AsyncConnection]:
        """Open a transaction for these tenants, commit it at the end, roll it back on any exception.

        BEGIN, the time-outs and the tenants travel as one simple query, which PgBouncer's transaction mode supports.
        Row-level security limits the transaction to these tenants; without tenants the application sees no rows, the
        worker all. Raises Overloaded when PostgreSQL cannot be reached, hangs or has no connection left, and
        CommitUnknown when the answer to COMMIT was lost and the data may have been stored.
        """
        connection, driver = await self._begin(_tenant_list(tenants), lock_timeout)
        try:
            try:
                yield connection
            except BaseException as error:
                await _roll_back(connection, driver)
                if is_setup(error):
                    self._note("database_refuses", error)
                    text = say(
                        "DATABASE_NOT_READY",
                        "The database lacks a table or a right that this needs; nothing was stored.",
                    )
                    raise Overloaded(text, retry_after=10) from error
                if is_transient(error):
                    self._note("transaction_given_up", error)
                    text = say("DATABASE_SLOW", "The database did not answer in time; nothing was stored.")
                    raise Overloaded(text, retry_after=2) from error
                raise
            await _commit(connection, driver)
            self._troubles.succeeded("database_back")
        finally:
            await connection.close()

    async def _begin(self, tenants: str, lock_timeout: str) -> tuple[AsyncConnection, asyncpg.Connection]:
        last: BaseException | None = None
        # The first statement doubles as the ping: a connection that died while idle is replaced, up to the whole pool.
        for _ in range(self.engine.pool.size() + 1):  # type: ignore[attr-defined]
            connection = await self._connect()
            driver = await driver_connection(connection)
            try:
                await driver.execute(
                    f"{_BEGIN} SET LOCAL lock_timeout = '{lock_timeout}';"
                    f" SELECT set_config('app.tenants', '{tenants}', true)"
                )
            except BaseException as error:
                await connection.invalidate()
                await connection.close()
                if isinstance(error, TimeoutError):
                    self._note("database_silent", error)
                    # A connection that hangs is not one that died: the next would hang as long.
                    text = say("DATABASE_SILENT", "The database does not answer; nothing was stored.")
                    raise Overloaded(text, retry_after=5) from error
                if not isinstance(error, _CONNECTION_LOST):
                    raise
                last = error
            else:
                return connection, driver
        self._note("database_closes_connections", last)
        text = say("DATABASE_CLOSING", "The database is closing our connections; nothing was stored.")
        raise Overloaded(text, retry_after=5) from last

    async def _connect(self) -> AsyncConnection:
        try:
            return await self.engine.connect()
        except NOT_CONNECTED as error:
            self._note("database_unreachable", error)
            text = say("DATABASE_AWAY", "The database cannot be reached; nothing was stored.")
            raise Overloaded(text, retry_after=5) from error

    def _note(self, event: str, error: BaseException | None) -> None:
        """Log PostgreSQL's reason: once, then at growing intervals."""
        fault = database_fault(error)
        cause = driver_error(error)
        fields = {"error": type(cause).__name__, "sqlstate": getattr(cause, "sqlstate", None)}
        if fault is not None:
            fields |= {"reason": str(fault)}
            if isinstance(cause, asyncpg.PostgresError):
                # What the server says of logins, tables and rights holds names and no values.
                fields |= {"said": str(cause).partition("\n")[0]}
        level = "warning" if fault is None or fault.passes else "error"
        given = {name: value for name, value in fields.items() if value}
        self._troubles.failed(event, fault.code if fault else str(fields["error"]), level=level, **given)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _tenant_list(tenants: Sequence[UUID]) -> str:
    # The ids become part of a statement.
    if not all(isinstance(tenant, UUID) for tenant in tenants):
        raise TypeError("Only ids that were read as such name a transaction's tenants.")
    return ",".join(str(tenant) for tenant in tenants)


# A process that hangs in a transaction must not hold its locks for ever or wait for others' locks. A statement whose
# caller died ends too, before a living caller gives up its connection. The limits are set in each transaction, since
# limits on a granted role do not apply to its logins, and a pooler does not keep what a session set.
_BEGIN = (
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '30s';"
    f" SET LOCAL statement_timeout = '{COMMAND_TIMEOUT - 1:g}s';"
)
NOT_CONNECTED = (
    OSError,
    # A host name that no DNS could hold.
    UnicodeError,
    PoolExhausted,
    DBAPIError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# The driver raises its "internal" error on a connection whose end has arrived and was not read yet.
_CONNECTION_LOST = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    OSError,
)
# Connection trouble, shutdown, crash, start-up, too many connections, deadlock, lock and statement time-outs.
_PASSING = frozenset({"57P01", "57P02", "57P03", "53300", "40001", "40P01", "55P03", "57014"})


def is_contention(error: BaseException | None) -> bool:
    """Whether other transactions were in the way: a lock not granted in time, a deadlock, a statement time-out.

    The connection can be used again.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None) in {"40001", "40P01", "55P03", "57014"}


@asynccontextmanager
async def savepoint(connection: AsyncConnection) -> AsyncIterator[None]:
    """Undo what is done inside, and no more of the transaction, when it fails; the error is raised all the same.

    An error that shows that the database is going away ends the transaction as a whole.
    """
    await connection.execute(text("SAVEPOINT part"))
    try:
        yield
    except Exception as error:
        if is_contention(error) or not is_transient(error):
            await connection.execute(text("ROLLBACK TO SAVEPOINT part"))
        raise
    await connection.execute(text("RELEASE SAVEPOINT part"))


async def driver_connection(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's own connection, for the few statements that cost too much through SQLAlchemy."""
    return (await connection.get_raw_connection()).driver_connection


def is_transient(error: BaseException) -> bool:
    """Whether an error of the driver or of SQLAlchemy is a problem of the database rather than of the statement.

    The same statement succeeds later: by itself, or once the operator has corrected the setup.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    has_died = isinstance(cause, TimeoutError | asyncpg.InternalClientError)
    return invalidated or has_died or state in _PASSING or state.startswith("08") or is_setup(error)


async def _commit(connection: AsyncConnection, driver: asyncpg.Connection) -> None:
    try:
        answer = await driver.execute("COMMIT")
    except BaseException as error:
        await connection.invalidate()
        if isinstance(error, _CONNECTION_LOST):
            message = say(
                "COMMIT_UNKNOWN",
                (
                    "The connection to the database broke while the data was being committed. Repeat the request "
                    "with the same idempotency key."
                ),
            )
            raise CommitUnknown(message, retry_after=2) from error
        raise
    # COMMIT of a transaction that failed inside answers ROLLBACK, without an error.
    if answer != "COMMIT":
        raise RuntimeError("The transaction had failed before its end and was rolled back.")


async def _roll_back(connection: AsyncConnection, driver: asyncpg.Connection) -> None:
    try:
        await driver.execute("ROLLBACK", timeout=COMMAND_TIMEOUT)
    except (asyncpg.PostgresError, *_CONNECTION_LOST) as error:
        # The server rolls back once the connection is closed.
        log.warning("rollback_failed", error=type(error).__name__)
        await connection.invalidate()


Result = TypeVar("Result")

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


async def retry_until_available(read: Callable[[], Awaitable[Result]]) -> Result:
    """Read, and again with growing pauses while the database is away; only for reads."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return await read()
        except Overloaded:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


async def walk_table(
    database: Database, table: Table, values: Sequence[ColumnElement[Any]], *, size: int
) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield a table's rows by primary key, with the values asked for; a transaction for each batch of `size`."""
    key: list[ColumnElement[Any]] = list(table.primary_key.columns)
    statement = select(*key, *values).order_by(*key).limit(size)
    rows: list[Row[Any]] = []
    while True:
        place = tuple_(*key) > tuple_(*rows[-1][: len(key)]) if rows else None
        async with database.transaction() as connection:
            rows = list(await connection.execute(statement if place is None else statement.where(place)))
        if rows:
            yield rows
        if len(rows) < size:
            return


contracts = Table(
    "contracts",
    metadata,
    # Alembic's own table: which contract migration was applied last.
    Column("version_num", String(32), primary_key=True),
)
