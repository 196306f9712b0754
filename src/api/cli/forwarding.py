"""Handing events on to a program on this machine, one POST each, in their order."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import rich_click as click

from core.settings.addresses import is_loopback, split

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
    """Posts what it is given; a program that takes nothing holds up nobody. `tell` is told how each was received."""

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
