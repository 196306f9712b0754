"""A TCP proxy that can delay, slow down, cut, reset, refuse or stall connections while they are in use."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from tests.servers import reserved_port

_CHUNK = 65_536
_LOOPBACK = "127.0.0.1"
# Time for the server to carry out a request before its client is cut off.
_GRACE = 0.05


@dataclass(eq=False)
class ProxiedConnection:
    """One connection through the proxy: `near` is the client, `far` the server."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None = None
    is_mute: bool = False
    """Answers are lost from now on."""

    def end(self, *, reset: bool) -> None:
        for writer in (self.near, self.far):
            if writer is None:
                continue
            raw = writer.get_extra_info("socket")
            if reset and raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort() if reset else writer.close()


@dataclass
class ChaosProxy:
    """Listens on its own port and passes everything on to the port `upstream`."""

    name: str
    upstream: int
    port: int = 0
    latency: float = 0.0
    """Seconds that each piece waits, either way."""
    rate: float | None = None
    """Bytes a second, either way."""
    reset_after: bytes | None = None
    """When a client sends this, it is passed on and the connection is reset before the answer; only once."""
    loses_answers: bool = False
    """What clients send is passed on, and no answer comes back."""
    broken: int = 0
    """Connections that were cut or reset while open."""
    _connections: set[ProxiedConnection] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _is_passing: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self._is_passing.set()
        self.port = reserved_port()
        await self.accept()

    async def stop(self) -> None:
        self.refuse()
        self.cut(reset=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Listen, again on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, _LOOPBACK, self.port, backlog=1_000)

    def refuse(self) -> None:
        """Refuse new connections; open ones stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def stall(self) -> None:
        """Accept connections and pass on nothing, as when a cable far away is pulled."""
        self._is_passing.clear()

    def cut(self, *, reset: bool = False) -> None:
        """Close every open connection, or reset it."""
        self.broken += len(self._connections)
        for connection in list(self._connections):
            connection.end(reset=reset)

    async def heal(self) -> None:
        """Take every fault away; connections that were stalled are reset, and what they held is lost."""
        self.latency, self.rate, self.reset_after = 0.0, None, None
        if self.loses_answers or not self._is_passing.is_set():
            self.loses_answers = False
            self.cut(reset=True)
            self._is_passing.set()
        await self.accept()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ProxiedConnection(writer)
        self._connections.add(connection)
        try:
            await self._is_passing.wait()
            far_reader, connection.far = await asyncio.open_connection(_LOOPBACK, self.upstream)
        except (OSError, asyncio.CancelledError):
            self._connections.discard(connection)
            connection.end(reset=True)
            return
        pumps = [
            asyncio.create_task(self._pump(reader, connection.far, connection, is_near=True)),
            asyncio.create_task(self._pump(far_reader, writer, connection, is_near=False)),
        ]
        self._tasks.update(pumps)
        for pump in pumps:
            pump.add_done_callback(self._tasks.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*pumps, return_exceptions=True)
        self._connections.discard(connection)
        connection.end(reset=False)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: ProxiedConnection,
        *,
        is_near: bool,
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._is_passing.wait()
                if self.latency:
                    await asyncio.sleep(self.latency)
                is_last = is_near and self.reset_after is not None and self.reset_after in chunk
                connection.is_mute = connection.is_mute or is_last
                if is_near or not (connection.is_mute or self.loses_answers):
                    await self._write(writer, chunk)
                if is_last:
                    self.reset_after = None
                    await asyncio.sleep(_GRACE)
                    self.broken += 1
                    connection.end(reset=True)
                    return
            await self._is_passing.wait()
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        if self.rate is None:
            writer.write(chunk)
            await writer.drain()
            return
        size = max(1, int(self.rate / 10))
        for start in range(0, len(chunk), size):
            piece = chunk[start : start + size]
            writer.write(piece)
            await writer.drain()
            # Read again for each piece: a healed proxy must not stay slow.
            if self.rate is not None:
                await asyncio.sleep(len(piece) / self.rate)
