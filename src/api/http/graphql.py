"""The GraphQL endpoint: GraphQL over HTTP, Server-Sent Events and WebSockets at one address.

It follows https://graphql.github.io/graphql-over-http/draft/ as the audits of `graphql-http` test it.
"""

from collections.abc import Mapping
from functools import partial
from math import ceil

import structlog
from graphql import OperationType
from litestar import asgi
from litestar.enums import ScopeType
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Scope, Send

from api.http.auth import identity_of, token_of
from api.http.documents import MalformedRequest, OperationRequest, read_body, read_query_string
from api.http.edge import LARGEST_REQUEST, LARGEST_WITHOUT_CREDENTIALS, Edge
from api.http.exchange import (
    METHODS,
    ClientGone,
    Exchange,
    HttpError,
    MediaType,
    cors_headers,
    is_allowed_origin,
    languages_of,
    media_type_of,
    negotiate,
    preflight_headers,
    request_id_from,
)
from api.http.quotas import TooManyOpen
from api.http.sse import Ending, stream
from api.http.websocket import serve_socket
from core.errors import Overloaded, Unauthenticated
from core.ports.identity import Principal
from core.words import say
from engine.answer import Answer, Outcome
from engine.plan import Refusal, Runnable

_TOO_MANY = say(
    "TOO_MANY_STRANGERS", "Too many requests without valid credentials came from your address. Try again later."
)

log = structlog.get_logger(__name__)


def routes(edge: Edge) -> list[ASGIRouteHandler]:
    """Return the route that serves GraphQL over HTTP, SSE and WebSockets."""

    # Raw ASGI receives every method, and sockets too, so every response has GraphQL's form.
    @asgi("/graphql", copy_scope=False)
    async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await serve_socket(edge, scope, receive, send)
        else:
            await respond(edge, Exchange(scope, receive, send))

    return [graphql]


def status_of(outcome: Outcome, media_type: MediaType) -> int:
    """Return the HTTP status of an answer; clients of `application/json` expect 200 and read the errors."""
    if outcome is Outcome.EXHAUSTED and media_type is MediaType.GRAPHQL:
        return 429
    if outcome is Outcome.MALFORMED or (outcome is Outcome.REFUSED and media_type is MediaType.GRAPHQL):
        return 400
    return 200


async def reject_over_limit(edge: Edge, scope: HTTPScope, receive: Receive, send: Send, seconds: float) -> None:
    """Reject a request from an address over its limit, without reading it."""
    exchange = Exchange(scope, receive, send)
    error = HttpError(429, "LIMIT_EXCEEDED", _TOO_MANY, {"retry-after": str(ceil(seconds))})
    await _refuse(edge, exchange, _begin(edge, exchange), error)


def _begin(edge: Edge, exchange: Exchange) -> str:
    """Set the headers of every response; returns the request id."""
    request_id = request_id_from(exchange.headers.get("x-request-id"))
    exchange.standing_headers = {
        "cache-control": "no-store",
        "vary": "accept, accept-language, origin",
        "x-content-type-options": "nosniff",
        "x-request-id": request_id,
        **edge.language_header(exchange.headers.get("accept-language")),
        **cors_headers(exchange.headers, edge.allowed_origins),
    }
    return request_id


async def respond(edge: Edge, exchange: Exchange) -> None:
    """Answer any request; never raises."""
    request_id = _begin(edge, exchange)
    try:
        await _serve(edge, exchange, request_id)
    except ClientGone:
        log.info("client_gone", request_id=request_id)
    except HttpError as error:
        await _refuse(edge, exchange, request_id, error)
    except MalformedRequest as error:
        await _refuse(edge, exchange, request_id, HttpError(400, error.code, error.message))
    except Unauthenticated as error:
        headers = {"www-authenticate": "Bearer"}
        await _refuse(edge, exchange, request_id, HttpError(401, error.code, error.message, headers))
    except Overloaded as error:
        headers = {"retry-after": str(ceil(error.retry_after))}
        await _refuse(edge, exchange, request_id, HttpError(503, error.code, error.message, headers))
    except TooManyOpen:
        message = say(
            "TOO_MANY_STREAMS", "These credentials have reached the limit of open streams and sockets. Close one first."
        )
        await _refuse(edge, exchange, request_id, HttpError(429, "LIMIT_EXCEEDED", message, {"retry-after": "5"}))
    except Exception:
        log.exception("graphql_request_failed", request_id=request_id)
        if not exchange.has_answered:
            ours = f"An internal error occurred. Quote {request_id}."
            await _refuse(edge, exchange, request_id, HttpError(500, "INTERNAL", ours))


