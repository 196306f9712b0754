"""A failure that repeats is logged at once, then at growing intervals with a count, and once when it is over."""

import asyncio
import ssl

import asyncpg
import pytest
from redis import exceptions as redis_errors

from api.process import run_forever
from core.errors import Overloaded
from core.log_throttle import ThrottledLog
from core.store_faults import database_fault, is_setup, redis_fault
from tests.helpers import all_logs


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_lines_of_a_repeated_failure_become_fewer_and_are_counted() -> None:
    clock = Clock()
    troubles = ThrottledLog(clock)
    with all_logs() as logs:
        for _ in range(36_000):
            troubles.failed("away", "UNREACHABLE", reason="it is")
            clock.now += 0.1
    assert [line.get("for_seconds", 0) for line in logs[:5]] == [0, 10, 30, 70, 150]
    # An hour of ten failures a second.
    assert len(logs) == 11
    assert logs[0] == {"event": "away", "log_level": "warning", "reason": "it is"}
    assert logs[1]["times"] == pytest.approx(100, abs=1)
    assert logs[-1]["times"] == pytest.approx(6_000, abs=1)


def test_a_new_reason_is_reported_at_once_and_a_recovery_only_when_it_lasts() -> None:
    clock = Clock()
    troubles = ThrottledLog(clock)
    with all_logs() as logs:
        for kind in ("UNREACHABLE", "STARTING", "UNREACHABLE"):
            troubles.failed("away", kind)
            troubles.succeeded("back")
        clock.now += 20
        troubles.succeeded("back")
        troubles.succeeded("back")
        troubles.failed("away", "UNREACHABLE")
    assert [line["event"] for line in logs] == ["away", "away", "back", "away"]
    assert logs[2]["times"] == 1


async def test_a_loop_that_fails_at_every_turn_gives_one_traceback() -> None:
    turns = asyncio.Event()
    count = 0

    async def turn() -> None:
        nonlocal count
        count += 1
        if count == 4:
            turns.set()
        raise KeyError("sid")

    with all_logs() as logs:
        loop = asyncio.create_task(run_forever("test", turn))
        async with asyncio.timeout(5):
            await turns.wait()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert [(line["event"], "exc_info" in line) for line in logs] == [("loop_failed", True)]


