"""A wire that can be made bad while it is in use: late, slow, cut, reset, refused, or open and dead."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from tests.servers import reserved_port

_CHUNK = 65_536
_LOOPBACK = "127.0.0.1"
# What the far end needs to do what it was told before the near end is cut off.
_GRACE = 0.05


@dataclass(eq=False)
class ProxiedConnection:
    """One connection through the proxy: `near` is whoever called, `far` whom it is passed on to."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None = None
    is_mute: bool = False
    """Answers are lost from now on."""

    def end(self, *, reset: bool) -> None:
        for writer in (self.near, self.far):
            if writer is None:
                continue
            plug = writer.get_extra_info("socket")
            if reset and plug is not None and plug.fileno() >= 0:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort() if reset else writer.close()


@dataclass
class ChaosProxy:
    """Listens on a port of its own and passes everything on to `upstream`; without trouble it only costs a little."""

    name: str
    upstream: int
    port: int = 0
    latency: float = 0.0
    """Seconds that each piece waits, either way."""
    rate: float | None = None
    """Bytes a second, either way."""
    hang_up_after: bytes | None = None
    """When the near end says this, it is passed on, and the line is reset before an answer: once, then never again."""
    loses_answers: bool = False
    """What the near end says is passed on, and nothing comes back."""
    broken: int = 0
    """Lines that were cut or reset while open."""
    _lines: set[ProxiedConnection] = field(default_factory=set)
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
            self._server = await asyncio.start_server(self._called, _LOOPBACK, self.port, backlog=1_000)

    def refuse(self) -> None:
        """Refuse whoever calls from now on; open lines stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def swallow(self) -> None:
        """Take connections and pass on nothing, as when a cable is pulled far away."""
        self._is_passing.clear()

    def cut(self, *, reset: bool = False) -> None:
        """End every open line, in order or with a reset."""
        self.broken += len(self._lines)
        for line in list(self._lines):
            line.end(reset=reset)

    async def heal(self) -> None:
        """Be a good wire again; what was swallowed while it was dead is lost with its lines."""
        self.latency, self.rate, self.hang_up_after = 0.0, None, None
        if self.loses_answers or not self._is_passing.is_set():
            self.loses_answers = False
            self.cut(reset=True)
            self._is_passing.set()
        await self.accept()

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = ProxiedConnection(writer)
        self._lines.add(line)
        try:
            await self._is_passing.wait()
            far_reader, line.far = await asyncio.open_connection(_LOOPBACK, self.upstream)
        except (OSError, asyncio.CancelledError):
            self._lines.discard(line)
            line.end(reset=True)
            return
        pumps = [
            asyncio.create_task(self._pump(reader, line.far, line, is_near=True)),
            asyncio.create_task(self._pump(far_reader, writer, line, is_near=False)),
        ]
        self._tasks.update(pumps)
        for pump in pumps:
            pump.add_done_callback(self._tasks.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*pumps, return_exceptions=True)
        self._lines.discard(line)
        line.end(reset=False)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: ProxiedConnection, *, is_near: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._is_passing.wait()
                if self.latency:
                    await asyncio.sleep(self.latency)
                is_last = is_near and self.hang_up_after is not None and self.hang_up_after in chunk
                line.is_mute = line.is_mute or is_last
                if is_near or not (line.is_mute or self.loses_answers):
                    await self._write(writer, chunk)
                if is_last:
                    self.hang_up_after = None
                    await asyncio.sleep(_GRACE)
                    self.broken += 1
                    line.end(reset=True)
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
            # Asked anew for each piece: a healed wire must not go on dripping.
            if self.rate is not None:
                await asyncio.sleep(len(piece) / self.rate)
