"""GraphQL over WebSocket: the graphql-transport-ws protocol, and credentials that expire."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing, contextmanager
from typing import Any, cast

import orjson
import structlog
from litestar.types import Receive, Send, WebSocketScope

from api.http.auth import Authenticator, bearer_token, identity_of
from api.http.documents import MalformedRequest, OperationRequest, read_json, read_parameters
from api.http.edge import LARGEST_WITHOUT_CREDENTIALS, Edge
from api.http.exchange import headers_of, is_allowed_origin, languages_of, peer_of, request_id_from
from api.http.ip_limit import RequestCharge, charge_of
from api.http.metrics import operations as under_way
from api.http.metrics import sockets as open_sockets
from api.http.quotas import TooManyOpen
from core.errors import Overloaded, Unauthenticated
from core.ports.identity import Principal
from core.words import say
from engine.answer import Outcome

NOTICE_SECONDS = 15.0
"""How long before a token ends its client is asked for another; half of what is left, where that is less."""


class Expired(Exception):
    """The token has ended and no fresh one came."""


class Credentials:
    """The caller of one socket."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.caller: Principal | None = None
        self._authenticator = authenticator
        self._news = asyncio.Event()

    async def accept(self, authorization: object) -> None:
        """Learn who is calling; raises Unauthenticated, and Overloaded where it cannot be told."""
        self.caller = await self._authenticator.authenticate(bearer_token(_as_text(authorization)))
        self._news.set()

    async def renew(self, authorization: object) -> None:
        """Take a fresh token of the same caller; raises Unauthenticated for anybody else's, and Overloaded."""
        fresh = await self._authenticator.authenticate(bearer_token(_as_text(authorization)))
        # What is under way was begun with the old rights: other rights need another socket.
        if identity_of(fresh) != identity_of(self.caller):
            raise Unauthenticated(
                say("CREDENTIALS_CHANGED", "A new token must belong to the same caller and have the same scopes.")
            )
        self.caller = fresh
        self._news.set()

    async def expire(self, give_notice: Callable[[float], Awaitable[None]]) -> None:
        """Wait for the end of the last token, giving notice of each end in time; raises Expired, never returns."""
        while True:
            self._news.clear()
            expires_at = None if self.caller is None else self.caller.expires_at
            if expires_at is None:
                await self._news.wait()
                continue
            left = expires_at - time.time()
            notice = min(NOTICE_SECONDS, left / 2)
            if await self._is_renewed_within(left - notice):
                continue
            await give_notice(max(notice, 0.0))
            if not await self._is_renewed_within(expires_at - time.time()):
                raise Expired

    async def _is_renewed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


def authorization_in(payload: Mapping[str, Any] | None) -> object:
    """Find the token in a message's payload: clients write the name as their users typed it."""
    return next((value for name, value in (payload or {}).items() if name.lower() == "authorization"), None)


def _as_text(authorization: object) -> str | None:
    if not isinstance(authorization, str | None):
        raise Unauthenticated(say("CREDENTIALS_NOT_TEXT", "Authorization must be a string."))
    return authorization


# GraphQL over WebSocket: the protocol graphql-transport-ws.
#
# https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. A socket is one group of tasks: a reader and a task
# for each operation. Whatever ends the socket ends the group, so nothing of it outlives it.


SUBPROTOCOL = "graphql-transport-ws"
INIT_SECONDS = 5.0
SEND_SECONDS = 30.0

# What a close frame can hold (RFC 6455, section 5.5), and how long one may take to leave.
_LONGEST_REASON = 123
_FAREWELL_SECONDS = 5.0

# The code that clients read as "later, and not at once".
_LATER = 1013
_WITHOUT_CREDENTIALS = "Try again later: too much is asked from this address without credentials"

log = structlog.get_logger(__name__)


