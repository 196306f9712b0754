"""Asking PostgreSQL and Redis whether they let us in and grant all that we need: `interalpha check --probe`."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.migrations import current_revision, head_revision, is_current
from core.database import NOT_CONNECTED, make_engine
from core.ports import Finding, Severity
from core.pubsub import connect_redis
from core.settings import CoreSettings
from core.store_faults import StoreFault, database_fault, redis_fault

_SECONDS = 20.0
_OLDEST_POSTGRESQL = 150_000
_OLDEST_REDIS = (6, 2)

# What a role is and may; a right that nobody could have granted yet counts as missing.
_ROLE = text("""
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
           current_user AS name, rolsuper OR rolbypassrls AS escapes, pg_is_in_recovery() AS is_standby,
           CASE WHEN to_regrole('interalpha_app') IS NULL THEN false
                ELSE pg_has_role(current_user, to_regrole('interalpha_app'), 'USAGE') END AS is_app,
           CASE WHEN to_regrole('interalpha_worker') IS NULL THEN false
                ELSE pg_has_role(current_user, to_regrole('interalpha_worker'), 'USAGE') END AS is_worker,
           has_schema_privilege(current_user, current_schema(), 'CREATE') AS may_create,
           coalesce((SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class
                     WHERE oid = to_regclass('alembic_version')), true) AS owns_tables,
           CASE WHEN to_regclass('alembic_version') IS NULL THEN true
                ELSE has_table_privilege(current_user, to_regclass('alembic_version'), 'SELECT') END AS may_read
    FROM pg_roles WHERE rolname = current_user
