"""`interalpha batch`: sends messages to many people from a file; shows and cancels batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import rich_click as click

from api.cli.batch_file import Row, read_rows
from api.cli.client import Api, ask_with_waits, call, url_option
from api.cli.decisions import cancel_batch
from api.cli.message_input import FoundTemplate, delivery, delivery_options, find_template
from api.cli.options import CHANNELS, Utf8Text, choice
from api.cli.terminal import Exit, Failure, clock, confirm, json_option, print_json, screen, yes_option
from api.cli.terminal import as_json as written

_MOST, _MOST_BYTES = 500, 200_000
"""Messages, and bytes of their JSON, that are handed in at once: the API takes no more."""
_COUNTS = "total scheduled queued sending unconfirmed sent delivered read failed canceled"
_BATCH = f"id name createdAt finishedAt counts {{ {_COUNTS} }}"
_SEND = """
mutation Send($input: SendMessagesInput!) {
  sendMessages(input: $input) {
    batch { id name } isReplay
    results {
      message { id }
      errors { ... on UserError { code message path } }
    }
    errors { ... on UserError { code message path } }
  }
}
"""
_SHOW = f"query Show($id: ID!) {{ messageBatch(id: $id) {{ {_BATCH} }} }}"


Ready = tuple[Row, dict[str, Any]]
"""A line of the file, and its message as the API takes it."""


@dataclass(slots=True)
class _Sent:
    """The batches that were made, and what became of each line."""

    batches: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


@click.group()
def command() -> None:
    """Send messages to many people from a file; show and cancel batches."""


@command.command("send")
@click.argument("file", type=click.File(mode="rb"))
@choice("--channel", CHANNELS, "The channel of all messages, if the file has no column for it")
@click.option("--text", type=Utf8Text(), help="The text of all messages, if the file has no column for it.")
@click.option("--subject", type=Utf8Text(), help="The subject of all e-mails, if the file has no column for it.")
@click.option("--template", type=Utf8Text(), metavar="NAME", help="The template of all messages.")
@click.option("--locale", type=Utf8Text(), help="The template's language, where it has several: pt-BR.")
@click.option("--batch", "name", type=Utf8Text(), metavar="NAME", help="The name of the batch.")
@click.option(
    "--idempotency-key",
    type=Utf8Text(),
    metavar="KEY",
    help="The same key never sends twice (default: made of the file and the options).",
)
@delivery_options
@json_option
@url_option
def send_(
    file: Any,
    channel: str | None,
    name: str | None,
    idempotency_key: str | None,
    as_json: bool,
    url: str | None,
    **given: Any,
) -> None:
    """Send one message for each line of FILE: CSV with a first line of column names, or a JSON list of objects.

    Columns are: to, channel, text, subject, html, template, locale, external_id. Every other column fills the gap of
    that name in the template. - reads from the standard input.

    The same file with the same options never sends twice within seven days: sent again, it finishes what broke off. To
    send it once more, give another --idempotency-key.
    """
    defaults = {key: given.pop(key) for key in ("text", "subject", "template", "locale")}
    rows = read_rows(file.read(), {"channel": channel, **defaults})
    when = {one: delivery(one, **given) for one in {row.channel for row in rows}}
    is_rehearsal = given["dry_run"]

    async def work(api: Api) -> _Sent:
        templates = await _templates(api, rows)
        ready = [(row, row.message(templates[row.template_key]) | when[row.channel]) for row in rows]
        key = f"dry-{uuid4()}" if is_rehearsal else idempotency_key or _key_of(name, [one for _, one in ready])
        return await _hand_in(api, ready, name, key)

    try:
        sent = call(url, work)
    except KeyboardInterrupt:
        if is_rehearsal:
            raise
        words = "Part of the file may be accepted already. The same command sends the rest, and nothing twice."
        raise Failure(words) from None
    _conclude(sent, is_rehearsal=is_rehearsal, as_json=as_json)


async def _hand_in(api: Api, ready: Sequence[Ready], name: str | None, key: str) -> _Sent:
    """Hand the messages in, in as many batches as it takes; raises Failure."""
    sent, chunks = _Sent(), _chunks(ready)
    for number, chunk in enumerate(chunks, 1):
        order: dict[str, Any] = {"name": name, "idempotencyKey": key}
        if len(chunks) > 1:
            called = None if name is None else f"{name} ({number}/{len(chunks)})"
            order = {"name": called, "idempotencyKey": f"{key}-{number}"}
        order["messages"] = [message for _, message in chunk]
        payload = (await ask_with_waits(api, _SEND, {"input": order}))["sendMessages"]
        if payload["errors"]:
            raise Failure("\n✗ ".join(error["message"] for error in payload["errors"]))
        sent.batches.append(payload["batch"] | {"isReplay": payload["isReplay"]})
        sent.results += [_result(row, one) for (row, _), one in zip(chunk, payload["results"], strict=True)]
    return sent


@command.command("show")
@click.argument("id", type=Utf8Text(), metavar="ID")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """Show how many messages of a batch stand where."""

    async def work(api: Api) -> dict[str, Any]:
        found: dict[str, Any] | None = (await api.ask(_SHOW, {"id": id}))["messageBatch"]
        if found is None:
            raise Failure("There is no such batch. `interalpha batch send` prints the id of the one it makes.")
        return found

    batch = call(url, work)
    if as_json:
        print_json(batch)
        return
    out = screen()
    out.print(_line(batch))
    out.print(f" Next   interalpha messages list --batch {batch['id']}")


def _line(batch: Mapping[str, Any]) -> str:
    counts = batch["counts"]
    stand = ", ".join(f"{counts[word]} {word}" for word in _COUNTS.split()[1:] if counts[word]) or "no messages"
    head = f"{batch['id']}   {clock(batch['createdAt'], millis=False)}"
    return f"{head}   {batch['name'] or ''}   {stand}".replace("      ", "   ")


async def _templates(api: Api, rows: Sequence[Row]) -> dict[tuple[str, str, str | None] | None, FoundTemplate | None]:
    """Every template that a row names, found once; raises Failure with the line where there is none."""
    found: dict[tuple[str, str, str | None] | None, FoundTemplate | None] = {None: None}
    for row in rows:
        key = row.template_key
        if key is not None and key not in found:
            try:
                found[key] = await find_template(api, *key)
            except Failure as failure:
                raise row.failure(str(failure)) from None
    return found


def _chunks(ready: Sequence[Ready]) -> list[list[Ready]]:
    chunks: list[list[Ready]] = []
    size = 0
    for row, message in ready:
        length = len(written(message).encode()) + 2
        if not chunks or len(chunks[-1]) == _MOST or size + length > _MOST_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append((row, message))
        size += length
    return chunks


def _key_of(name: str | None, messages: Sequence[Mapping[str, Any]]) -> str:
    return f"file-{sha256(written([name, messages]).encode()).hexdigest()[:40]}"


def _result(row: Row, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What became of one line; places in the input are told without the way to them that the API took."""
    errors = []
    for error in payload["errors"]:
        path = error["path"] or []
        place = path[3:] if path[:2] == ["input", "messages"] else path[1:]
        errors.append({"code": error["code"], "message": error["message"], "path": place})
    return {row.kind: row.line, "id": payload["message"] and payload["message"]["id"], "errors": errors}


