"""Requeue, discard, replay, retry, cancel, settle through the API, and how the outcome is printed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import rich_click as click

from api.cli.client import Api, ask_with_waits
from api.cli.terminal import Exit, print_json, screen

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
