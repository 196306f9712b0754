"""The web application: GraphQL, webhooks, health and metrics over one house."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable, Sequence
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
from api.http.edge import Callers, Edge, SocketLimits
from api.http.errors_page import errors_route
from api.http.explorer import explorer_routes
from api.http.graphql import reject_over_limit
from api.http.graphql import routes as graphql_routes
from api.http.health import Readiness, health_routes
from api.http.ip_limit import TrustedProxies, charge_of
from api.http.limits import LimitsMiddleware, default_headers
from api.http.metrics import render
from api.http.quotas import Accounts, Meter, OpenStreams
from api.http.webhooks import webhook_routes
from api.migrations import head_revision
from api.process import process_name, run_forever
from core import liveness
from core.errors import AppError
from core.liveness import ACTIVITY_INTERVAL, Activity, ActivityReporter
from core.messages import accept
from core.ports.principal import DEFAULT_TENANT, Principal, Scope
from core.rate_limit import Budget
from core.settings import CoreSettings
from core.settings.addresses import origin_of
from engine.engine import Engine
from resolvers.context import Context
from resolvers.errors import translate
from resolvers.schema import build_schema

log = structlog.get_logger(__name__)

BATCH_SECONDS = 30.0
"""How long handing in hundreds of messages at once may take."""


def create_asgi_app(house: App, readiness: Readiness) -> LimitsMiddleware:
    """Make the application; it hears hints while it runs and closes the house at its end."""
    authenticate = Authenticator(house)

    edge = _edge(house, authenticate, readiness.draining)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        loops = [asyncio.create_task(loop) for loop in _loops(house)]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await _leave(house)
            await house.close()

    app = Litestar(
        [
            *graphql_routes(edge),
            *webhook_routes(house),
            *health_routes(readiness),
            *explorer_routes(house),
            errors_route(),
            _metrics_route(authenticate),
        ],
        lifespan=[lifespan],
        openapi_config=None,
        # Requests are logged by what handles them; the framework's own log would print bodies.
        logging_config=None,
    )
    return LimitsMiddleware(
        app,
        per_minute=house.settings.address_budget or None,
        neighbourhood=TrustedProxies(house.settings.trusted_proxies),
        standing=default_headers(house.settings.public_base_url),
        turn_away=partial(reject_over_limit, edge),
    )


def _edge(house: App, authenticate: Authenticator, draining: asyncio.Event) -> Edge:
    settings = house.settings

    def make_context(caller: Principal | None, request_id: str, languages: Sequence[str]) -> Context:
        return Context(house.services, caller, request_id, languages)

    trusted = TrustedDocuments(settings.trusted_documents, settings.trusted_documents_mode)
    persisted = PersistedQueries(house.redis) if settings.persisted_queries else None
    return Edge(
        engine=Engine(
            build_schema()._schema,
            translate=translate,
            time_limit=settings.operation_seconds,
            longer={"sendMessages": max(BATCH_SECONDS, settings.operation_seconds)},
        ),
        callers=Callers(
            authenticate=authenticate,
            introspection=lambda caller: _may_read_schema(settings, caller),
            identity=lambda caller: caller and (caller.subject, caller.actor, _authority(caller)),
            authority=_authority,
            expires_at=lambda caller: caller and caller.expires_at,
            is_believed=authenticate.is_believed,
        ),
        make_context=make_context,
        allowed_origins=frozenset({origin_of(settings.public_base_url), *settings.cors_origins}),
        library=DocumentStore(trusted, persisted),
        presence=OpenStreams(settings.sockets_per_caller),
        socket_limits=SocketLimits(settings.operations_per_socket, settings.socket_frame_limit),
        cookies=house.identities.cookies if house.identities is not None else (),
        draining=draining,
        interpreter=house.services.interpreter,
        meter=Meter(
            Budget(house.redis),
            min(settings.operation_cost, settings.caller_budget, settings.tenant_budget),
            Accounts(settings.caller_budget, settings.tenant_budget),
        ),
    )


def _authority(caller: Principal | None) -> Hashable:
    return caller and (caller.tenant_id, frozenset(caller.scopes))


def _loops(house: App) -> Sequence[Coroutine[None, None, None]]:
    """What goes on while the application runs: hearing hints, taking webhooks in, counting what waits."""
    ingress, outbox = ActivityReporter(house.database, Activity.INGRESS), house.services.outbox

    async def beat() -> None:
        await ingress.beat()
        await asyncio.sleep(ACTIVITY_INTERVAL)

    async def count() -> None:
        await outbox.pressure.look(list(outbox.channels))
        await asyncio.sleep(accept.BACKPRESSURE_INTERVAL)

    async def say_we_live() -> None:
        await liveness.record_server(house.database, process_name(), head_revision())
        await asyncio.sleep(liveness.HEARTBEAT_INTERVAL)

    turns = {"hints": house.hub.run, "pulse": beat, "pressure": count, "heartbeat": say_we_live}
    return [run_forever(name, turn) for name, turn in turns.items()]


async def _leave(house: App) -> None:
    try:
        await liveness.remove_server(house.database, process_name())
    except (AppError, SQLAlchemyError) as error:
        # Its last beat grows old by itself.
        log.info("server_left_silently", reason=type(error).__name__)


def _may_read_schema(settings: CoreSettings, caller: Principal | None) -> bool:
    # The Explorer is of little use without it; in production strangers learn nothing all the same.
    return not settings.is_production or (settings.has_explorer and caller is not None)


def _metrics_route(authenticate: Authenticator) -> HTTPRouteHandler:
    @get("/metrics", include_in_schema=False)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            caller = await authenticate(bearer_token(request.headers.get("authorization")))
            if caller is not None:
                charge_of(request.scope).believed()
                caller.require(Scope.OPERATIONS_READ)
        except AppError:
            caller = None
        if caller is None:
            return Response(b"", status_code=401, headers={"www-authenticate": "Bearer"})
        if caller.tenant_id != DEFAULT_TENANT:
            # They count what everybody here does.
            return Response(b"Metrics are for whoever runs this server: its default tenant.\n", status_code=403)
        return Response(render(), media_type="text/plain; version=0.0.4")

    return metrics
