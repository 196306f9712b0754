"""Why PostgreSQL or Redis refuses or fails, as a code, a reason and advice for the operator, without any secret.

SQLSTATEs: https://www.postgresql.org/docs/18/errcodes-appendix.html
"""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg
from redis import exceptions as redis_errors
from sqlalchemy.exc import TimeoutError as PoolExhausted


@dataclass(frozen=True, slots=True)
class StoreFault:
    """A store's fault. `code` is stable; `advice` is for the operator; `passes` says that it ends without action."""

    code: str
    detail: str
    advice: str
    passes: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.detail} {self.advice}"


_UPDATE = "Run `interalpha migrate up` with this version."
_GRANT = "Log in with a role that was granted interalpha_app (the API) or interalpha_worker (the worker)."
_WAIT = "It is retried automatically."

_STATES: Mapping[str, StoreFault] = {
    "28P01": StoreFault(
        "WRONG_PASSWORD", "The password, or the role, is refused.", "Correct both in the database's URL."
    ),
    "28000": StoreFault(
        "LOGIN_REFUSED", "The server refuses this role.", "Check the role and its line in pg_hba.conf, and sslmode."
    ),
    "3D000": StoreFault("UNKNOWN_DATABASE", "There is no database of that name.", "Create it, or correct the URL."),
    "42501": StoreFault("MISSING_RIGHT", "The role lacks a right.", _GRANT),
    "42P01": StoreFault("TABLES_MISSING", "A table that this version needs is not there.", _UPDATE),
    "42703": StoreFault("TABLES_MISSING", "A column that this version needs is not there.", _UPDATE),
    "42883": StoreFault("TABLES_MISSING", "A function that this version needs is not there.", _UPDATE),
    "42704": StoreFault("TABLES_MISSING", "A type that this version needs is not there.", _UPDATE),
    "3F000": StoreFault("TABLES_MISSING", "The schema of the tables is not there.", _UPDATE),
    "25006": StoreFault(
        "READ_ONLY",
        "The server is read-only.",
        "Connect to the primary: target_session_attrs=read-write.",
        passes=True,
    ),
    "53100": StoreFault("DISK_FULL", "The server's disk is full.", "Free or add disk space; no data is lost."),
    "53200": StoreFault("OUT_OF_MEMORY", "The server has no memory left.", _WAIT, passes=True),
    "53300": StoreFault(
        "TOO_MANY_CONNECTIONS",
        "The server takes no more connections.",
        "Raise max_connections or the pooler's limit, or run fewer processes (each opens up to 10).",
        passes=True,
    ),
    "57P01": StoreFault("SHUTTING_DOWN", "The server is shutting down or ended the connection.", _WAIT, passes=True),
    "57P02": StoreFault("SHUTTING_DOWN", "The server ended after a crash.", _WAIT, passes=True),
    "57P03": StoreFault("STARTING", "The server is starting up.", _WAIT, passes=True),
}
# Messages of PostgreSQL and PgBouncer that share one SQLSTATE: the first match counts.
_WORDS: tuple[tuple[str, StoreFault], ...] = (
    (
        r"no encrypti|SSL off|SSL required",
        StoreFault(
            "TLS_NEEDED",
            "The server accepts only TLS connections.",
            "Write sslmode=verify-full; PgBouncer's own is server_tls_sslmode.",
        ),
    ),
    (
        r"no pg_hba.conf entry",
        StoreFault(
            "LOGIN_REFUSED", "No line of pg_hba.conf allows this login.", "Add one for the role, host and database."
        ),
    ),
    (
        r"client certificate",
        StoreFault("CERTIFICATE_NEEDED", "The server asks for a client certificate.", "Set sslcert and sslkey."),
    ),
    (
        r"not permitted to log in",
        StoreFault("LOGIN_REFUSED", "The role may not log in.", "ALTER ROLE … LOGIN, or take another role."),
    ),
    (
        r"server_login_retry|server login has been failing",
        StoreFault(
            "POOLER_WAITS",
            "The pooler could not log in to PostgreSQL and waits before it tries again.",
            "If PostgreSQL is back, lower PgBouncer's server_login_retry (1); else see PgBouncer's log.",
            passes=True,
        ),
    ),
    (
        r"unsupported startup parameter",
        StoreFault(
            "POOLER_REFUSES",
            "The pooler refuses a parameter of the URL.",
            "Remove options from the URL, or add it to PgBouncer's ignore_startup_parameters.",
        ),
    ),
    (
        r"query_wait_timeout|max_client_conn|no more connections allowed",
        StoreFault(
            "TOO_MANY_CONNECTIONS",
            "The pooler has no connection left.",
            "Raise default_pool_size or max_client_conn.",
            True,
        ),
    ),
    (
        r"no such database",
        StoreFault(
            "UNKNOWN_DATABASE", "The pooler knows no such database.", "Add it to PgBouncer, or correct the URL."
        ),
    ),
    (
        r"(SASL|password) authentication failed|auth failed|no such user",
        StoreFault("WRONG_PASSWORD", "The password, or the role, is refused.", "Correct both in the database's URL."),
    ),
    (
        r"rejected SSL upgrade",
        StoreFault(
            "NO_TLS",
            "The server speaks no TLS.",
            "Switch TLS on there, or write sslmode=disable on a network you trust.",
        ),
    ),
)
_POOL_EXHAUSTED = StoreFault(
    "POOL_EXHAUSTED",
    "All connections of this process are in use.",
    "Run more processes, or find what is slow.",
    passes=True,
)
_NO_STATE = StoreFault("REFUSED", "The server refuses the connection.", "See the server's own log.")


