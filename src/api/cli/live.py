"""Messages as they move, one line each: the subscription, its lines, and following it beside `interalpha dev`."""

import asyncio
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from api.cli.calling import clock
from api.cli.client import connect
from api.cli.clocks import name_zone
from api.cli.credentials import development_token
from api.cli.failures import Failure
from api.cli.parties import PARTIES, arrow, whom
from api.dev.supervisor import Standing
from api.embedded.folder import LOOPBACK

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
"""Changes of messages, with nobody's address or words in full."""


async def follow(standing: Standing, out: Console) -> None:
    """Print every change until cancelled; while the API is away it is simply asked again."""
    address, token = f"http://{LOOPBACK}:{standing.settings['PORT']}", development_token(standing.settings)
    while True:
        try:
            async with connect(address, token) as api:
                async for data in api.follow(CHANGES, {}):
                    change = data["messageStatusChanged"]
                    # A tenth of a second of being on its way is noise.
                    if change["event"]["status"] != "SENDING":
                        text = line(change)
                        name_zone(lambda words: out.print(f"  {words}"))
                        out.print(text)
        except Failure:
            # Its end has been told, and so will be its return; there is nothing to add.
            pass
        await asyncio.sleep(_PAUSE_SECONDS)


def line(change: Mapping[str, Any]) -> str:
    """Return one change in one line."""
    message, event = change["message"], change["event"]
    way = f"{arrow(message)} {message['channel'].lower():<8}  {event['status'].lower():<11}  {whom(message):<20}"
    why = (
        f"   {message['failure']['message']}" if message["failure"] and event["status"] in ("FAILED", "QUEUED") else ""
    )
    return f"  {clock(event['at'])}  {way}  {message['id']}{why}"
