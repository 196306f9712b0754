"""Bodies that nobody read: what is already there is taken in, and whoever goes on sending is hung up on."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar.types import HTTPReceiveMessage, Message, Receive, Send

LINGER_SECONDS = 1.0
LINGER_BYTES = 65_536
"""What is waited for, and read, before an answer begins."""
GOODBYE_SECONDS = 2.0
GOODBYE_BYTES = 16_777_216
"""What is read and thrown away behind an answer that ends the connection: closed at once, TCP would take the answer
back from whoever is still sending, and they would see a reset instead of the reason."""
_NO_BODY = (b"", b"0")


def has_body(scope: Mapping[str, Any]) -> bool:
    """Say whether a request announces a body, of whatever length."""
    return any(
        (name == b"content-length" and value.strip() not in _NO_BODY) or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


class Body:
    """Stands between a request's body and whoever may or may not read it.

    The server would go on reading and throwing away what comes after the answer, for as long as it comes. So before an
    answer begins the rest is read, up to a measure; beyond that the connection ends soon after the answer.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_whole = False

    async def receive(self) -> Any:
        """Hand over what comes next."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_whole = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on."""
        if message["type"] == "http.response.start" and not self._is_whole:
            await self._read_on(LINGER_SECONDS, LINGER_BYTES)
            if not self._is_whole:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"connection"]
                message["headers"] = [*others, (b"connection", b"close")]
        elif message["type"] == "http.response.body" and not message["more_body"] and not self._is_whole:
            # The server hangs up with the last piece: it is said that another comes, and what was asked for is out.
            await self._send({**message, "more_body": True})
            await self._read_on(GOODBYE_SECONDS, GOODBYE_BYTES)
            message["body"] = b""
        await self._send(message)

    async def _read_on(self, seconds: float, most: int) -> None:
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while not self._is_whole and size <= most:
                    message: HTTPReceiveMessage = await self.receive()
                    size += len(message.get("body", b""))  # type: ignore[arg-type]
        except TimeoutError:
            return