""")

# Each command the product needs, SAQ and redis-py included; `docs/how-to/redis-rights.md` grants these and no others.
COMMANDS: Sequence[Sequence[str | int | float]] = (
    ("PING",),
    ("ECHO", "ready"),
    ("INFO", "server"),
    ("TIME",),
    ("EVAL", "return 1", 0),
    ("EVALSHA", hashlib.sha1(b"return 1", usedforsecurity=False).hexdigest(), 0),
    ("SCRIPT", "LOAD", "return 1"),
    ("PUBLISH", "interalpha:probe", ""),
    ("SET", "{text}", "1", "PX", 60_000),
    ("SETEX", "{text}", 60, "1"),
    ("GET", "{text}"),
    ("GETEX", "{text}", "EX", 60),
    ("MGET", "{text}"),
    ("EXISTS", "{text}"),
    ("EXPIRE", "{text}", 60),
    ("PEXPIRE", "{text}", 60_000),
    ("HSET", "{hash}", "field", "1"),
    ("HSETNX", "{hash}", "field", "1"),
    ("HGET", "{hash}", "field"),
    ("HMGET", "{hash}", "field"),
    ("HDEL", "{hash}", "field"),
    ("ZADD", "{set}", 1, "member"),
    ("ZSCORE", "{set}", "member"),
    ("ZCARD", "{set}"),
    ("ZRANGEBYSCORE", "{set}", 0, 1),
    ("ZREMRANGEBYSCORE", "{set}", 0, 0),
    ("ZREM", "{set}", "nobody"),
    ("ZPOPMIN", "{set}", 1),
    ("RPUSH", "{list}", "item"),
    ("LRANGE", "{list}", 0, -1),
    ("LLEN", "{list}"),
    ("BLMOVE", "{list}", "{list}", "LEFT", "RIGHT", 0.01),
    ("LREM", "{list}", 0, "item"),
    ("DEL", "{text}", "{hash}", "{set}", "{list}"),
)
KEYS = ("interalpha:", "saq:interalpha:", "saq:job:interalpha:", "saq:abort:")
CHANNELS = ("interalpha:", "saq:job:interalpha:")
_WITHOUT = {
    "INFO": "without it the worker takes no wake-ups, and every message waits up to a second",
    "BLMOVE": "without it the worker takes no wake-ups, and every message waits up to a second",
    "EVALSHA": "without it rate limits are not shared between processes",
    "SUBSCRIBE": "without it subscriptions receive changes late",
}
_RIGHTS_PAGE = "docs/how-to/redis-rights.md has the line for ACL SETUSER."


async def probe_stores(settings: CoreSettings) -> Mapping[str, Sequence[Finding]]:
    """Ask every store that is set, at once; by the name of its setting."""
    app, worker, direct = settings.database_url, settings.database_url_worker, settings.database_url_direct
    asked: dict[str, Awaitable[Sequence[Finding]]] = {}
    if app is not None:
        is_shared = worker is None
        asked["DATABASE_URL"] = _ask_postgresql(app.get_secret_value(), lambda c: _as_login(c, True, is_shared))
    if worker is not None:
        asked["DATABASE_URL_WORKER"] = _ask_postgresql(worker.get_secret_value(), lambda c: _as_login(c, False, True))
    if direct is not None:
        asked["DATABASE_URL_DIRECT"] = _ask_postgresql(direct.get_secret_value(), _as_owner)
    if settings.redis_url is not None:
        asked["REDIS_URL"] = _ask_redis(settings.redis_url.get_secret_value())
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))


Look = Callable[[AsyncConnection], Awaitable[Sequence[Finding]]]


async def _ask_postgresql(url: str, look: Look) -> Sequence[Finding]:
    engine = make_engine(url, prepared_statements=False, pool_size=1)
    try:
        async with asyncio.timeout(_SECONDS), engine.connect() as connection:
            return await look(connection)
    except (*NOT_CONNECTED, DBAPIError) as error:
        return [_critical(database_fault(error), error)]
    finally:
        await engine.dispose()


async def _as_login(connection: AsyncConnection, for_app: bool, for_worker: bool) -> Sequence[Finding]:
    role = (await connection.execute(_ROLE)).one()
    found: list[Finding] = []
    if role.escapes:
        fix = "Give it one that has only been granted interalpha_app or interalpha_worker."
        detail = f"{role.name} is a superuser or has BYPASSRLS: row-level security does not limit it."
        found.append(Finding("ROLE_ESCAPES", Severity.CRITICAL, detail, fix))
    revision = await current_revision(connection) if role.may_read else None
    if for_app and not role.is_app:
        fix = f'GRANT interalpha_app TO "{role.name}";'
        found.append(_missing(f"{role.name} was not granted interalpha_app: the API needs it.", fix))
    if for_worker and not role.is_worker:
        fix = f'GRANT interalpha_worker TO "{role.name}"; or give the worker a login of its own: DATABASE_URL_WORKER.'
        found.append(_missing(f"{role.name} was not granted interalpha_worker: the worker needs it.", fix))
    if role.may_read and not is_current(revision):
        detail = f"The tables are at {revision or 'none'}, this version needs {head_revision()}."
        found.append(Finding("TABLES_MISSING", Severity.CRITICAL, detail, "Run `interalpha migrate up`."))
    return [*found, *_about_server(role)] or [_well(f"PostgreSQL {role.version}, as {role.name}, tables at {revision}")]


async def _as_owner(connection: AsyncConnection) -> Sequence[Finding]:
    role = (await connection.execute(_ROLE)).one()
    found: list[Finding] = []
    if not (role.may_create and role.owns_tables):
        detail = f"{role.name} may not change the tables: migrations would fail."
        found.append(
            Finding("MISSING_RIGHT", Severity.CRITICAL, detail, "Take the login that ran the first migration.")
        )
    return [*found, *_about_server(role)] or [_well(f"PostgreSQL {role.version}, as {role.name}, may migrate")]


def _about_server(role: object) -> Sequence[Finding]:
    found: list[Finding] = []
    if getattr(role, "number", 0) < _OLDEST_POSTGRESQL:
        found.append(Finding("TOO_OLD", Severity.CRITICAL, "PostgreSQL is older than 15.", "Update it."))
    if getattr(role, "is_standby", False):
        fix = "Connect to the primary: target_session_attrs=read-write."
        found.append(Finding("READ_ONLY", Severity.CRITICAL, "The server is a standby.", fix))
    return found


async def _ask_redis(url: str) -> Sequence[Finding]:
    client = connect_redis(url)
    try:
        async with asyncio.timeout(_SECONDS):
            await client.echo("ready")
            denied = await _denied(client)
            if denied:
                return [_refused(name, said) for name, said in denied.items()]
            return await _about_redis(client)
    except NoPermissionError as error:
        return [_refused("ECHO", str(error))]
    except (RedisError, OSError) as error:
        return [_critical(redis_fault(error), error)]
    finally:
        await client.aclose()


async def _denied(client: Redis) -> Mapping[str, str]:
    """Try every command, key and channel; returns what is refused for want of a right, and the server's words."""
    name = f"interalpha:probe:{uuid4().hex}"
    places = {kind: f"{name}:{kind}" for kind in ("text", "hash", "set", "list")}
    denied: dict[str, str] = {}

    async def attempt(what: str, asking: Awaitable[object]) -> None:
        try:
            await asking
        except ResponseError as error:
            # Also what a provider has renamed or switched off.
            denied[what] = str(error)

    for prefix in KEYS:
        await attempt(f"keys {prefix}*", client.exists(f"{prefix}probe"))
    for prefix in CHANNELS:
        await attempt(f"channel {prefix}*", client.publish(f"{prefix}probe", ""))
    # Who may not run these two is told so by the commands; who lacks a key would be told so once for each of them.
    denied = {what: said for what, said in denied.items() if "run the" not in said}
    if denied:
        return denied
    for command, *arguments in COMMANDS:
        filled = [one.format_map(places) if isinstance(one, str) else one for one in arguments]
        what = f"{command} LOAD" if command == "SCRIPT" else str(command)
        await attempt(what, client.execute_command(str(command), *filled))  # type: ignore[no-untyped-call]
    pipeline = client.pipeline(transaction=True)
    pipeline.exists(places["text"])
    await attempt("MULTI and EXEC", pipeline.execute())
    await attempt("SUBSCRIBE", _subscribe(client))
    for place in places.values():
        # Where DEL is refused, a time-out ends what has one.
        with suppress(NoPermissionError):
            await client.delete(place)
    return denied


