"""`interalpha messages`: what was sent, and what happened to it, attempt by attempt."""

from collections.abc import Mapping
from typing import Any

import rich_click as click

from api.cli.arguments import Words
from api.cli.calling import call, clock, json_option, masked, print_json, screen, url_option
from api.cli.client import Api, NotSignedFor
from api.cli.failures import Failure
from api.cli.parties import PARTIES, arrow, whom
from api.cli.story import STORY, story
from core.messages.values import MessageStatus

_LIST = f"""
query List($first: Int!, $filter: MessageFilter) {{
  messages(first: $first, filter: $filter) {{
    nodes {{ id status channel {PARTIES} createdAt failure {{ message }} }}
    pageInfo {{ hasNextPage }}
  }}
}}
"""
_SHOW = f"query Show($id: ID!) {{ message(id: $id) {{ {STORY} }} }}"
_LETTER = """
query Letter($id: ID!) {
  deadLetters(first: 1, filter: {subjectId: $id, kinds: ["message.send"]}) { nodes { id } }
}
"""


@click.group()
def command() -> None:
    """What was sent, and what became of it."""


@command.command("list")
@click.option("--status", type=click.Choice([one.lower() for one in MessageStatus], case_sensitive=False))
@click.option("--channel", type=click.Choice(["whatsapp", "sms", "email"], case_sensitive=False))
@click.option("--limit", type=click.IntRange(1, 100), default=25, show_default=True, help="How many, newest first.")
@json_option
@url_option
def list_(status: str | None, channel: str | None, limit: int, as_json: bool, url: str | None) -> None:
    """List messages, newest first."""
    wanted = {"statuses": status and [status.upper()], "channels": channel and [channel.upper()]}
    condition = {name: value for name, value in wanted.items() if value}

    async def work(api: Api) -> dict[str, Any]:
        data = await api.ask(_LIST, {"first": limit, "filter": condition})
        page: dict[str, Any] = data["messages"]
        return page

    page = call(url, work)
    if as_json:
        print_json(page["nodes"])
        return
    out = screen()
    for one in page["nodes"]:
        when, way = clock(one["createdAt"], millis=False), f"{arrow(one)} {one['channel'].lower():<8}"
        out.print(f"{when}  {way}  {one['status'].lower():<11}  {whom(one):<20}  {one['id']}")
    if not page["nodes"]:
        click.echo('No messages. Send one: interalpha send sms "+55 11 98765-4321" "Olá!"', err=True)
    elif page["pageInfo"]["hasNextPage"]:
        click.echo("There are more: --limit takes up to 100, and --status and --channel choose.", err=True)


@command.command()
@click.argument("id", type=Words(), metavar="ID")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """Show what happened to one message, and why."""

    async def work(api: Api) -> dict[str, Any]:
        found: dict[str, Any] | None = (await api.ask(_SHOW, {"id": id}))["message"]
        if found is None:
            raise Failure("There is no such message. `interalpha messages list` shows the ids of those there are.")
        return masked(found) | {"deadLetter": await _letter(api, found)}

    message = call(url, work)
    if as_json:
        print_json(message)
        return
    out = screen()
    for line in story(message):
        out.print(line)


async def _letter(api: Api, message: Mapping[str, Any]) -> str | None:
    """The dead letter of a message that failed, if it has one and the caller may see it."""
    if message["status"] != "FAILED":
        return None
    try:
        letters = (await api.ask(_LETTER, {"id": message["id"]}))["deadLetters"]["nodes"]
    except NotSignedFor:
        raise
    except Failure:
        return None
    return letters[0]["id"] if letters else None
