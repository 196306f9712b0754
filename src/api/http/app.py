"""The web application: GraphQL, webhooks, health and metrics of one installation."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from litestar import Litestar, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from sqlalchemy.exc import SQLAlchemyError

from api.bootstrap import App
from api.http.auth import Authenticator, bearer_token
from api.http.documents import DocumentStore, PersistedQueries, TrustedDocuments
from api.http.edge import Edge, SchemaAccess, SocketLimits
from api.http.errors_page import errors_route
from api.http.explorer import explorer_routes
from api.http.graphql import reject_over_limit
from api.http.graphql import routes as graphql_routes
from api.http.health import Readiness, health_routes
from api.http.ip_limit import TrustedProxies, charge_of
from api.http.limits import LimitsMiddleware, default_headers
from api.http.metrics import render
from api.http.quotas import Meter, OpenStreams
from api.http.webhooks import webhook_routes
from api.migrations import head_revision
from api.process import process_name, run_forever
from core import liveness
from core.errors import AppError
from core.liveness import ACTIVITY_INTERVAL, Activity, ActivityReporter
from core.messages import accept
from core.ports.identity import DEFAULT_TENANT, Principal, Scope
from core.providers.ledger import FLUSH_INTERVAL
from core.rate_limit import Budget, BudgetResult
from core.settings import CoreSettings
from core.settings.addresses import origin_of
from engine.engine import Engine
from resolvers.context import Context
from resolvers.errors import translate
from resolvers.schema import build_schema

log = structlog.get_logger(__name__)

BATCH_SECONDS = 30.0
"""How long handing in hundreds of messages at once may take."""


def create_asgi_app(app: App, readiness: Readiness) -> LimitsMiddleware:
    """Make the ASGI application; its lifespan runs the server's loops and closes the connections at the end."""
    authenticator = Authenticator(app)
    edge = _edge(app, authenticator, readiness.draining)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        loops = [asyncio.create_task(loop) for loop in _loops(app)]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await _leave(app)
            await app.close()

    handlers = Litestar(
        [
            *graphql_routes(edge),
            *webhook_routes(app),
            *health_routes(readiness),
            *explorer_routes(app),
            errors_route(),
            _metrics_route(authenticator),
        ],
        lifespan=[lifespan],
        openapi_config=None,
        # Requests are logged by what handles them; the framework's own log would print bodies.
        logging_config=None,
    )
    return LimitsMiddleware(
        handlers,
        per_minute=app.settings.address_budget or None,
        proxies=TrustedProxies(app.settings.trusted_proxies),
        defaults=default_headers(app.settings.public_base_url),
        reject=partial(reject_over_limit, edge),
    )


def _edge(app: App, authenticator: Authenticator, draining: asyncio.Event) -> Edge:
    settings = app.settings

    def make_context(
        caller: Principal | None, request_id: str, languages: Sequence[str], allowance: BudgetResult | None
    ) -> Context:
        return Context(app.services, caller, request_id, languages, allowance)

    trusted = TrustedDocuments(settings.trusted_documents, settings.trusted_documents_mode)
    persisted = PersistedQueries(app.redis) if settings.persisted_queries else None
    return Edge(
        engine=Engine(
            build_schema()._schema,
            translate=translate,
            time_limit=settings.operation_seconds,
            longer={"sendMessages": max(BATCH_SECONDS, settings.operation_seconds)},
        ),
        authenticator=authenticator,
        schema_access=_schema_access(settings),
        make_context=make_context,
        allowed_origins=frozenset({origin_of(settings.public_base_url), *settings.cors_origins}),
        documents=DocumentStore(trusted, persisted),
        streams=OpenStreams(settings.sockets_per_caller),
        socket_limits=SocketLimits(settings.operations_per_socket, settings.socket_frame_limit),
        cookies=app.identities.cookies if app.identities is not None else (),
        draining=draining,
        interpreter=app.services.interpreter,
        meter=Meter(
            Budget(app.redis),
            min(settings.operation_cost, settings.caller_budget, settings.tenant_budget),
            settings.caller_budget,
            settings.tenant_budget,
        ),
    )


def _loops(app: App) -> Sequence[Coroutine[None, None, None]]:
    """What goes on while the application runs: hearing hints, taking webhooks in, counting what waits."""
    ingress, outbox = ActivityReporter(app.database, Activity.INGRESS), app.services.outbox

    async def beat() -> None:
        await ingress.beat()
        await asyncio.sleep(ACTIVITY_INTERVAL)

    async def count() -> None:
        await outbox.pressure.look(list(outbox.channels))
        await asyncio.sleep(accept.BACKPRESSURE_INTERVAL)

    async def say_we_live() -> None:
        await liveness.record_server(app.database, process_name(), head_revision())
        await asyncio.sleep(liveness.HEARTBEAT_INTERVAL)

    async def count_calls() -> None:
        await app.ledger.flush(app.database)
        await asyncio.sleep(FLUSH_INTERVAL)

    turns = {"ledger": count_calls, "hints": app.hub.run, "pulse": beat, "pressure": count, "heartbeat": say_we_live}
    return [run_forever(name, turn) for name, turn in turns.items()]


async def _leave(app: App) -> None:
    try:
        await liveness.remove_server(app.database, process_name())
    except (AppError, SQLAlchemyError) as error:
        # Its last beat grows old by itself.
        log.info("server_left_silently", reason=type(error).__name__)


def _schema_access(settings: CoreSettings) -> SchemaAccess:
    if not settings.is_production:
        return SchemaAccess.EVERYONE
    # The Explorer needs the schema; in production only callers with credentials may read it.
    return SchemaAccess.CALLERS if settings.has_explorer else SchemaAccess.NOBODY


def _metrics_route(authenticator: Authenticator) -> HTTPRouteHandler:
    @get("/metrics", include_in_schema=False)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            caller = await authenticator.authenticate(bearer_token(request.headers.get("authorization")))
            if caller is not None:
                charge_of(request.scope).refund()
                caller.require(Scope.OPERATIONS_READ)
        except AppError:
            caller = None
        if caller is None:
            return Response(b"", status_code=401, headers={"www-authenticate": "Bearer"})
        if caller.tenant_id != DEFAULT_TENANT:
            # They count what everybody here does.
            return Response(
                b"Metrics are for the operator of this server: use credentials of its default tenant.\n",
                status_code=403,
            )
        return Response(render(), media_type="text/plain; version=0.0.4")

    return metrics
