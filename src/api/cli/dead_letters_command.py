"""`interalpha dead-letters`: work that was given up, and what is to be done about it."""

from collections.abc import Sequence
from typing import Any

import rich_click as click

from api.cli.arguments import Words, choice
from api.cli.asking import ask, yes_option
from api.cli.calling import call, clock, json_option, limit_options, listed, print_json, screen, url_option
from api.cli.deciding import discard, requeue, tell, way_of
from api.cli.parties import PARTIES

_LIST = f"""
query List($first: Int!, $after: String, $filter: DeadLetterFilter) {{
  deadLetters(first: $first, after: $after, filter: $filter) {{
    pageInfo {{ hasNextPage endCursor }}
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
@choice("--kind", _KINDS, "Only work of this kind")
@click.option("--resolved", is_flag=True, help="Those somebody has decided about.")
@limit_options
@json_option
@url_option
def list_(kind: str | None, resolved: bool, limit: int, is_all: bool, as_json: bool, url: str | None) -> None:
    """List dead letters, newest first."""
    condition: dict[str, Any] = {"isResolved": resolved} | ({"kinds": [_KINDS[kind]]} if kind else {})

    nodes, has_more = listed(url, _LIST, {"filter": condition}, "deadLetters", None if is_all else limit)
    if as_json:
        print_json(nodes)
        return
    out = screen()
    for one in nodes:
        company = one["integration"]["kind"].lower() if one["integration"] else ""
        about = (one["resolution"] or one["kind"]).lower()
        out.print(f"{clock(one['failedAt'], millis=False)}  {about:<13}  {company:<9}  {one['id']}")
        out.print(f"    {one['error']}   {way_of(one['subject'])}".rstrip())
    if not nodes:
        click.echo("No dead letters.", err=True)
    elif has_more:
        click.echo("There are more: --all lists them, and --kind chooses.", err=True)


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
