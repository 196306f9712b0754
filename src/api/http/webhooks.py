"""The route of all webhooks: verifies the raw bytes, stores each event once, answers; a worker applies it later."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from litestar import MediaType, Request, Response, get, post
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.bootstrap import App, webhook_url
from api.http.exchange import READ_SECONDS
from api.http.ip_limit import charge_of
from api.http.metrics import webhooks as counter
from api.queue import INBOX
from core.errors import InvalidSignature, Overloaded
from core.inbox.store import Intake, store_events
from core.ports import Connected, Handshake, RawWebhook

log = structlog.get_logger(__name__)

AnyRequest = Request[Any, Any, Any]

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes; the largest batches known are 3 MB."""


def webhook_routes(app: App) -> list[HTTPRouteHandler]:
    """Give the route that takes every provider's webhooks, and their question whether it is meant to."""
    intake = Intake(partial(store_events, app.database, app.sealer, app.contributions.events))

    @post("/webhooks/{name:str}", status_code=204, include_in_schema=False, request_max_body_size=None)
    async def receive(request: AnyRequest, name: FromPath[str]) -> Response[None]:
        connected = app.connected.get(name)
        if connected is None or connected.webhooks is None:
            return _answer("unknown", "unknown", 404)
        return await _receive(app, intake, name, connected, request)

    @get("/webhooks/{name:str}", include_in_schema=False)
    async def shake_hands(request: AnyRequest, name: FromPath[str]) -> Response[str]:
        connected = app.connected.get(name)
        if connected is None or connected.webhooks is None:
            return _say("unknown", "unknown", 404)
        if connected.handshake is None:
            return Response("", status_code=405, headers={"allow": "POST"}, media_type=MediaType.TEXT)
        return _shake_hands(name, connected.handshake, dict(request.query_params.multi_items()))

    return [receive, shake_hands]


def _shake_hands(name: str, handshake: Handshake, query: Mapping[str, str]) -> Response[str]:
    try:
        answer = handshake.answer(query)
    except InvalidSignature as error:
        log.warning("handshake_refused", integration=name, reason=error.message)
        return _say(name, "forged", 403)
    return _say(name, "handshake", 200, answer)


async def _receive(app: App, intake: Intake, name: str, connected: Connected, request: AnyRequest) -> Response[None]:
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _read(request)
    except TimeoutError:
        return _answer(name, "too_slow", 408)
    if body is None:
        return _answer(name, "too_big", 413)
    webhook = RawWebhook(request.method, _public_url(app, name, request), _headers(request), body)
    assert connected.webhooks is not None  # noqa: S101  # the caller looked
    try:
        connected.webhooks.verify(webhook)
    except InvalidSignature as error:
        log.warning("webhook_refused", integration=name, reason=error.message)
        return _answer(name, "forged", 401)
    charge_of(request.scope).refund()
    events = connected.webhooks.parse(webhook)
    try:
        new = await intake.keep(name, events)
    except Overloaded:
        # The provider will come again; to say yes now would lose it.
        return _answer(name, "unavailable", 503)
    if new:
        await app.wake_ups.wake(INBOX)
    return _answer(name, "accepted" if new else "duplicate", 204)


async def _read(request: AnyRequest) -> bytes | None:
    """Read the body, or no further than the limit."""
    chunks, size = [], 0
    try:
        if (request.content_length or 0) > BODY_LIMIT:
            return None
        async for chunk in request.stream():
            size += len(chunk)
            if size > BODY_LIMIT:
                return None
            chunks.append(chunk)
    except ClientException:
        return None
    return b"".join(chunks)


def _public_url(app: App, name: str, request: AnyRequest) -> str:
    # What was signed is the address we gave out, not what a proxy made of it; the query varies, and a last slash may.
    query = request.scope["query_string"].decode("latin-1")
    url = webhook_url(app.settings, name) + ("/" if request.scope["raw_path"].endswith(b"/") else "")
    return f"{url}?{query}" if query else url


def _headers(request: AnyRequest) -> Mapping[str, str]:
    return {key.lower(): value for key, value in request.headers.items()}


def _say(provider: str, result: str, status: int, text: str = "") -> Response[str]:
    counter.labels(provider, result).inc()
    # The text comes from the request: no browser may take it for a page.
    headers = {"x-content-type-options": "nosniff"}
    return Response(text, status_code=status, media_type=MediaType.TEXT, headers=headers)


def _answer(provider: str, result: str, status: int) -> Response[None]:
    counter.labels(provider, result).inc()
    # Without a type of its own, nothing would be written out as null.
    return Response(None, status_code=status, media_type=MediaType.TEXT)