def _conclude(sent: _Sent, *, is_rehearsal: bool, as_json: bool) -> None:
    """Print the batches and each line that was refused; ends with status 1 when one was."""
    refused = [one for one in sent.results if one["errors"]]
    good = len(sent.results) - len(refused)
    if as_json:
        print_json({"batches": [] if is_rehearsal else sent.batches, "results": sent.results})
    else:
        _print_refused(refused)
        if is_rehearsal:
            screen().print(f"{'✓' if good else '○'} {good} of {len(sent.results)} would be accepted. Nothing was sent.")
        else:
            _print_batches(sent.batches, good, len(sent.results))
    if refused:
        raise SystemExit(Exit.FAILED)


def _print_refused(refused: Sequence[Mapping[str, Any]]) -> None:
    notices = screen(stderr=True)
    for one in refused:
        kind = next(iter(one))
        for error in one["errors"]:
            notices.print(f"✗ {kind} {one[kind]}  {'.'.join(error['path'])}: {error['message']}")


def _print_batches(batches: Sequence[Mapping[str, Any]], good: int, total: int) -> None:
    out = screen()
    out.print(f"{'✓' if good else '○'} {good} of {total} accepted")
    for batch in batches:
        again = "   sent before: nothing is sent twice" if batch["isReplay"] else ""
        out.print(f"  {batch['id']}   {batch['name'] or ''}{again}".rstrip())
    click.echo("Next: interalpha batch show ID", err=True)


@command.command("cancel")
@click.argument("id", type=Utf8Text(), metavar="ID")
@yes_option
@json_option
@url_option
def cancel_(id: str, yes: bool, as_json: bool, url: str | None) -> None:
    """Stop all messages of a batch that have not gone out."""
    confirm("Cancel all messages of this batch that were not sent yet?", yes=yes)
    decided, counts = call(url, lambda api: cancel_batch(api, id))
    if decided.refusal is not None:
        raise Failure(decided.refusal)
    if as_json:
        print_json({"id": id, **counts})
        return
    screen().print(f"{counts['canceled']} canceled, too late for {counts['tooLate']}  {id}")