def database_fault(error: BaseException | None) -> StoreFault | None:
    """The fault behind an error of PostgreSQL; None where neither the server nor its setup is at fault."""
    if isinstance(error, PoolExhausted):
        return _POOL_EXHAUSTED
    for cause in _causes(error):
        state = getattr(cause, "sqlstate", None)
        # The driver's error for a closed connection; its cause may be further down.
        is_lost = isinstance(cause, asyncpg.ConnectionDoesNotExistError) or state == "08003"
        if (isinstance(cause, asyncpg.PostgresError) or state) and not is_lost:
            return _of_state(state or "", str(cause))
        if isinstance(cause, asyncpg.TargetServerAttributeNotMatched):
            return _STATES["25006"]
    return _of_connection(error, "sslrootcert", "sslmode=disable", "sslcert and sslkey")


def is_setup(error: BaseException) -> bool:
    """Whether PostgreSQL refuses a statement because of its setup: tables, rights, disk space.

    Nothing is wrong with what was to be written then; it is tried again once that is corrected.
    """
    state = next((found for cause in _causes(error) if (found := getattr(cause, "sqlstate", None))), "")
    return state in _SETUP and _of_state(state, " ".join(str(cause) for cause in _causes(error))) is not None


_SETUP = frozenset({"42501", "42P01", "42703", "42883", "42704", "3F000", "25006", "53100", "53200"})


def _of_state(state: str, words: str) -> StoreFault | None:
    if state == "42501" and "row-level security" in words:
        # A statement of ours for another tenant's rows: a bug, not a fault of the store.
        return None
    if state[:2] in ("08", "28"):
        for pattern, fault in _WORDS:
            if re.search(pattern, words, re.IGNORECASE):
                return fault
    if state in _STATES:
        return _STATES[state]
    return _NO_STATE if state[:2] in ("08", "28", "53", "58") else None


_BUSY = StoreFault("LOADING", "The server is loading its data.", _WAIT, passes=True)
_OF_REDIS: tuple[tuple[type[Exception], str, StoreFault], ...] = (
    (
        redis_errors.AuthenticationError,
        "",
        StoreFault("WRONG_PASSWORD", "The password, or the user, is refused or missing.", "Correct it in REDIS_URL."),
    ),
    (
        redis_errors.NoPermissionError,
        "",
        StoreFault(
            "MISSING_RIGHT", "The user lacks a right.", "docs/how-to/redis-rights.md has the line for ACL SETUSER."
        ),
    ),
    (redis_errors.BusyLoadingError, "", _BUSY),
    (
        redis_errors.ReadOnlyError,
        "",
        StoreFault("READ_ONLY", "The server is a replica.", "Give REDIS_URL the address of the primary.", passes=True),
    ),
    (
        redis_errors.OutOfMemoryError,
        "",
        StoreFault(
            "OUT_OF_MEMORY",
            "The server is full.",
            "Raise maxmemory, or empty it: nothing in it must be kept.",
            passes=True,
        ),
    ),
    (
        redis_errors.MovedError,
        "",
        StoreFault("CLUSTER", "The server is part of a cluster.", "Take one without cluster mode, or its proxy."),
    ),
    (
        redis_errors.ResponseError,
        r"MISCONF",
        StoreFault("DISK_FULL", "The server cannot write its data and refuses changes.", "Its log says why."),
    ),
    (
        redis_errors.ResponseError,
        r"unknown command",
        StoreFault("COMMAND_MISSING", "The server does not know a command.", "Take Redis 6.2, Valkey 7.2, or newer."),
    ),
    (
        redis_errors.ResponseError,
        r"DB index|invalid DB",
        StoreFault("UNKNOWN_DATABASE", "The server has no database of that number.", "Correct it in REDIS_URL."),
    ),
    (
        redis_errors.RedisError,
        r"max number of clients",
        StoreFault("TOO_MANY_CONNECTIONS", "The server takes no more connections.", "Raise maxclients.", passes=True),
    ),
)


