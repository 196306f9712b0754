"""`interalpha listen`: what becomes of messages, live in the terminal, through restarts of the server."""

import asyncio
import json
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import rich_click as click
from rich.console import Console

from api.cli.calling import call, screen, url_option
from api.cli.client import Api, NotSignedFor
from api.cli.clocks import name_zone
from api.cli.failures import Failure
from api.cli.forwarding import Forwarder, check_target
from api.cli.live import CHANGES, line
from core.messages.values import MessageStatus

_PAUSE_SECONDS = 1.0


@click.command()
@click.option(
    "--channel", "channels", multiple=True, type=click.Choice(["whatsapp", "sms", "email"], case_sensitive=False)
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([one.lower() for one in MessageStatus], case_sensitive=False),
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.option("--forward-to", metavar="URL", help="POST each event as JSON to a program on this machine.")
@url_option
def command(
    channels: Collection[str], statuses: Collection[str], as_json: bool, forward_to: str | None, url: str | None
) -> None:
    """Print what becomes of messages as it happens, until Ctrl-C; --channel and --status choose, and may be repeated.

    What happens while the server is away is not shown afterwards; `interalpha messages list` has it.
    """
    notices = screen(stderr=True)
    forwarder = Forwarder(check_target(forward_to), notices.print) if forward_to else None
    chosen = Chosen({one.upper() for one in channels}, {one.upper() for one in statuses})
    listener = Listener(chosen, as_json, forwarder, screen(), notices)
    with suppress(KeyboardInterrupt):
        call(url, listener.run)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which changes are wanted; an empty set wants all."""

    channels: Collection[str]
    statuses: Collection[str]

    def __contains__(self, change: Mapping[str, Any]) -> bool:
        channel, status = change["message"]["channel"], change["event"]["status"]
        return (not self.channels or channel in self.channels) and (not self.statuses or status in self.statuses)


@dataclass(slots=True)
class Listener:
    """Prints changes to `out` and hands them on; what else there is to say goes to `notices`."""

    chosen: Chosen
    as_json: bool
    forwarder: Forwarder | None
    out: Console
    notices: Console
    _was_open: bool = field(default=False, init=False)
    _is_away: bool = field(default=False, init=False)

    async def run(self, api: Api) -> None:
        """Listen until cancelled; raises Failure when the server was never there, or does not know us."""
        forwarding = asyncio.create_task(self.forwarder.run()) if self.forwarder else None
        try:
            while True:
                self._miss(await self._listen_once(api))
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            if forwarding is not None:
                forwarding.cancel()

    async def _listen_once(self, api: Api) -> str:
        """Listen until the stream ends, and say why it did."""
        try:
            async for data in api.follow(CHANGES, {}, opened=self._open):
                if (change := data["messageStatusChanged"]) in self.chosen:
                    self._take(change)
        except NotSignedFor:
            raise
        except Failure as failure:
            if not self._was_open:
                raise
            return str(failure)
        return "The server ended the stream."

    def _open(self) -> None:
        if self._is_away:
            self.notices.print("✓ It is back. `interalpha messages list` shows what happened meanwhile.")
        elif not self._was_open:
            self.notices.print("Listening. Ctrl-C ends it.")
        self._was_open, self._is_away = True, False

    def _miss(self, why: str) -> None:
        if not self._is_away:
            self.notices.print(f"! {why} Asking again until it is back.")
        self._is_away = True

    def _take(self, change: Mapping[str, Any]) -> None:
        if self.as_json:
            sys.stdout.write(json.dumps(change, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        # A tenth of a second of being on its way is noise, unless somebody asked for it.
        elif change["event"]["status"] != MessageStatus.SENDING or self.chosen.statuses:
            text = line(change)
            name_zone(self.out.print)
            self.out.print(text)
        if self.forwarder is not None:
            self.forwarder.take(change)
