"""Health checks: `live` uses no store; `ready` checks every part and names those that fail."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.bootstrap import App
from api.migrations import current_revision, head_revision, is_current
from core.errors import AppError
from core.liveness import count_live_workers, workers_missing_keys
from core.store_faults import StoreFault, database_fault, redis_fault

_LIMIT = 3.0
_ESCAPES = text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
_DANGER = (
    "DATABASE_URL's login is a superuser or has BYPASSRLS: nothing in the database keeps tenants apart from it."
    " Give it one that has only been granted interalpha_app."
)


class Readiness:
    """Asks the stores of one application; `draining` is set once the process has been told to end."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.draining = asyncio.Event()

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Say whether the process may be given work, and how each part is."""
        database, redis = await asyncio.gather(_within_limit(self._ask_database), _within_limit(self._ask_redis))
        parts = {"redis": redis, **database} if "postgres" in database else {"postgres": database, "redis": redis}
        if self.draining.is_set():
            parts["process"] = {"ok": False, "detail": "draining: it has been told to end"}
        return all(part["ok"] for part in parts.values()), parts

    async def _ask_database(self) -> dict[str, Any]:
        async with self._app.database.transaction() as connection:
            escapes = (await connection.execute(_ESCAPES)).scalar_one()
            revision, workers, lacking = await current_revision(connection), 0, list[str]()
            if is_current(revision):
                workers = await count_live_workers(connection)
                lacking = [f"{name} lacks {keys}" for name, keys in await workers_missing_keys(connection)]
        head = head_revision()
        return {
            "postgres": {"ok": True},
            "isolation": {"ok": not escapes, "detail": _DANGER if escapes else "row-level security holds"},
            "migrations": {
                "ok": is_current(revision),
                "detail": f"at {revision or 'none'}, {head} is the newest"
                + ("" if is_current(revision) else ": interalpha migrate up"),
            },
            "worker": {"ok": workers > 0, "detail": f"{workers} seen lately"},
            # A finding for the operator, and no reason to give this process no work: what lacks a key waits.
            **({"keys": {"ok": True, "detail": f"{'; '.join(lacking)}: messages wait for that"}} if lacking else {}),
        }

    async def _ask_redis(self) -> dict[str, Any]:
        await self._app.redis.echo("ready")
        return {"ok": True}


async def _within_limit(ask: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    asking = asyncio.create_task(ask())
    try:
        await asyncio.wait({asking}, timeout=_LIMIT)
        if not asking.done():
            return _why(database_fault(TimeoutError()), TimeoutError())
        return asking.result()
    except RedisError as error:
        return _why(redis_fault(error), error)
    except (AppError, SQLAlchemyError, OSError) as error:
        return _why(database_fault(error), error)
    finally:
        # Closing a connection that hangs takes seconds, and the caller cannot wait for that.
        asking.cancel()
        asking.add_done_callback(_forget)


def _why(fault: StoreFault | None, error: Exception) -> dict[str, Any]:
    if fault is None:
        return {"ok": False, "code": "UNKNOWN", "detail": type(error).__name__}
    return {"ok": False, "code": fault.code, "detail": f"{fault.detail} {fault.advice}"}


def _forget(asking: asyncio.Task[dict[str, Any]]) -> None:
    if not asking.cancelled():
        asking.exception()


def health_routes(readiness: Readiness) -> list[HTTPRouteHandler]:
    """Give the routes under /health."""

    @get("/health/live", include_in_schema=False, sync_to_thread=False)
    def live() -> dict[str, str]:
        return {"status": "live"}

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[dict[str, Any]]:
        is_ready, parts = await readiness.report()
        content = {"status": "ready" if is_ready else "not ready", "parts": parts}
        return Response(content, status_code=200 if is_ready else 503, headers={"cache-control": "no-store"})

    return [live, ready]
