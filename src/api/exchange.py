"""One HTTP request and its answer, as plain ASGI: bytes in, bytes out."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from litestar.types import HTTPScope, Receive, Send

from api.doorstep.addresses import household_named
from api.doorstep.visit import visit_of
from core.words import say


class HttpError(Exception):
    """An answer other than the one asked for."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """Nobody is there any more to answer."""


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Read the headers of a request, names in lower case; one that comes in several lines is one list."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def peer_of(scope: Mapping[str, Any]) -> str:
    """Name the household at the other end, as its budget does, or none where the server does not know."""
    client = scope.get("client")
    return household_named(str(client[0])) if client else ""


# More digits than any length has; int() refuses thousands of them.
_LONGEST_LENGTH = 15
READ_SECONDS = 20.0
"""How long a body may take to arrive: nobody holds a connection for ever by sending half of one."""


class Exchange:
    """A request to be read and answered once; `headers` have lower-case names.

    `peer` is the household at the other end, `visit` what it pays; `standing_headers` go with whatever is answered.
    """

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self.method = str(scope["method"])
        self.query_string = scope["query_string"]
        self.headers = headers_of(cast("Mapping[str, Any]", scope))
        self.has_answered = False
        self.standing_headers: Mapping[str, str] = {}
        self.peer = peer_of(cast("Mapping[str, Any]", scope))
        self.visit = visit_of(cast("Mapping[str, Any]", scope))
        self._receive = receive
        self._send = send

    async def read(self, limit: int, text: str | None = None) -> bytes:
        """Read the body; raises HttpError 413 beyond the limit, before reading where the length is announced."""
        text = text or say("PAYLOAD_TOO_LARGE", "The body is larger than {most} bytes.", most=limit)
        too_large = HttpError(413, "PAYLOAD_TOO_LARGE", text)
        announced = self.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and (len(announced) > _LONGEST_LENGTH or int(announced) > limit):
            raise too_large
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._read_within(limit, too_large)
        except TimeoutError:
            message = say("REQUEST_TIMEOUT", "The body did not arrive within {seconds} s.", seconds=f"{READ_SECONDS:g}")
            raise HttpError(408, "REQUEST_TIMEOUT", message, {"connection": "close"}) from None

    async def _read_within(self, limit: int, too_large: HttpError) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)

    async def gone(self) -> None:
        """Wait until the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the answer."""
        self.has_answered = True
        sent = {**self.standing_headers, **headers}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        """Write the answer's body, or a piece of it."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
