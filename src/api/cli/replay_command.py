"""`interalpha replay`: failed work once more, by the id of whatever stands for it, or all of it of the last while."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import rich_click as click

from api.cli.arguments import Ago, Words
from api.cli.asking import ask, yes_option
from api.cli.calling import call, json_option, url_option
from api.cli.client import Api
from api.cli.deciding import Decided, replay, requeue, tell

_OF = """
query Of($id: ID!) {
  node(id: $id) { __typename }
  deadLetters(first: 1, filter: {subjectId: $id, kinds: ["message.send"]}) { nodes { id } }
}
"""
_FAILED = """
query Failed($after: String, $filter: DeadLetterFilter) {
  deadLetters(first: 100, after: $after, filter: $filter) {
    nodes { id subject { ... on Message { channel } } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


@dataclass(slots=True)
class _Chosen:
    """What is to be tried again, and what cannot be."""

    letters: list[str] = field(default_factory=list)
    webhooks: list[str] = field(default_factory=list)
    refused: list[Decided] = field(default_factory=list)

    @property
    def question(self) -> str:
        kinds = {"failed": len(self.letters), "webhook": len(self.webhooks)}
        words = " and ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return f"Try {words} again?"


@click.command()
@click.argument("ids", type=Words(), metavar="[ID]…", nargs=-1)
@click.option("--failed", is_flag=True, help="Everything that was given up and nobody has decided about.")
@click.option("--since", type=Ago(), metavar="TIME", help="With --failed: what failed in the last 30m, 1h, 2d.")
@click.option("--channel", type=click.Choice(["whatsapp", "sms", "email"]), help="With --failed: of one channel.")
@yes_option
@json_option
@url_option
def command(
    ids: Sequence[str],
    failed: bool,
    since: timedelta | None,
    channel: str | None,
    yes: bool,
    as_json: bool,
    url: str | None,
) -> None:
    """Try failed work again: messages, dead letters, webhooks, each by its id.

    What a company perhaps took is refused: it may arrive twice, and `retryMessage` sends it all the same.
    """
    if bool(ids) == failed:
        raise click.UsageError("Give the ids of what is to be tried again, or --failed for all of it.")
    if not failed and (since or channel):
        raise click.UsageError("--since and --channel go with --failed.")

    async def choose(api: Api) -> _Chosen:
        return await _all_failed(api, since, channel) if failed else await _by_ids(api, ids)

    chosen = call(url, choose)
    if failed and not chosen.letters:
        click.echo("✓ Nothing failed that waits for somebody.", err=True)
        return
    if chosen.letters or chosen.webhooks:
        ask(chosen.question, yes=yes)

    async def work(api: Api) -> list[Decided]:
        return [*await requeue(api, chosen.letters), *await replay(api, chosen.webhooks), *chosen.refused]

    tell(call(url, work), "queued again", as_json=as_json, then="`interalpha messages list` says what comes of it.")


async def _by_ids(api: Api, ids: Sequence[str]) -> _Chosen:
    chosen = _Chosen()
    for id in dict.fromkeys(ids):
        found = await api.ask(_OF, {"id": id})
        kind, letters = (found["node"] or {}).get("__typename"), found["deadLetters"]["nodes"]
        if kind == "DeadLetter":
            chosen.letters.append(id)
        elif kind == "WebhookDelivery":
            chosen.webhooks.append(id)
        elif kind == "Message" and letters:
            chosen.letters.append(letters[0]["id"])
        elif kind == "Message":
            words = "It has no dead letter: it has not failed, or only its sender or recipient can mend it."
            chosen.refused.append(Decided(id, f"{words} `interalpha messages show {id}` says more."))
        else:
            chosen.refused.append(Decided(id, "There is no message, dead letter or webhook of this id."))
    return chosen


async def _all_failed(api: Api, since: timedelta | None, channel: str | None) -> _Chosen:
    chosen, after = _Chosen(), None
    condition: dict[str, Any] = {}
    if since:
        condition["failed"] = {"start": (datetime.now(UTC) - since).isoformat()}
    while True:
        page = (await api.ask(_FAILED, {"after": after, "filter": condition}))["deadLetters"]
        chosen.letters += [one["id"] for one in page["nodes"] if channel is None or _channel(one) == channel.upper()]
        if not page["pageInfo"]["hasNextPage"]:
            return chosen
        after = page["pageInfo"]["endCursor"]


def _channel(letter: dict[str, Any]) -> str | None:
    channel: str | None = (letter["subject"] or {}).get("channel")
    return channel
