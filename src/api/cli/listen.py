"""`interalpha listen`: changes of messages as they happen, printed or forwarded to a local program."""

import asyncio
import json
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import rich_click as click
from rich.console import Console

from api.cli.client import Api, CursorExpired, NotAllowed, NotSignedFor, Rejected, call, url_option
from api.cli.message_input import PARTIES, arrow, whom
from api.cli.options import CHANNELS, DIRECTIONS, Utf8Text, choice
from api.cli.terminal import Failure, clock, name_zone, screen
from api.cli.terminal import as_json as written
from core.messages.status import MessageStatus
from core.settings.addresses import is_loopback, split

COMMANDS = {"listen": ("command", "Print changes of messages as they happen; forward them to a local program.", 70)}

_PAUSE_SECONDS = 1.0
CHANGES = f"""
subscription Changes($filter: MessageStatusFilter, $after: String) {{
  messageStatusChanged(filter: $filter, after: $after) {{
    previousStatus cursor hasGap
    event {{ id status channel source detail at }}
    message {{
      id status channel {PARTIES} createdAt nextAttemptAt
      failure {{ reason party message providerCode isTransient }}
    }}
  }}
}}
"""
"""Changes of messages: addresses are masked, and no text is included."""
_BATCH = "query Batch($id: ID!) { messageBatch(id: $id) { id } }"


def change_line(change: Mapping[str, Any]) -> str:
    """Return one change in one line."""
    message, event = change["message"], change["event"]
    way = f"{arrow(message)} {message['channel'].lower():<8}  {event['status'].lower():<11}  {whom(message):<20}"
    why = (
        f"   {message['failure']['message']}" if message["failure"] and event["status"] in ("FAILED", "QUEUED") else ""
    )
    return f"  {clock(event['at'])}  {way}  {message['id']}{why}"


# Forwarding events to a local program: one POST for each, in order.


_SECONDS = 10.0
"""How long one of them may take."""
_WAITING = 1_000
"""How many may wait for their turn."""


def check_target(text: str) -> str:
    """Accept an address on this machine; raises UsageError for any other."""
    parts = split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError("--forward-to is no address: write it like http://localhost:3000/hook.")
    if not is_loopback(text):
        raise click.UsageError(
            f"--forward-to {parts.hostname} is not this machine: events go to localhost, 127.0.0.1 or [::1] only."
        )
    return text


class Forwarder:
    """Posts events one after another; a slow program does not delay `listen`. `tell` prints how each was received."""

    def __init__(self, target: str, tell: Callable[[str], None]) -> None:
        self._target = target
        self._shown = f"POST {urlsplit(target).path or '/'}"
        self._tell = tell
        self._waiting: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(_WAITING)

    def take(self, change: Mapping[str, Any]) -> None:
        """Put an event in line; one that finds no room is dropped, and said to be."""
        try:
            self._waiting.put_nowait(change)
        except asyncio.QueueFull:
            self._tell(f"! {self._shown} takes too long: an event was not forwarded, since {_WAITING} wait already.")

    async def run(self) -> None:
        """Post them until cancelled."""
        # Redirects are not followed: they could lead off this machine.
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False, follow_redirects=False) as http:
            while True:
                self._tell(await self._post(http, await self._waiting.get()))

    async def _post(self, http: httpx.AsyncClient, change: Mapping[str, Any]) -> str:
        body = json.dumps(change, ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "user-agent": "interalpha-listen"}
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await http.post(self._target, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            return f"! {self._shown} failed: {str(error) or type(error).__name__}"
        millis = answer.elapsed.total_seconds() * 1000
        return f"{'→' if answer.is_success else '!'} {self._shown} {answer.status_code} {millis:.0f} ms"


# `interalpha listen`: prints message changes live, also across restarts of the server.


@click.command()
@choice("--channel", CHANNELS, "Only what happens on this channel", name="channels")
@choice("--status", [one.lower() for one in MessageStatus], "Only changes to this status", name="statuses")
@choice("--direction", DIRECTIONS, "Only messages you sent, or only those that were sent to you")
@click.option("--batch", type=Utf8Text(), metavar="ID", help="Only messages of this batch.")
@click.option("--after", type=Utf8Text(), metavar="CURSOR", help="Begin with the changes since this cursor.")
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
        # A stream opens before its filter is read, and the command would say that it listens.
        if (batch := self.condition.get("batchId")) and (await api.ask(_BATCH, {"id": batch}))["messageBatch"] is None:
            raise Rejected(
                "There is no such batch. (NOT_FOUND) `interalpha batch send` prints the id of the one it makes."
            )
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
        # A tenth of a second of being on its way is noise, unless the user asked for it.
        elif change["event"]["status"] != MessageStatus.SENDING or "statuses" in self.condition:
            text = change_line(change)
            name_zone(self.out.print)
            self.out.print(text)
        if self.forwarder is not None:
            self.forwarder.take(change)
