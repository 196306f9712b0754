"""A connection to a relay once it is signed in: several commands in one write, and one reply for each, in their order.

The library that opens it hears one reply for one command, and loses what else comes with it.
"""

import asyncio
import re
from collections import deque
from collections.abc import Collection
from typing import NamedTuple, cast

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPServerDisconnected

_LONGEST_REPLY = 32_768
_CLOSING = 421
# A control character could end a command and begin another.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([^0-9]?)(.*)", re.DOTALL)


class Reply(NamedTuple):
    """What the relay said, its lines one below the other."""

    code: int
    text: str


class HungUp(Exception):
    """The connection is no more, or nothing that comes over it can be trusted any longer."""


class Line(asyncio.Protocol):
    """One connection; `uses` counts what it was lent for before, `is_pipelining` lets commands leave together.

    `refusals` counts the refusals heard since it last took a mail. `has_lost_its_way` is set by whoever finds that the
    relay does not answer such commands as it should.
    """

    def __init__(self, transport: asyncio.Transport, extensions: Collection[str]) -> None:
        self.uses = 0
        self.refusals = 0
        self.is_pipelining = False
        self.has_lost_its_way = False
        self._transport = transport
        self._extensions = frozenset(extensions)
        self._said = bytearray()
        self._texts: list[bytes] = []
        self._code = b""
        self._replies: deque[Reply] = deque()
        self._owed = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_broken = False

    @classmethod
    def taken_over(cls, client: SMTP) -> "Line":
        """Go on with a connection that the library has opened and signed in to; raises SMTPServerDisconnected."""
        protocol = client.protocol
        if protocol is None or not protocol.is_connected:
            raise SMTPServerDisconnected("Connection lost")
        transport = cast(asyncio.Transport, protocol.transport)
        line = cls(transport, client.esmtp_extensions)
        transport.set_protocol(line)
        return line

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return not (self._is_broken or self._transport.is_closing())

    @property
    def is_at_rest(self) -> bool:
        """Whether it is open and every command was answered, so that the next one has an answer of its own."""
        return self.is_open and self._owed == 0 and not self._replies

    def offers(self, extension: str) -> bool:
        """Whether the relay has said that it knows an extension; in small letters."""
        return extension in self._extensions

    def say(self, *commands: bytes) -> None:
        """Send commands in one write; each is owed a reply. Raises HungUp, and ValueError for more than a command."""
        if any(_CONTROL.search(command) for command in commands):
            raise ValueError("A command holds a control character.")
        self.write(b"".join(command + b"\r\n" for command in commands))
        self._owed += len(commands)

    def write(self, data: bytes) -> None:
        """Send a text, or a piece of one; raises HungUp where not a byte of it can have left."""
        if self.is_open:
            self._transport.write(data)
        # Not even the first write of it succeeded.
        if not self.is_open:
            raise HungUp

    def end_text(self, rest: bytes = b"") -> None:
        """Send the last of a text with its dot, for which a reply is owed."""
        self.write(rest + b".\r\n")
        self._owed += 1

    async def until_written(self) -> None:
        """Wait until nothing of what was written is still in our hands."""
        while self._transport.get_write_buffer_size():  # noqa: ASYNC110  # its only event comes before the last byte
            await asyncio.sleep(0.01)

    async def hear(self) -> Reply:
        """The next reply; raises HungUp when none will come."""
        while not self._replies:
            if not self.is_open:
                raise HungUp
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._replies.popleft()

    def hang_up(self) -> None:
        """End it at once; what has not left yet never will."""
        self._transport.abort()

    def part(self) -> None:
        """Say goodbye, and do not wait for what the other side says to it."""
        if self.is_open:
            self._transport.write(b"QUIT\r\n")
        self._transport.close()

    async def say_goodbye(self, seconds: float) -> None:
        """End it as one should, if the other side is quick enough."""
        try:
            async with asyncio.timeout(seconds):
                self.say(b"QUIT")
                await self.hear()
        except (HungUp, TimeoutError):
            pass
        finally:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._said += data
        while not self._is_broken and (end := self._said.find(b"\n")) >= 0:
            line = bytes(self._said[:end]).rstrip(b"\r")
            del self._said[: end + 1]
            self._read(line)
        if len(self._said) + sum(map(len, self._texts)) > _LONGEST_REPLY:
            self._is_broken = True
        self._wake()

    def _read(self, line: bytes) -> None:
        found = _REPLY_LINE.fullmatch(line)
        if found is None or (self._code and self._code != found[1]):
            # Nobody can read it.
            self._is_broken = True
            return
        self._code = found[1]
        self._texts.append(found[3].strip())
        if found[2] == b"-":
            return
        text = b"\n".join(self._texts).decode("utf-8", "surrogateescape")
        self._texts.clear()
        self._hear(Reply(int(self._code), text))
        self._code = b""

    def _hear(self, reply: Reply) -> None:
        if self._owed == 0:
            # Said unasked: whatever is asked next would be answered by it.
            self._is_broken = True
            return
        self._owed -= 1
        self._replies.append(reply)
        if reply.code >= 400:
            self.refusals += 1
        if reply.code == _CLOSING:
            # Whatever it was asked, the relay hears no more.
            self._is_broken = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_broken = True
        self._wake()
