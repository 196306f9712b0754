"""`interalpha dead-letters`: work that was given up, and what is to be done about it."""

from collections.abc import Sequence
from typing import Any

import rich_click as click

from api.cli.arguments import Words
from api.cli.asking import ask, yes_option
from api.cli.calling import call, clock, json_option, print_json, screen, url_option
from api.cli.client import Api
from api.cli.deciding import discard, requeue, tell, way_of
from api.cli.parties import PARTIES

_LIST = f"""
query List($first: Int!, $filter: DeadLetterFilter) {{
  deadLetters(first: $first, filter: $filter) {{
    totalCount
    nodes {{
      id kind error attempts failedAt resolution integration {{ kind }}
      subject {{ ... on Message {{ id channel {PARTIES} }} }}
    }}
  }}
}}
"""
_KINDS = {"messages": "message.send", "webhooks": "webhook.apply"}


@click.group()
def command() -> None:
    """Work that was given up, and what to do about it."""


@command.command("list")
@click.option("--kind", type=click.Choice(list(_KINDS)), help="Only messages to send, or webhooks to process.")
@click.option("--resolved", is_flag=True, help="Those somebody has decided about.")
@click.option("--limit", type=click.IntRange(1, 100), default=25, show_default=True, help="How many, newest first.")
@json_option
@url_option
def list_(kind: str | None, resolved: bool, limit: int, as_json: bool, url: str | None) -> None:
    """List dead letters, newest first."""
    condition: dict[str, Any] = {"isResolved": resolved} | ({"kinds": [_KINDS[kind]]} if kind else {})

    async def work(api: Api) -> dict[str, Any]:
        page: dict[str, Any] = (await api.ask(_LIST, {"first": limit, "filter": condition}))["deadLetters"]
        return page

    page = call(url, work)
    if as_json:
        print_json(page["nodes"])
        return
    out = screen()
    for one in page["nodes"]:
        company = one["integration"]["kind"].lower() if one["integration"] else ""
        about = (one["resolution"] or one["kind"]).lower()
        out.print(f"{clock(one['failedAt'], millis=False)}  {about:<13}  {company:<9}  {one['id']}")
        out.print(f"    {one['error']}   {way_of(one['subject'])}".rstrip())
    if not page["nodes"]:
        click.echo("No dead letters.", err=True)
    elif (more := page["totalCount"] - len(page["nodes"])) > 0:
        click.echo(f"There are {more} more: --limit takes up to 100, and --kind chooses.", err=True)


@command.command("requeue")
@click.argument("ids", type=Words(), metavar="ID…", nargs=-1, required=True)
@yes_option
@json_option
@url_option
def requeue_(ids: Sequence[str], yes: bool, as_json: bool, url: str | None) -> None:
    """Put work back in its queue: messages are sent again, webhooks processed again."""
    ask(f"Try {len(ids)} again?", yes=yes)
    tell(call(url, lambda api: requeue(api, ids)), "queued again", as_json=as_json)


@command.command("discard")
@click.argument("ids", type=Words(), metavar="ID…", nargs=-1, required=True)
@yes_option
@json_option
@url_option
def discard_(ids: Sequence[str], yes: bool, as_json: bool, url: str | None) -> None:
    """Give up on work for good. What failed stays failed."""
    ask(f"Give up on {len(ids)} for good?", yes=yes)
    tell(call(url, lambda api: discard(api, ids)), "given up", as_json=as_json)