async def _subscribe(client: Redis) -> None:
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("interalpha:probe")
        await pubsub.get_message(timeout=1.0)
        await pubsub.ping()


async def _about_redis(client: Redis) -> Sequence[Finding]:
    info = await client.info()
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    number = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2] if part.isdigit())
    found: list[Finding] = []
    if number < _OLDEST_REDIS:
        found.append(Finding("TOO_OLD", Severity.CRITICAL, f"Redis {version} is older than 6.2.", "Update it."))
    if info.get("cluster_enabled"):
        fix = "Take a server without cluster mode: scripts here use several keys."
        found.append(Finding("CLUSTER", Severity.CRITICAL, "The server runs in cluster mode.", fix))
    if info.get("role") == "slave":
        fix = "Give REDIS_URL the address of the primary."
        found.append(Finding("READ_ONLY", Severity.CRITICAL, "The server is a replica.", fix))
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and policy != "noeviction":
        detail = f"maxmemory-policy is {policy}: wake-ups and rate limits may be evicted."
        found.append(Finding("EVICTION", Severity.WARNING, detail, "Set maxmemory-policy noeviction."))
    return found or [
        _well(f"{'Valkey' if 'valkey_version' in info else 'Redis'} {version}, every right that is needed")
    ]


def _refused(name: str, said: str) -> Finding:
    why = f": {_WITHOUT[name]}" if name in _WITHOUT else ""
    return _missing(f"The user lacks the right to {name}{why}. ({said})", _RIGHTS_PAGE)


def _missing(detail: str, fix: str) -> Finding:
    return Finding("MISSING_RIGHT", Severity.CRITICAL, detail, fix)


def _critical(fault: StoreFault | None, error: BaseException) -> Finding:
    if fault is None:
        return Finding("UNKNOWN", Severity.CRITICAL, f"It fails with {type(error).__name__}.", "See its log.")
    return Finding(fault.code, Severity.CRITICAL, fault.detail, fault.advice)


def _well(words: str) -> Finding:
    return Finding("READY", Severity.INFO, f"{words}.", "")
