"""`interalpha messages`: what was sent, and what happened to it, attempt by attempt."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import rich_click as click

from api.cli.client import Api, NotSignedFor, call, limit_options, pages, url_option
from api.cli.dead_letters import cancel as stop
from api.cli.dead_letters import print_outcomes
from api.cli.dead_letters import settle as decide
from api.cli.message_input import PARTIES, STORY, arrow, masked, recipient, story, whom
from api.cli.options import CHANNELS, DIRECTIONS, Choice, Moment, Utf8Text, as_moment, choice
from api.cli.terminal import Failure, clock, confirm, json_option, print_json, screen, yes_option
from core.messages.status import MessageStatus

COMMANDS = {"messages": ("command", "List, show, cancel and settle messages.", 60)}

_LIST = f"""
query List($first: Int!, $after: String, $filter: MessageFilter) {{
  messages(first: $first, after: $after, filter: $filter) {{
    edges {{ cursor node {{ id status channel {PARTIES} externalId createdAt failure {{ message }} }} }}
    pageInfo {{ hasNextPage endCursor }}
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
    """List, show, cancel and settle messages."""


@command.command("list")
@choice("--status", [one.lower() for one in MessageStatus], "Only messages in this status", name="statuses")
@choice("--channel", CHANNELS, "Only messages on this channel", name="channels")
@choice("--direction", DIRECTIONS, "Only what you sent, or what was sent to you")
@click.option("--to", type=Utf8Text(), metavar="ADDRESS", help="Only messages to this number or e-mail address.")
@click.option("--from", "sender", type=Utf8Text(), metavar="ADDRESS", help="Only messages from this number or address.")
@click.option("--external-id", type=Utf8Text(), metavar="ID", help="Only the message with this id of yours.")
@click.option("--batch", type=Utf8Text(), metavar="ID", help="Only messages of this batch.")
@click.option("--since", type=Moment(is_past=True), metavar="TIME", help="Made since then: 2h (ago), 2026-12-01T09:30.")
@click.option("--until", type=Moment(is_past=True), metavar="TIME", help="Made before then, written in the same way.")
@limit_options
@click.option("--after", type=Utf8Text(), metavar="CURSOR", help="Go on behind a list that ended with this cursor.")
@json_option
@url_option
def list_(limit: int, is_all: bool, after: str | None, as_json: bool, url: str | None, **wanted: Any) -> None:
    """List messages, newest first.

    An address is found in any spelling, a Brazilian mobile number with its ninth digit and without. What messages say
    is stored encrypted and cannot be searched.
    """
    given = {"filter": _condition(**wanted), "after": after}
    edges: list[dict[str, Any]] = []

    async def work(api: Api) -> dict[str, Any]:
        info: dict[str, Any] = {}
        async for page in pages(api, _LIST, given, "messages", None if is_all else limit):
            info = page["pageInfo"]
            edges.extend(page["edges"])
            if not as_json:
                _print_lines(page["edges"])
        return info

    info = call(url, work)
    if as_json:
        print_json([{**edge["node"], "cursor": edge["cursor"]} for edge in edges])
    elif not edges and not given["filter"] and not after:
        click.echo('No messages. Send one: interalpha send sms "+55 11 98765-4321" "Olá!"', err=True)
    elif not edges:
        click.echo("No messages match.", err=True)
    elif info["hasNextPage"]:
        click.echo(f"There are more. Go on with --after {info['endCursor']}, or list --all of them.", err=True)


def _condition(
    *,
    statuses: Sequence[str],
    channels: Sequence[str],
    direction: str | None,
    to: str | None,
    sender: str | None,
    external_id: str | None,
    batch: str | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    """The options as a MessageFilter, with those alone that were given: an older server may not know them all."""
    if since and until and since >= until:
        raise click.UsageError("--since is not before --until: swap the two, or leave one out.")
    span = {"start": since and as_moment(since), "end": until and as_moment(until)}
    condition = {
        "statuses": [one.upper() for one in statuses],
        "channels": [one.upper() for one in channels],
        "direction": direction and direction.upper(),
        "to": recipient(to) if to is not None else None,
        "from": recipient(sender) if sender is not None else None,
        "externalId": external_id,
        "batchId": batch,
        "created": {name: moment for name, moment in span.items() if moment},
    }
    return {name: value for name, value in condition.items() if value not in (None, [], {})}


def _print_lines(edges: Sequence[Mapping[str, Any]]) -> None:
    out = screen()
    for one in (edge["node"] for edge in edges):
        when, way = clock(one["createdAt"], millis=False), f"{arrow(one)} {one['channel'].lower():<8}"
        line = f"{when}  {way}  {one['status'].lower():<11}  {whom(one):<20}  {one['id']}  {one['externalId'] or ''}"
        out.print(line.rstrip())


@command.command()
@click.argument("ids", type=Utf8Text(), metavar="ID…", nargs=-1, required=True)
@json_option
@url_option
def cancel(ids: Sequence[str], as_json: bool, url: str | None) -> None:
    """Stop messages that have not gone out yet, by their ids."""

    print_outcomes(call(url, lambda api: stop(api, ids)), "canceled", as_json=as_json)


@command.command()
@click.argument("id", type=Utf8Text(), metavar="ID")
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


_WARNINGS = {
    "sent": "It counts as sent. If the provider did not accept it, it never arrives.",
    "failed": "It counts as failed. If the provider accepted it, it still arrives.",
    "resend": "It is sent again. If the provider accepted it, it arrives twice.",
}


@command.command()
@click.argument("id", type=Utf8Text(), metavar="ID")
@click.option(
    "--as",
    "decision",
    type=Choice(list(_WARNINGS), case_sensitive=False),
    required=True,
    help="The decision: sent, failed or resend.",
)
@yes_option
@json_option
@url_option
def settle(id: str, decision: str, yes: bool, as_json: bool, url: str | None) -> None:
    """Decide about an unconfirmed message.

    Look it up with its provider first: if you are wrong, it arrives twice, or not at all.
    """
    decision = decision.lower()
    confirm(f"{_WARNINGS[decision]} Settle it?", yes=yes)
    decided, status = call(url, lambda api: decide(api, id, decision))
    print_outcomes([decided], f"{(status or '').lower()}", as_json=as_json)


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
