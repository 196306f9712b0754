"""Servers on loopback that answer each connection as a test says: bytes, HTTP answers, and an SMTP relay."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Talk = Callable[["Connection"], Awaitable[None]]


@dataclass
class Connection:
    """One connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    requests: list[bytes]

    async def request(self) -> bytes:
        """Read one HTTP request, its head and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        whole = head + await self.reader.readexactly(length)
        self.requests.append(whole)
        return whole

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
        await self.say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Make the other side see ECONNRESET."""
        plug = self.writer.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class ScriptedServer:
    """The server: where it listens, and what came."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def scripted_server(
    talk: Talk, tls: ssl.SSLContext | None = None, *, limit: int = 1 << 16
) -> AsyncIterator[ScriptedServer]:
    """Listen; a connection ends when `talk` returns. A line may have so many octets."""
    wire = ScriptedServer()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(line: Connection) -> None:
        try:
            await talk(line)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            line.writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        tasks.add(asyncio.create_task(converse(Connection(reader, writer, wire.connections, wire.requests))))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls, limit=limit)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


# A mail relay that says at every stage what a test wants to hear, or hangs up there, or keeps still.


HANG_UP, RESET, SILENCE = "(hang up)", "(reset)", "(silence)"
PIPELINING = "250-relay.example\r\n250-AUTH PLAIN\r\n250-PIPELINING\r\n250 SMTPUTF8"
_DEFAULT_REPLIES = {
    "connect": "220 relay.example ESMTP",
    "ehlo": "250-relay.example\r\n250-AUTH PLAIN\r\n250 SMTPUTF8",
    "auth": "235 2.7.0 Welcome",
    "data": "354 Go ahead",
    "end-of-data": "250 2.0.0 Ok: queued as 4bX9qZ1",
    "quit": "221 2.0.0 Bye",
}


@dataclass
class ScriptedRelay:
    """What came, and what is said: by stage, the reply or one of the three ways to give none."""

    wire: ScriptedServer = field(default_factory=ScriptedServer)
    replies: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    is_deaf: bool = False

    @property
    def port(self) -> int:
        return self.wire.port

    async def talk(self, line: Connection) -> None:
        going = await self._reply(line, "connect")
        while going:
            command = (await line.reader.readuntil(b"\r\n")).decode().strip()
            self.commands.append(command)
            stage = command.partition(" ")[0].lower().replace("helo", "ehlo")
            going = await self._reply(line, stage)
            if going and stage == "data" and self._says("data").startswith("354"):
                if self.is_deaf:
                    line.reader._transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                self.mails.append((await line.reader.readuntil(b"\r\n.\r\n"))[:-3])
                going = await self._reply(line, "end-of-data")

    def _says(self, stage: str) -> str:
        return self.replies.get(stage) or _DEFAULT_REPLIES.get(stage, "250 2.0.0 Ok")

    async def _reply(self, line: Connection, stage: str) -> bool:
        said = self._says(stage)
        if said == SILENCE:
            await asyncio.Event().wait()
        if said == RESET:
            line.reset()
        elif said != HANG_UP:
            await line.say(f"{said}\r\n".encode("utf-8", "surrogateescape"))
        return said not in (HANG_UP, RESET) and not said.startswith("421")


@asynccontextmanager
async def smtp_relay(**replies: str) -> AsyncIterator[ScriptedRelay]:
    """Listen; a stage is `connect`, a command in lower case, or `end_of_data`."""
    relay = ScriptedRelay(replies={stage.replace("_", "-"): reply for stage, reply in replies.items()})
    async with scripted_server(relay.talk) as relay.wire:
        yield relay
