"""`interalpha listen`: what becomes of messages, live in the terminal, through restarts of the server."""

import asyncio
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import rich_click as click
from rich.console import Console

from api.cli.arguments import CHANNELS, DIRECTIONS, Words, choice
from api.cli.calling import as_json as written
from api.cli.calling import call, screen, url_option
from api.cli.client import Api, CursorExpired, NotAllowed, NotSignedFor, Rejected
from api.cli.clocks import name_zone
from api.cli.failures import Failure
from api.cli.forwarding import Forwarder, check_target
from api.cli.live import CHANGES, line
from core.messages.status import MessageStatus

_PAUSE_SECONDS = 1.0


@click.command()
@choice("--channel", CHANNELS, "Only what happens on this channel", name="channels")
@choice("--status", [one.lower() for one in MessageStatus], "Only changes to this status", name="statuses")
@choice("--direction", DIRECTIONS, "Only messages you sent, or only those that were sent to you")
@click.option("--batch", type=Words(), metavar="ID", help="Only messages of this batch.")
@click.option("--after", type=Words(), metavar="CURSOR", help="Begin with the changes since this cursor.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON, with its cursor.")
@click.option("--forward-to", metavar="URL", help="POST each event as JSON to a program on this machine.")
@url_option
def command(
    channels: Collection[str],
    statuses: Collection[str],
    direction: str | None,
    batch: str | None,
    after: str | None,
    as_json: bool,
    forward_to: str | None,
    url: str | None,
) -> None:
    """Print what becomes of messages as it happens, until Ctrl-C.

    Each event has a cursor, which --json prints: store the last one, and --after goes on behind it another time, for up
    to an hour of what was missed. So the command itself goes on when the server was away.
    """
    notices = screen(stderr=True)
    forwarder = Forwarder(check_target(forward_to), notices.print) if forward_to else None
    wanted = {
        "channels": [one.upper() for one in channels],
        "statuses": [one.upper() for one in statuses],
        "direction": direction and direction.upper(),
        "batchId": batch,
    }
    condition = {name: value for name, value in wanted.items() if value}
    listener = Listener(condition, after, as_json, forwarder, screen(), notices)
    with suppress(KeyboardInterrupt):
        call(url, listener.run)
    listener.conclude()


@dataclass(slots=True)
class Listener:
    """Prints changes to `out` and hands them on; what else there is to say goes to `notices`.

    `after` is the cursor of the last change, behind which it goes on.
    """

    condition: Mapping[str, Any]
    after: str | None
    as_json: bool
    forwarder: Forwarder | None
    out: Console
    notices: Console
    _was_open: bool = field(default=False, init=False)
    _is_away: bool = field(default=False, init=False)
    _has_heard: bool = field(default=False, init=False)

    async def run(self, api: Api) -> None:
        """Listen until cancelled; raises Failure when the server was never there, or refuses us."""
        forwarding = asyncio.create_task(self.forwarder.run()) if self.forwarder else None
        try:
            while True:
                self._miss(await self._listen_once(api))
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            if forwarding is not None:
                forwarding.cancel()

    def conclude(self) -> None:
        """Say where to go on."""
        if self._has_heard and not self.as_json:
            self.notices.print(f"Go on from here: interalpha listen --after {self.after}")

    async def _listen_once(self, api: Api) -> str:
        """Listen until the stream ends, and say why it did."""
        try:
            async for data in api.follow(CHANGES, {"filter": self.condition, "after": self.after}, opened=self._open):
                self._take(data["messageStatusChanged"])
        except CursorExpired as error:
            if not self._has_heard:
                raise
            self.after = None
            return f"{error} What happened meanwhile is in `interalpha messages list`."
        except (NotSignedFor, NotAllowed, Rejected):
            raise
        except Failure as failure:
            if not self._was_open:
                raise
            return str(failure)
        return "The server ended the stream."

    def _open(self) -> None:
        if self._is_away:
            told = (
                "What happened meanwhile follows." if self.after else "`interalpha messages list` has what it missed."
            )
            self.notices.print(f"✓ The server is back. {told}")
        elif not self._was_open:
            self.notices.print("Listening. Ctrl-C ends it.")
        self._was_open, self._is_away = True, False

    def _miss(self, why: str) -> None:
        if not self._is_away:
            self.notices.print(f"! {why} Asking again until it is back.")
        self._is_away = True

    def _take(self, change: Mapping[str, Any]) -> None:
        self.after, self._has_heard = change["cursor"], True
        if change["hasGap"]:
            self.notices.print(
                "! This client was too slow: some changes are missing here. `interalpha messages list` has them."
            )
        if self.as_json:
            sys.stdout.write(written(change) + "\n")
            sys.stdout.flush()
        # A tenth of a second of being on its way is noise, unless somebody asked for it.
        elif change["event"]["status"] != MessageStatus.SENDING or "statuses" in self.condition:
            text = line(change)
            name_zone(self.out.print)
            self.out.print(text)
        if self.forwarder is not None:
            self.forwarder.take(change)