class Closing(Exception):
    """The socket ends; without a code, because the client has already left."""

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def serve_socket(edge: Edge, scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Serve one socket from its handshake to its end; never raises."""
    try:
        with open_sockets.track_inprogress():
            closing = await _serve_connection(edge, scope, receive, send)
        if closing.code is not None:
            reason = closing.reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await send({"type": "websocket.close", "code": closing.code, "reason": reason})
    except OSError:
        log.info("client_gone")


async def _serve_connection(edge: Edge, scope: WebSocketScope, receive: Receive, send: Send) -> Closing:
    headers = headers_of(cast("Mapping[str, Any]", scope))
    await receive()
    if not is_allowed_origin(
        origin=headers.get("origin"),
        host=headers.get("host"),
        fetch_site=headers.get("sec-fetch-site"),
        allowed_origins=edge.allowed_origins,
    ):
        # Closed before it is accepted, it becomes a plain 403.
        return Closing(4403, "Forbidden: pages of other sites may not call this API")
    speaks_ours = SUBPROTOCOL in scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if speaks_ours else None, "headers": []})
    if not speaks_ours:
        return Closing(4406, f"Subprotocol not acceptable: ask for {SUBPROTOCOL}")
    given = cast("Mapping[str, Any]", scope)
    return await Socket(edge, headers, peer_of(given), charge_of(given), receive, send).run()


class Socket:
    """One client's conversation."""

    def __init__(
        self, edge: Edge, headers: Mapping[str, str], peer: str, charge: RequestCharge, receive: Receive, send: Send
    ) -> None:
        self._edge = edge
        self._headers = headers
        self._peer = peer
        self._charge = charge
        self._receive = receive
        self._send = send
        self._credentials = Credentials(edge.authenticator)
        self._languages = languages_of(headers.get("accept-language"))
        self._has_begun = False
        self._is_acknowledged = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._held = ExitStack()

    async def run(self) -> Closing:
        """Converse until either side ends it, and say how it ended."""
        closing = Closing()
        try:
            with self._held:
                async with asyncio.TaskGroup() as tasks:
                    await self._listen(tasks)
        except* Closing as ended:
            closing = cast("Closing", ended.exceptions[0])
        except* Exception:
            log.exception("socket_failed")
            closing = Closing(1011, "Internal error")
        return closing

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        patience = asyncio.timeout(INIT_SECONDS)
        try:
            async with patience:
                while True:
                    message = await self._next_message()
                    if message["type"] == "connection_init":
                        patience.reschedule(None)
                    await self._heed(message, tasks)
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise Closing(4408, "Connection initialisation timeout") from error

    async def _next_message(self) -> dict[str, Any]:
        event = await self._receive()
        if event["type"] != "websocket.receive":
            raise Closing
        text = event.get("text")
        if text is None:
            raise Closing(4400, "Messages are text")
        # Servers that cannot be told a limit hand over whatever comes; a character has up to four bytes.
        limit = self._edge.socket_limits.frame
        if self._credentials.caller is None:
            limit = min(limit, LARGEST_WITHOUT_CREDENTIALS)
        if len(text) * 4 > limit and len(text.encode()) > limit:
            raise Closing(1009, f"Message too big: at most {limit} bytes")
        try:
            message = read_json(text)
        except MalformedRequest as error:
            raise Closing(4400, "Messages are JSON") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise Closing(4400, "Messages are objects with a type")
        return message

    async def _heed(self, message: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        match message["type"]:
            case "connection_init":
                await self._begin(_optional_object(message), tasks)
            case "ping":
                await self._answer_ping(_optional_object(message))
            case "pong":
                await self._renew(authorization_in(_optional_object(message)))
            case "subscribe":
                await self._subscribe(_id_of(message), message.get("payload"), tasks)
            case "complete":
                if operation := self._operations.pop(_id_of(message), None):
                    operation.cancel()
            case _:
                raise Closing(4400, "Unknown type of message")

    async def _begin(self, payload: dict[str, Any] | None, tasks: asyncio.TaskGroup) -> None:
        if self._has_begun:
            raise Closing(4429, "Too many initialisation requests")
        self._has_begun = True
        given = {name.lower(): value for name, value in (payload or {}).items()}
        with _closing_when_refused(self._charge):
            await self._credentials.accept(given.get("authorization", self._headers.get("authorization")))
        caller = self._credentials.caller
        if caller is not None:
            self._charge.refund()
        elif self._charge.is_on_credit:
            raise Closing(_LATER, _WITHOUT_CREDENTIALS)
        try:
            self._held.enter_context(self._edge.streams.one_of(self._peer if caller is None else identity_of(caller)))
        except TooManyOpen as error:
            raise Closing(_LATER, "Try again later: these credentials have too many sockets open") from error
        # Browsers let no page set the headers of a handshake.
        if isinstance(languages := given.get("accept-language", given.get("lang")), str):
            self._languages = languages_of(languages)
        self._is_acknowledged = True
        await self._say({"type": "connection_ack"})
        tasks.create_task(self._expire())
        if caller is not None:
            tasks.create_task(self._end_when_refused())

    async def _end_when_refused(self) -> None:
        await self._edge.authenticator.until_invalid(lambda: self._credentials.caller)
        raise Closing(4403, "Forbidden: these credentials are not believed any more")

    async def _expire(self) -> None:
        async def give_notice(seconds: float) -> None:
            await self._say({"type": "ping", "payload": {"authorizationExpiresIn": round(seconds)}})

        try:
            await self._credentials.expire(give_notice)
        except Expired as error:
            raise Closing(4401, "Unauthorized: the token has expired and no fresh one came") from error

    async def _answer_ping(self, payload: dict[str, Any] | None) -> None:
        authorization = authorization_in(payload)
        await self._renew(authorization)
        # A token is never sent back.
        echo = {} if payload is None or authorization is not None else {"payload": payload}
        await self._say({"type": "pong", **echo})

    async def _renew(self, authorization: object) -> None:
        if authorization is None or not self._is_acknowledged:
            return
        with _closing_when_refused(self._charge):
            await self._credentials.renew(authorization)

    async def _subscribe(self, key: str, payload: Any, tasks: asyncio.TaskGroup) -> None:
        if not self._is_acknowledged:
            raise Closing(4401, "Unauthorized")
        # Callers without credentials have no account to pay from: their address pays, as for a request.
        if self._credentials.caller is None and not self._charge.pay_again():
            raise Closing(_LATER, _WITHOUT_CREDENTIALS)
        if key in self._operations:
            raise Closing(4409, f"Subscriber for {key} already exists")
        if not isinstance(payload, dict):
            raise Closing(4400, "A subscribe message has a payload")
        try:
            request = read_parameters(payload)
        except MalformedRequest as error:
            raise Closing(4400, error.message) from error
        most = self._edge.socket_limits.operations
        if len(self._operations) >= most:
            message = f"A socket carries at most {most} operations."
            await self._refuse(key, message, "LIMIT_EXCEEDED", request_id_from(None))
            return
        self._operations[key] = tasks.create_task(self._run(key, request))

    async def _run(self, key: str, request: OperationRequest) -> None:
        request_id = request_id_from(None)
        try:
            with under_way.labels("socket").track_inprogress():
                await self._operate(key, request, request_id)
        except (Closing, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("socket_operation_failed", request_id=request_id)
            self._forget(key)
            await self._refuse(key, f"An internal error occurred. Quote {request_id}.", "INTERNAL", request_id)
        finally:
            self._forget(key)

    async def _operate(self, key: str, request: OperationRequest, request_id: str) -> None:
        caller = self._credentials.caller
        admission = await self._edge.admit(request, caller)
        context = self._edge.make_context(caller, request_id, self._languages, admission.allowance)
        head = b'{"id":' + orjson.dumps(key) + b',"type":"next","payload":'
        authority = self._edge.authority(caller, self._languages)
        async with aclosing(admission.plan.stream(request.variables, context, request_id, authority)) as answers:
            async for answer in answers:
                if answer.outcome is not Outcome.EXECUTED:
                    self._forget(key)
                    await self._say({"id": key, "type": "error", "payload": answer.errors})
                    return
                await self._write(head + answer.body + b"}")
        # The client may use the id again as soon as it reads this.
        self._forget(key)
        await self._say({"id": key, "type": "complete"})

    def _forget(self, key: str) -> None:
        if self._operations.get(key) is asyncio.current_task():
            del self._operations[key]

    async def _refuse(self, key: str, message: str, code: str, request_id: str) -> None:
        error = {"message": message, "extensions": {"code": code, "requestId": request_id}}
        await self._say({"id": key, "type": "error", "payload": [self._edge.in_words(error, self._languages)]})

    async def _say(self, message: dict[str, Any]) -> None:
        await self._write(orjson.dumps(message))

    async def _write(self, text: bytes) -> None:
        """Send a frame; an operation takes its next event only when this is done, so a slow client holds little."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.send", "text": text.decode(), "bytes": None})
        except TimeoutError as error:
            raise Closing(1008, "Too slow") from error
        except OSError as error:
            # How uvicorn says that the client has left.
            raise Closing from error


@contextmanager
def _closing_when_refused(charge: RequestCharge) -> Iterator[None]:
    try:
        yield
    except Unauthenticated as error:
        charge.charge_forgery()
        raise Closing(4403, f"Forbidden: {error.message}") from error
    except Overloaded as error:
        raise Closing(_LATER, f"Try again later: {error.message}") from error


def _optional_object(message: dict[str, Any]) -> dict[str, Any] | None:
    payload = message.get("payload")
    if not isinstance(payload, dict | None):
        raise Closing(4400, "A payload is an object")
    return payload


def _id_of(message: dict[str, Any]) -> str:
    key = message.get("id")
    if not isinstance(key, str) or not key:
        raise Closing(4400, "An id is a text that is not empty")
    return key