async def _serve(edge: Edge, exchange: Exchange, request_id: str) -> None:
    _check_method_and_origin(edge, exchange)
    if exchange.method == "OPTIONS":
        allowed = preflight_headers(exchange.headers, edge.allowed_origins)
        await exchange.start(204, {"allow": METHODS, **allowed})
        await exchange.write(b"")
        return
    media_type = _media_type(exchange)
    caller = await edge.authenticator.authenticate(token_of(exchange.headers, edge.cookies))
    if caller is not None:
        exchange.charge.refund()
    elif exchange.charge.is_on_credit:
        raise Unauthenticated(_TOO_MANY)
    request = await _read(exchange, has_no_caller=caller is None)
    admission = await edge.admit(request, caller)
    plan = admission.plan
    _check_kind(plan, exchange.method, media_type)
    languages = languages_of(exchange.headers.get("accept-language"))
    context = edge.make_context(caller, request_id, languages, admission.allowance)
    if media_type is MediaType.EVENTS:
        answers = plan.stream(request.variables, context, request_id, edge.authority(caller, languages))
        with edge.streams.one_of(exchange.peer if caller is None else identity_of(caller)):
            headers = {"content-type": _content_type(media_type), **admission.headers}
            await stream(exchange, answers, headers, _ending(edge, caller))
    else:
        answer = await plan.execute(request.variables, context, request_id)
        await _answer(exchange, answer, status_of(answer.outcome, media_type), media_type, admission.headers)


def _ending(edge: Edge, caller: Principal | None) -> Ending:
    if caller is None:
        return Ending(edge.draining)
    return Ending(edge.draining, caller.expires_at, partial(edge.authenticator.until_invalid, lambda: caller))


def _check_method_and_origin(edge: Edge, exchange: Exchange) -> None:
    if exchange.method not in ("GET", "POST", "OPTIONS"):
        raise HttpError(
            405, "METHOD_NOT_ALLOWED", say("METHOD_UNKNOWN", "Use POST, or GET for queries."), {"allow": METHODS}
        )
    header = exchange.headers.get
    if not is_allowed_origin(
        origin=header("origin"),
        host=header("host"),
        fetch_site=header("sec-fetch-site"),
        allowed_origins=edge.allowed_origins,
    ):
        message = say("CROSS_SITE", "A page of another site may call this API only if CORS_ORIGINS lists its origin.")
        raise HttpError(403, "CROSS_SITE", message)


def _media_type(exchange: Exchange) -> MediaType:
    media_type = negotiate(exchange.headers.get("accept"))
    if media_type is None:
        offers = ", ".join(MediaType)
        message = say(
            "NOT_ACCEPTABLE",
            "The server cannot answer in any format of Accept. It can answer in: {offers}.",
            offers=offers,
        )
        raise HttpError(406, "NOT_ACCEPTABLE", message)
    return media_type


async def _read(exchange: Exchange, *, has_no_caller: bool) -> OperationRequest:
    if exchange.method == "GET":
        return read_query_string(exchange.query_string)
    media_type, charset = media_type_of(exchange.headers.get("content-type"))
    if media_type != MediaType.JSON or charset not in (None, "utf-8", "utf8"):
        message = say("BODY_NOT_JSON", "Send the body as 'Content-Type: application/json', in UTF-8.")
        raise HttpError(415, "UNSUPPORTED_MEDIA_TYPE", message, {"accept": MediaType.JSON})
    if exchange.headers.get("content-encoding", "identity").strip().lower() != "identity":
        message = say("BODY_COMPRESSED", "Send the body uncompressed.")
        raise HttpError(415, "UNSUPPORTED_MEDIA_TYPE", message, {"accept-encoding": "identity"})
    if has_no_caller:
        text = say(
            "BODY_WITHOUT_CREDENTIALS",
            "Without credentials, a request body may have at most {most} bytes.",
            most=LARGEST_WITHOUT_CREDENTIALS,
        )
        return read_body(await exchange.read(LARGEST_WITHOUT_CREDENTIALS, text))
    return read_body(await exchange.read(LARGEST_REQUEST))


def _check_kind(plan: Runnable | Refusal, method: str, media_type: MediaType) -> None:
    if isinstance(plan, Refusal):
        return
    if method == "GET" and plan.kind is OperationType.MUTATION:
        raise HttpError(
            405, "METHOD_NOT_ALLOWED", say("MUTATION_NEEDS_POST", "Send mutations with POST."), {"allow": "POST"}
        )
    if plan.kind is OperationType.SUBSCRIPTION and media_type is not MediaType.EVENTS:
        message = say(
            "STREAM_NEEDED",
            "Request a subscription with 'Accept: text/event-stream', or over a graphql-transport-ws socket.",
        )
        raise HttpError(400, "STREAM_NEEDED", message)


async def _refuse(edge: Edge, exchange: Exchange, request_id: str, error: HttpError) -> None:
    accepted = negotiate(exchange.headers.get("accept"))
    media_type = MediaType.GRAPHQL if accepted is MediaType.GRAPHQL else MediaType.JSON
    described = {"message": error.message, "extensions": {"code": error.code, "requestId": request_id}}
    worded = edge.in_words(described, languages_of(exchange.headers.get("accept-language")))
    answer = Answer.of(Outcome.MALFORMED, errors=[worded])
    await _answer(exchange, answer, error.status, media_type, error.headers)


async def _answer(
    exchange: Exchange, answer: Answer, status: int, media_type: MediaType, headers: Mapping[str, str] | None = None
) -> None:
    length = str(len(answer.body))
    await exchange.start(
        status, {"content-type": _content_type(media_type), "content-length": length, **(headers or {})}
    )
    await exchange.write(answer.body)


def _content_type(media_type: MediaType) -> str:
    return f"{media_type}; charset=utf-8"