def redis_fault(error: BaseException | None) -> StoreFault | None:
    """The fault behind an error of Redis; None where neither the server nor its setup is at fault."""
    for kind, pattern, fault in _OF_REDIS:
        if isinstance(error, kind) and re.search(pattern, str(error), re.IGNORECASE):
            return fault
    if isinstance(error, redis_errors.ResponseError):
        return _NO_STATE
    return _of_connection(error, "ssl_ca_certs", "redis://", "ssl_certfile and ssl_keyfile")


def fault_fields(error: BaseException) -> dict[str, str]:
    """The fields of a log line about an error of Redis, with its kind."""
    fault = redis_fault(error)
    fields: dict[str, str] = {"error": type(error).__name__, "kind": fault.code if fault else type(error).__name__}
    if fault is None:
        return fields
    # "This user has no permissions to run the 'info' command": names of commands, and no values.
    said = {"said": str(error)} if fault.code == "MISSING_RIGHT" else {}
    return {**fields, "reason": str(fault), "level": "warning" if fault.passes else "error", **said}


def _of_connection(error: BaseException | None, ca: str, plain: str, certificate: str) -> StoreFault | None:
    """The fault behind a connection error; the names are those of the URL's parameters."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return _of_tls(cause, ca, plain, certificate)
        if isinstance(cause, socket.gaierror | UnicodeError):
            return StoreFault("UNKNOWN_HOST", "The host name cannot be resolved.", "Correct the URL, or DNS.", True)
        for pattern, fault in _WORDS:
            if isinstance(cause, ConnectionError) and re.search(pattern, str(cause)):
                return fault
        if isinstance(cause, FileNotFoundError):
            return StoreFault("UNREACHABLE", "The Unix socket is not there.", "Is the server running?", True)
        if isinstance(cause, PermissionError):
            return StoreFault("UNREACHABLE", "The Unix socket may not be opened.", "Correct its permissions.", True)
        if isinstance(cause, ConnectionRefusedError):
            return StoreFault("UNREACHABLE", "Nothing listens at the address.", "Is the server running?", True)
        if isinstance(cause, TimeoutError | redis_errors.TimeoutError):
            return StoreFault(
                "NO_ANSWER",
                "The server did not answer in time.",
                "Check for overload, a firewall, and TLS that is on at one end only.",
                True,
            )
    if any(isinstance(cause, _LOST) for cause in _causes(error)):
        advice = "If it goes on: is TLS on at both ends, and is a client certificate one that the server trusts?"
        return StoreFault("CONNECTION_LOST", "The connection cannot be made, or broke.", advice, True)
    return None


_LOST = (
    OSError,
    redis_errors.ConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
)

# https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_EXPIRED, _REVOKED, _OTHER_NAME = (9, 10), (3, 11, 12, 23), (62, 64)


def _of_tls(error: ssl.SSLError, ca: str, plain: str, certificate: str) -> StoreFault:
    code = getattr(error, "verify_code", None)
    if code in _OTHER_NAME:
        advice = "Write the host in the URL as the certificate has it, or make one for this host."
        return StoreFault("CERTIFICATE_NAME", "The server's certificate is for another host name.", advice)
    if code in _EXPIRED:
        advice = "Renew it, and check this machine's clock."
        return StoreFault("CERTIFICATE_EXPIRED", "The server's certificate has expired, or is not valid yet.", advice)
    if code in _REVOKED:
        advice = "Renew the certificate, or the revocation list in the URL."
        return StoreFault(
            "CERTIFICATE_REVOKED", "The certificate is revoked, or its revocation list is not there.", advice
        )
    if code is not None:
        advice = f"Name the file of the server's CA: {ca}=/path/ca.pem. docs/how-to/private-ca.md"
        return StoreFault("CERTIFICATE_UNTRUSTED", "The certificate was not signed by a trusted CA.", advice)
    reason = error.reason or ""
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        advice = f"Give one that the server trusts: {certificate}."
        return StoreFault("CERTIFICATE_NEEDED", "The server asks for a client certificate it trusts.", advice)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"):
        advice = f"Is it the TLS port? Without TLS, on a network you trust: {plain}"
        return StoreFault("NO_TLS", "The server speaks no TLS at this port.", advice)
    return StoreFault("TLS_FAILED", "The TLS handshake failed.", "Compare the TLS versions and ciphers of both ends.")


def driver_error(error: BaseException | None) -> BaseException | None:
    """The driver's own error, which SQLAlchemy wraps."""
    return next((one for one in _causes(error) if isinstance(one, asyncpg.PostgresError)), error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        original = getattr(error, "orig", None)
        if isinstance(original, BaseException):
            yield original
        error = error.__cause__ or error.__context__
