"""HTTP/1.1 as the server speaks it, with little patience for requests that never quite begin, or never quite go on.

It is read by llhttp, the parser of Node, through httptools: uvicorn's other parser is pure Python, and was nearly a
tenth of what accepting a message cost. llhttp keeps whatever a head brings, so its size is watched here.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""How long the first line and the headers of a request may take to arrive, from the first byte or the connection on."""
LARGEST_HEAD = 32_768
"""Bytes of the address and the headers: a session's cookie may have 4 KiB, and browsers send several."""


class PatientlessProtocol(HttpToolsProtocol):
    """Ends connections whose request has not begun in time; the server's own clock runs only between requests."""

    _waiting: asyncio.TimerHandle | None = None
    _is_in_head = False
    _has_got_on = False
    _idly = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect a request soon."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is still not whole keeps the time it began with."""
        self._has_got_on = False
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        self._idly = 0 if self._has_got_on else self._idly + len(data)
        if self._idly > LARGEST_HEAD:
            # A head, the trailers after a body, or what stands beside the length of a chunk.
            self.send_400_response("Longer than any client needs.")
        elif self._waiting is None and (self._is_in_head or not self._is_busy()):
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._forget()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Take the first byte of a head; how much stood before it in the same piece, nobody knows."""
        self._is_in_head = self._has_got_on = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take the end of a head."""
        self._is_in_head, self._has_got_on = False, True
        self._forget()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._has_got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a body."""
        self._has_got_on = True
        super().on_message_complete()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()
