"""A WebSocket client that speaks graphql-transport-ws message by message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

CONNECTION_INIT = {"type": "connection_init"}


GRAPHQL_TRANSPORT_WS = Subprotocol("graphql-transport-ws")


@asynccontextmanager
async def open_socket(host: str, **init: object) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS]) as socket:
        await send_json(socket, {**CONNECTION_INIT, **init})
        assert await receive_json(socket) == {"type": "connection_ack"}
        yield socket


async def close_code(socket: ClientConnection) -> int | None:
    """Listen until the server closes, and give its code."""
    try:
        while True:
            await receive_json(socket)
    except ConnectionClosed as ended:
        return ended.rcvd.code if ended.rcvd else None


async def receive_json(socket: ClientConnection) -> dict[str, Any]:
    message = orjson.loads(await asyncio.wait_for(socket.recv(), 5))
    assert isinstance(message, dict)
    return message


async def send_json(socket: ClientConnection, *messages: object) -> None:
    for message in messages:
        await socket.send(message if isinstance(message, str | bytes) else orjson.dumps(message).decode())


def subscribe_message(key: object, query: object, **more: object) -> dict[str, object]:
    return {"id": key, "type": "subscribe", "payload": {"query": query, **more}}
