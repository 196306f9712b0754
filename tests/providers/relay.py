"""A mail relay that says at every stage what a test wants to hear, or hangs up there, or keeps still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.providers.wire import Line, Wire, listening

HANG_UP, RESET, SILENCE = "(hang up)", "(reset)", "(silence)"
PIPELINING = "250-relay.example\r\n250-AUTH PLAIN\r\n250-PIPELINING\r\n250 SMTPUTF8"
_USUAL = {
    "connect": "220 relay.example ESMTP",
    "ehlo": "250-relay.example\r\n250-AUTH PLAIN\r\n250 SMTPUTF8",
    "auth": "235 2.7.0 Welcome",
    "data": "354 Go ahead",
    "end-of-data": "250 2.0.0 Ok: queued as 4bX9qZ1",
    "quit": "221 2.0.0 Bye",
}


@dataclass
class Relay:
    """What came, and what is said: by stage, the reply or one of the three ways to give none."""

    wire: Wire = field(default_factory=Wire)
    replies: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    is_deaf: bool = False

    @property
    def port(self) -> int:
        return self.wire.port

    async def talk(self, line: Line) -> None:
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
        return self.replies.get(stage) or _USUAL.get(stage, "250 2.0.0 Ok")

    async def _reply(self, line: Line, stage: str) -> bool:
        said = self._says(stage)
        if said == SILENCE:
            await asyncio.Event().wait()
        if said == RESET:
            line.reset()
        elif said != HANG_UP:
            await line.say(f"{said}\r\n".encode("utf-8", "surrogateescape"))
        return said not in (HANG_UP, RESET) and not said.startswith("421")


@asynccontextmanager
async def relaying(**replies: str) -> AsyncIterator[Relay]:
    """Listen; a stage is `connect`, a command in lower case, or `end_of_data`."""
    relay = Relay(replies={stage.replace("_", "-"): reply for stage, reply in replies.items()})
    async with listening(relay.talk) as relay.wire:
        yield relay