async def test_a_loop_that_waits_for_a_store_leaves_the_reason_to_the_stores_own_line() -> None:
    done = asyncio.Event()
    count = 0

    async def turn() -> None:
        nonlocal count
        count += 1
        if count == 4:
            done.set()
        raise Overloaded("away", retry_after=1) from asyncpg.InvalidPasswordError("no")

    with all_logs() as logs:
        loop = asyncio.create_task(run_forever("test", turn))
        async with asyncio.timeout(5):
            await done.wait()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert [(line["event"], line["log_level"]) for line in logs] == [("loop_waits", "info")]


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def test_every_reason_of_postgresql_has_a_code_and_advice() -> None:
    for error, code, passes in (
        (asyncpg.InvalidPasswordError('password authentication failed for user "x"'), "WRONG_PASSWORD", False),
        (asyncpg.InvalidAuthorizationSpecificationError('role "x" is not permitted to log in'), "LOGIN_REFUSED", False),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry, no encryption"), "TLS_NEEDED", False),
        (asyncpg.ProtocolViolationError("no pg_hba.conf entry for host, no encrypti"), "TLS_NEEDED", False),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry, SSL on"), "LOGIN_REFUSED", False),
        (
            asyncpg.InvalidAuthorizationSpecificationError("connection requires a valid client certificate"),
            "CERTIFICATE_NEEDED",
            False,
        ),
        (asyncpg.InvalidCatalogNameError('database "x" does not exist'), "UNKNOWN_DATABASE", False),
        (asyncpg.InsufficientPrivilegeError("permission denied for table messages"), "MISSING_RIGHT", False),
        (asyncpg.UndefinedTableError('relation "messages" does not exist'), "TABLES_MISSING", False),
        (asyncpg.UndefinedColumnError('column "x" does not exist'), "TABLES_MISSING", False),
        (asyncpg.InvalidSchemaNameError("no schema"), "TABLES_MISSING", False),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), "READ_ONLY", True),
        (asyncpg.DiskFullError("no space left"), "DISK_FULL", False),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), "TOO_MANY_CONNECTIONS", True),
        (asyncpg.CannotConnectNowError("the database system is starting up"), "STARTING", True),
        (asyncpg.AdminShutdownError("terminating connection"), "SHUTTING_DOWN", True),
        (asyncpg.ProtocolViolationError("server login has been failing (server_login_retry)"), "POOLER_WAITS", True),
        (asyncpg.ProtocolViolationError("unsupported startup parameter: options"), "POOLER_REFUSES", False),
        (asyncpg.ProtocolViolationError("query_wait_timeout"), "TOO_MANY_CONNECTIONS", True),
        (asyncpg.ProtocolViolationError("SASL authentication failed"), "WRONG_PASSWORD", False),
        (ConnectionError('PostgreSQL server at "db:1" rejected SSL upgrade'), "NO_TLS", False),
        (verification(62), "CERTIFICATE_NAME", False),
        (verification(64), "CERTIFICATE_NAME", False),
        (verification(20), "CERTIFICATE_UNTRUSTED", False),
        (verification(18), "CERTIFICATE_UNTRUSTED", False),
        (verification(10), "CERTIFICATE_EXPIRED", False),
        (verification(23), "CERTIFICATE_REVOKED", False),
        (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "CERTIFICATE_NEEDED", False),
        (alert("WRONG_VERSION_NUMBER"), "NO_TLS", False),
        (ConnectionRefusedError(), "UNREACHABLE", True),
        (TimeoutError(), "NO_ANSWER", True),
        (ConnectionResetError(), "CONNECTION_LOST", True),
        (OSError("no route"), "CONNECTION_LOST", True),
    ):
        fault = database_fault(error)
        assert fault is not None, error
        assert (fault.code, fault.passes) == (code, passes), error
        assert fault.advice
    assert database_fault(ValueError("a bug")) is None
    assert database_fault(asyncpg.UniqueViolationError("twice")) is None


def test_a_row_level_security_violation_is_a_bug_and_not_a_setup_error() -> None:
    violation = asyncpg.InsufficientPrivilegeError('new row violates row-level security policy for table "messages"')
    assert database_fault(violation) is None
    assert not is_setup(violation)
    assert is_setup(asyncpg.UndefinedTableError('relation "messages" does not exist'))
    assert not is_setup(asyncpg.UniqueViolationError("twice"))


def test_every_reason_of_redis_has_a_code_and_advice() -> None:
    def lost(cause: BaseException) -> Exception:
        try:
            try:
                raise cause
            except OSError as error:
                raise redis_errors.ConnectionError("Error connecting") from error
        except redis_errors.ConnectionError as error:
            return error

    for error, code in (
        (redis_errors.AuthenticationError("invalid username-password pair"), "WRONG_PASSWORD"),
        (redis_errors.NoPermissionError("this user has no permissions to run the 'info' command"), "MISSING_RIGHT"),
        (redis_errors.BusyLoadingError("loading"), "LOADING"),
        (redis_errors.ReadOnlyError("replica"), "READ_ONLY"),
        (redis_errors.OutOfMemoryError("maxmemory"), "OUT_OF_MEMORY"),
        (redis_errors.ResponseError("MISCONF Redis is configured to save"), "DISK_FULL"),
        (redis_errors.ResponseError("unknown command 'BLMOVE'"), "COMMAND_MISSING"),
        (redis_errors.ResponseError("DB index is out of range"), "UNKNOWN_DATABASE"),
        (redis_errors.ConnectionError("max number of clients reached"), "TOO_MANY_CONNECTIONS"),
        (redis_errors.TimeoutError("Timeout reading"), "NO_ANSWER"),
        (lost(verification(20)), "CERTIFICATE_UNTRUSTED"),
        (lost(verification(62)), "CERTIFICATE_NAME"),
        (lost(ConnectionRefusedError()), "UNREACHABLE"),
        (redis_errors.ConnectionError("Connection closed by server."), "CONNECTION_LOST"),
    ):
        fault = redis_fault(error)
        assert fault is not None, error
        assert fault.code == code, error
        assert fault.advice
    assert redis_fault(ValueError("a bug")) is None
