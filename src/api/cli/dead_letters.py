"""Requeue, discard, replay, retry, cancel, settle through the API, and how the outcome is printed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import rich_click as click

from api.cli.client import Api, ask_with_waits, call, limit_options, listed, url_option
from api.cli.message_input import PARTIES, way_of
from api.cli.options import CHANNELS, Duration, Utf8Text, choice
from api.cli.terminal import Exit, clock, confirm, json_option, print_json, screen, yes_option

COMMANDS = {
    "replay": ("replay_command", "Try failed work again.", 80),
    "dead-letters": ("dead_letters_command", "List dead letters, requeue or discard them.", 90),
}

_MOST = 100
_ERRORS = "errors { ... on UserError { message path } ... on InvalidStateError { state } }"
_DECIDE = """
mutation Decide($ids: [ID!]!) {
  done: %s(input: {ids: $ids}) { deadLetters { id kind resolution } %s }
}
"""
_REPLAY = f"""
mutation Replay($id: ID!) {{ done: replayWebhook(input: {{id: $id}}) {{ delivery {{ id status }} {_ERRORS} }} }}
"""
_CANCEL = f"mutation Cancel($id: ID!) {{ done: cancelMessage(input: {{id: $id}}) {{ message {{ id }} {_ERRORS} }} }}"
_RETRY = f"""
mutation Retry($id: ID!) {{
  done: retryMessage(input: {{id: $id, mayArriveTwice: false}}) {{ message {{ id }} {_ERRORS} }}
}}
"""
_SETTLE = f"""
mutation Settle($id: ID!, $as: SettleAs!) {{
  done: settleMessage(input: {{id: $id, as: $as}}) {{ message {{ id status }} {_ERRORS} }}
}}
"""
_CANCEL_BATCH = """
mutation CancelBatch($id: ID!) {
  done: cancelMessageBatch(input: {id: $id}) {
    batch { id } canceledCount tooLateCount errors { ... on UserError { message path } }
  }
}
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one id: None where it was done, else why not."""

    id: str
    refusal: str | None

    def line(self, done: str) -> str:
        """Tell it."""
        return f"✓ {done}  {self.id}" if self.refusal is None else f"✗ {self.id}  {self.refusal}"


async def requeue(api: Api, ids: Sequence[str]) -> list[Outcome]:
    """Put the work of dead letters back in its queue, a hundred at a time."""
    return await _decide(api, "requeueDeadLetters", ids)


async def discard(api: Api, ids: Sequence[str]) -> list[Outcome]:
    """Give up on the work of dead letters, a hundred at a time."""
    return await _decide(api, "discardDeadLetters", ids)


async def replay(api: Api, ids: Sequence[str]) -> list[Outcome]:
    """Process webhooks again."""
    return [await _one(api, _REPLAY, id) for id in dict.fromkeys(ids)]


async def retry(api: Api, ids: Sequence[str]) -> list[Outcome]:
    """Send failed messages again; one that a provider perhaps took is refused."""
    return [await _one(api, _RETRY, id) for id in dict.fromkeys(ids)]


async def cancel(api: Api, ids: Sequence[str]) -> list[Outcome]:
    """Stop messages that have not gone out."""
    return [await _one(api, _CANCEL, id) for id in dict.fromkeys(ids)]


async def _one(api: Api, mutation: str, id: str) -> Outcome:
    errors = (await ask_with_waits(api, mutation, {"id": id}))["done"]["errors"]
    return Outcome(id, errors[0]["message"] if errors else None)


async def settle(api: Api, id: str, decision: str) -> tuple[Outcome, str | None]:
    """Decide about an unconfirmed message; with the status it has then."""
    payload = (await api.ask(_SETTLE, {"id": id, "as": decision.upper()}))["done"]
    errors = payload["errors"]
    return Outcome(id, errors[0]["message"] if errors else None), payload["message"] and payload["message"]["status"]


async def cancel_batch(api: Api, id: str) -> tuple[Outcome, Mapping[str, int]]:
    """Stop what has not gone out of a batch; with how many are canceled, and for how many it was too late."""
    payload = (await api.ask(_CANCEL_BATCH, {"id": id}))["done"]
    errors = payload["errors"]
    counts = {"canceled": payload["canceledCount"], "tooLate": payload["tooLateCount"]}
    return Outcome(id, errors[0]["message"] if errors else None), counts


async def _decide(api: Api, verb: str, ids: Sequence[str]) -> list[Outcome]:
    decided: list[Outcome] = []
    for some in _hundreds(list(dict.fromkeys(ids))):
        payload = (await ask_with_waits(api, _DECIDE % (verb, _ERRORS), {"ids": some}))["done"]
        refusals = {some[int(error["path"][-1])]: error["message"] for error in payload["errors"]}
        decided += [Outcome(id, refusals.get(id)) for id in some]
    return decided


def _hundreds(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (ids[begin : begin + _MOST] for begin in range(0, len(ids), _MOST))


def print_outcomes(decided: Sequence[Outcome], done: str, *, as_json: bool, then: str | None = None) -> None:
    """Print what became of each, and what to do then; ends with status 1 when any was refused."""
    if as_json:
        print_json([{"id": one.id, "done": one.refusal is None, "error": one.refusal} for one in decided])
    else:
        out = screen()
        for one in decided:
            out.print(one.line(done))
        if then and any(one.refusal is None for one in decided):
            click.echo(then, err=True)
    if any(one.refusal is not None for one in decided):
        raise SystemExit(Exit.FAILED)


# `interalpha dead-letters` and `interalpha replay`: failed work, and trying it again.


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
def dead_letters_command() -> None:
    """Failed work that waits for a decision: list, requeue, discard."""


@dead_letters_command.command("list")
@choice("--kind", _KINDS, "Only work of this kind")
@click.option("--resolved", is_flag=True, help="List resolved ones instead.")
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
        provider = one["integration"]["kind"].lower() if one["integration"] else ""
        about = (one["resolution"] or one["kind"]).lower()
        out.print(f"{clock(one['failedAt'], millis=False)}  {about:<13}  {provider:<9}  {one['id']}")
        out.print(f"    {one['error']}   {way_of(one['subject'])}".rstrip())
    if not nodes:
        click.echo("No dead letters.", err=True)
    elif has_more:
        click.echo("There are more: --all lists them, and --kind chooses.", err=True)


@dead_letters_command.command("requeue")
@click.argument("ids", type=Utf8Text(), metavar="ID…", nargs=-1, required=True)
@yes_option
@json_option
@url_option
def requeue_(ids: Sequence[str], yes: bool, as_json: bool, url: str | None) -> None:
    """Put work back in its queue: messages are sent again, webhooks processed again."""
    confirm(f"Try {len(ids)} again?", yes=yes)
    print_outcomes(call(url, lambda api: requeue(api, ids)), "queued again", as_json=as_json)


@dead_letters_command.command("discard")
@click.argument("ids", type=Utf8Text(), metavar="ID…", nargs=-1, required=True)
@yes_option
@json_option
@url_option
def discard_(ids: Sequence[str], yes: bool, as_json: bool, url: str | None) -> None:
    """Give up on work for good. What failed stays failed."""
    confirm(f"Give up on {len(ids)} for good?", yes=yes)
    print_outcomes(call(url, lambda api: discard(api, ids)), "discarded", as_json=as_json)


# `interalpha replay`: tries failed work again, by its id or all of a recent period.


_OF = """
query Of($id: ID!) {
  node(id: $id) { __typename ... on Message { status canRetry } }
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
    messages: list[str] = field(default_factory=list)
    """Failed ones without a dead letter: their sender or recipient was at fault."""
    refused: list[Outcome] = field(default_factory=list)

    @property
    def question(self) -> str:
        failed, webhooks = len(self.letters) + len(self.messages), len(self.webhooks)
        counts = ((failed, "failed"), (webhooks, "webhook" if webhooks == 1 else "webhooks"))
        return f"Try {' and '.join(f'{count} {kind}' for count, kind in counts if count)} again?"

    @property
    def is_empty(self) -> bool:
        return not (self.letters or self.webhooks or self.messages)


@click.command()
@click.argument("ids", type=Utf8Text(), metavar="[ID]…", nargs=-1)
@click.option("--failed", is_flag=True, help="All dead letters that are not resolved.")
@click.option("--since", type=Duration(), metavar="TIME", help="With --failed: what failed in the last 30m, 1h, 2d.")
@choice("--channel", CHANNELS, "With --failed: only messages on this channel")
@yes_option
@json_option
@url_option
def replay_command(
    ids: Sequence[str],
    failed: bool,
    since: timedelta | None,
    channel: str | None,
    yes: bool,
    as_json: bool,
    url: str | None,
) -> None:
    """Try failed work again: messages, dead letters, webhooks, each by its id.

    --failed takes all dead letters: work that failed for a reason the operator or the provider can fix. A message that
    failed for another reason is tried again by its id. A message that a provider may have accepted is refused, since
    it could arrive twice.
    """
    if bool(ids) == failed:
        raise click.UsageError("Give the ids of what is to be tried again, or --failed for all of it.")
    if not failed and (since or channel):
        raise click.UsageError("--since and --channel go with --failed.")

    async def choose(api: Api) -> _Chosen:
        return await _all_failed(api, since, channel) if failed else await _by_ids(api, ids)

    chosen = call(url, choose)
    if failed and not chosen.letters:
        click.echo("✓ There are no unresolved dead letters.", err=True)
        return
    if not chosen.is_empty:
        confirm(chosen.question, yes=yes)

    async def work(api: Api) -> list[Outcome]:
        tried = [*await requeue(api, chosen.letters), *await retry(api, chosen.messages)]
        return [*tried, *await replay(api, chosen.webhooks), *chosen.refused]

    print_outcomes(
        call(url, work), "queued again", as_json=as_json, then="`interalpha messages list` says what comes of it."
    )


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
        elif kind == "Message" and found["node"]["canRetry"]:
            chosen.messages.append(id)
        elif kind == "Message":
            chosen.refused.append(Outcome(id, _why_not(id, found["node"]["status"])))
        else:
            chosen.refused.append(Outcome(id, "There is no message, dead letter or webhook of this id."))
    return chosen


def _why_not(id: str, status: str) -> str:
    if status == "UNCONFIRMED":
        words = "It is unconfirmed: its provider may have accepted it. Look it up there, then run:"
        return f"{words} interalpha messages settle {id} --as sent|failed|resend"
    if status != "FAILED":
        return f"Only failed messages can be tried again; this one is {status.lower()}."
    return f"It cannot be tried again; `interalpha messages show {id}` says more. Send a new message instead."


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
