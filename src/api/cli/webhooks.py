"""`interalpha webhooks`: webhooks from providers, and how they were processed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich_click as click

from api.cli.client import Api, call, limit_options, listed, url_option
from api.cli.dead_letters import print_outcomes, replay
from api.cli.message_input import PARTIES, way_of
from api.cli.options import Utf8Text, choice
from api.cli.terminal import Failure, clock, json_option, print_json, screen
from core.inbox.tables import WebhookStatus

COMMANDS = {"webhooks": ("command", "List, show and replay webhooks from providers.", 110)}

_FIELDS = f"""
id eventType providerEventId status error attempts receivedAt processedAt integration {{ kind }}
subject {{ ... on Message {{ id channel {PARTIES} }} }}
"""
_LIST = f"""
query List($first: Int!, $after: String, $filter: WebhookDeliveryFilter) {{
  webhookDeliveries(first: $first, after: $after, filter: $filter) {{
    nodes {{ {_FIELDS} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}
"""
_SHOW = f"query Show($id: ID!) {{ node(id: $id) {{ ... on WebhookDelivery {{ {_FIELDS} payload }} }} }}"


@click.group()
def command() -> None:
    """List, show and replay webhooks from providers."""


@command.command("list")
@choice("--status", [one.lower() for one in WebhookStatus], "Only webhooks in this status")
@click.option("--message", "message", type=Utf8Text(), metavar="ID", help="Only what was said about this message.")
@limit_options
@json_option
@url_option
def list_(status: str | None, message: str | None, limit: int, is_all: bool, as_json: bool, url: str | None) -> None:
    """List webhooks, newest first."""
    wanted = {"statuses": status and [status.upper()], "subjectId": message}
    condition = {name: value for name, value in wanted.items() if value}

    nodes, has_more = listed(url, _LIST, {"filter": condition}, "webhookDeliveries", None if is_all else limit)
    if as_json:
        print_json(nodes)
        return
    out = screen()
    for one in nodes:
        out.print(_line(one))
    if not nodes:
        click.echo("No webhooks.", err=True)
    elif has_more:
        click.echo("There are more: --all lists them, and --status and --message choose.", err=True)


@command.command()
@click.argument("id", type=Utf8Text(), metavar="ID")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """Show one webhook: what came, without anybody's address or words, and what became of it."""

    async def work(api: Api) -> dict[str, Any]:
        found: dict[str, Any] | None = (await api.ask(_SHOW, {"id": id}))["node"]
        if not found:
            raise Failure("There is no such webhook. `interalpha webhooks list` shows the ids of those there are.")
        return found

    webhook = call(url, work)
    if as_json:
        print_json(webhook)
        return
    out = screen()
    for line in _story(webhook):
        out.print(line)
    print_json(webhook["payload"])


@command.command("replay")
@click.argument("ids", type=Utf8Text(), metavar="ID…", nargs=-1, required=True)
@json_option
@url_option
def replay_(ids: Sequence[str], as_json: bool, url: str | None) -> None:
    """Process webhooks again as if they had just come. What they did already they do not do twice."""
    decided = call(url, lambda api: replay(api, ids))
    print_outcomes(
        decided, "queued again", as_json=as_json, then="`interalpha webhooks show ID` says what comes of it."
    )


def _line(one: Mapping[str, Any]) -> str:
    provider, when = one["integration"]["kind"].lower(), clock(one["receivedAt"], millis=False)
    return (
        f"{when}  {provider:<9} {one['eventType']:<12}  {one['status'].lower():<9}  {way_of(one['subject']):<28}"
        f"  {one['id']}"
    )


def _story(one: Mapping[str, Any]) -> Iterator[str]:
    yield _line(one)
    yield f"    {one['providerEventId']}"
    if one["subject"]:
        yield f" Moved  {one['subject']['id']}"
    if one["error"]:
        yield f" Why    {one['error']}   (tries: {one['attempts']})"
    if one["status"] == "FAILED":
        yield f" Next   interalpha webhooks replay {one['id']}   after its cause is fixed"
