"""`interalpha batch`: sends a file of messages: CSV as spreadsheets write it, or a JSON list of objects."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import rich_click as click

from api.cli.client import Api, ask_with_waits, call, url_option
from api.cli.dead_letters import cancel_batch
from api.cli.message_input import FoundTemplate, delivery, delivery_options, find_template, first_line, recipient
from api.cli.options import CHANNELS, Utf8Text, choice
from api.cli.terminal import Exit, Failure, clock, confirm, json_option, print_json, screen, yes_option
from api.cli.terminal import as_json as written

COMMANDS = {"batch": ("command", "Send messages to many people from a file; show and cancel batches.", 50)}

_COLUMNS = ("to", "channel", "text", "subject", "html", "template", "locale", "external_id")
_SEPARATOR = re.compile(r"\"?sep=(.)\"?\r?\n")
"""What Excel reads, and some programs write, before the line of column names."""
_ALIASES = {"externalid": "external_id", "telefone": "to", "phone": "to", "email": "to", "e-mail": "to"}


@dataclass(frozen=True, slots=True)
class Row:
    """One message of a file: the number of its line, its columns, and what fills the gaps of its template."""

    line: int
    values: Mapping[str, str]
    gaps: Mapping[str, str]
    kind: str = "line"
    """What the number counts: lines of CSV, or items of a JSON list."""

    @property
    def place(self) -> str:
        return f"{self.kind} {self.line}"

    @property
    def channel(self) -> str:
        """The channel's name as the API spells it."""
        return self.values["channel"].upper()

    @property
    def template_key(self) -> tuple[str, str, str | None] | None:
        """What its template is found by: channel, name and language; None where it has none."""
        name = self.values.get("template")
        return (self.channel, name, self.values.get("locale")) if name else None

    def message(self, template: FoundTemplate | None) -> dict[str, Any]:
        """Write it as a SendMessageInput without its route; raises Failure for a column that nothing takes."""
        given: dict[str, Any] = {"to": recipient(self.values["to"]), "content": self._content(template)}
        if external_id := self.values.get("external_id"):
            given["externalId"] = external_id
        return given

    def _content(self, template: FoundTemplate | None) -> dict[str, Any]:
        if unknown := sorted(set(self.gaps) - set(template.gaps if template else ())):
            into = f"the template {template.name} has no such gap" if template else "only a template has gaps to fill"
            raise self.failure(f"the column {unknown[0]} is none of {', '.join(_COLUMNS)}, and {into}. Take it out.")
        if template is not None:
            variables = [{"key": key, "value": value} for key, value in self.gaps.items() if value]
            return {"template": {"templateId": template.id, "variables": variables}}
        text, html = self.values.get("text"), self.values.get("html")
        if self.channel != "EMAIL":
            return {"text": text}
        subject = self.values.get("subject") or first_line(text or "")
        bodies = {"plainText": text, "html": html}
        return {"email": {"subject": subject} | {name: body for name, body in bodies.items() if body}}

    def check(self) -> None:
        """Raise Failure for what cannot be a message at all, whatever the server thinks."""
        if not self.values.get("to"):
            raise self.failure("the column to is empty.")
        channel = self.values.get("channel")
        if not channel:
            raise self.failure("there is no channel: add the column channel, or give --channel.")
        if channel.lower() not in CHANNELS:
            raise self.failure(f"{channel} is no channel; there are {', '.join(CHANNELS)}.")
        said = [name for name in ("text", "html", "template") if self.values.get(name)]
        if not said:
            raise self.failure("it has no content: fill the column text or template, or give --text or --template.")
        if "template" in said and len(said) > 1:
            raise self.failure(f"it has a {said[0]} and a template: a message has one of them.")

    def failure(self, words: str) -> Failure:
        """Say what is wrong with it, and where."""
        return Failure(f"{self.place.capitalize()}: {words}", Exit.USAGE)


def read_rows(raw: bytes, defaults: Mapping[str, str | None]) -> list[Row]:
    """Read a file; `defaults` stand where it has no value. Raises Failure with the line that is at fault."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Failure(f"Line {line}: it is not UTF-8. Save the file as UTF-8 and try again.", Exit.USAGE) from None
    is_json = text.lstrip()[:1] in ("[", "{")
    read, kind = (_objects, "item") if is_json else (_lines, "line")
    rows = [_row(line, kind, given, defaults) for line, given in read(text)]
    if not rows:
        raise Failure("There is no message in the file.", Exit.USAGE)
    for row in rows:
        row.check()
    return rows


def _row(line: int, kind: str, given: Mapping[str, str], defaults: Mapping[str, str | None]) -> Row:
    values = {name: value for name, value in defaults.items() if value}
    gaps: dict[str, str] = {}
    for name, value in given.items():
        column = _column(name)
        if column not in _COLUMNS:
            gaps[name] = value
        elif value.strip():
            values[column] = value if column in ("text", "html") else value.strip()
    if given.get("text") and "template" in values and not given.get("template"):
        # A text of its own stands before the template of all.
        del values["template"]
    if given.get("template") and not given.get("text"):
        values.pop("text", None)
    return Row(line, values, gaps, kind)


def _column(name: str) -> str:
    """The column of ours that a name means, in whatever case; the name of a template's gap stays as it is."""
    meant = _ALIASES.get(name.lower(), name.lower())
    return meant if meant in _COLUMNS else name


def _lines(text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Read CSV with commas or, as spreadsheets in Brazil write it, semicolons."""
    skipped, delimiter = 0, max(";,\t", key=text.partition("\n")[0].count)
    if told := _SEPARATOR.match(text):
        skipped, delimiter, text = 1, told[1], text[told.end() :]
    # What is too long for a message is refused by the server, which says how long it may be.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: Sequence[str] | None = None
    begin = 1 + skipped
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1 + skipped
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = _names([cell.strip() for cell in cells], line)
            elif len(cells) > len(names):
                words = f"it has {len(cells)} cells, and the first line names {len(names)} columns."
                raise Failure(f"Line {line}: {words} Put a text with a {delimiter!r} into quotes.", Exit.USAGE)
            else:
                yield line, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise Failure(f"Line {begin}: this is no CSV: {error}. Is a quote opened and not closed?", Exit.USAGE) from None


def _names(names: Sequence[str], line: int) -> Sequence[str]:
    known = [_column(name) for name in names]
    if "to" not in known:
        words = f"the first line names the columns, one of them to: to,text. It is: {','.join(names)[:80]}"
        raise Failure(f"Line {line}: {words}", Exit.USAGE)
    if twice := _twice(known):
        raise Failure(f"Line {line}: the column {twice} stands there twice. Take one out.", Exit.USAGE)
    if "" in names:
        raise Failure(f"Line {line}: column {names.index('') + 1} has no name. Name it, or take it out.", Exit.USAGE)
    return names


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name in names if name and names.count(name) > 1), None)


def _objects(text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        # Numbers stay as they are written: 150.00 is a price, and 1e400 no number of Python's.
        listed = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        raise Failure(f"Line {error.lineno}: this is no JSON: {error.msg}.", Exit.USAGE) from None
    except RecursionError:
        raise Failure("This is no list of messages: it is nested too deeply.", Exit.USAGE) from None
    if not isinstance(listed, list):
        raise Failure('The file holds one object: write a list of them, [{"to": "+5511987654321", …}].', Exit.USAGE)
    for number, one in enumerate(listed, 1):
        if not isinstance(one, tuple):
            raise Failure(f"Item {number}: each item of the list must be an object with a field to.", Exit.USAGE)
        yield number, _texts(number, [(name, value) for name, value in one if value is not None])


def _texts(number: int, pairs: Sequence[tuple[str, Any]]) -> Mapping[str, str]:
    """The names and values of an item; raises Failure for what cannot be said to anybody."""
    if twice := _twice([_column(name) for name, _ in pairs]):
        raise Failure(f"Item {number}: {twice} stands there twice. Take one out.", Exit.USAGE)
    for name, value in pairs:
        if not isinstance(value, str):
            raise Failure(f"Item {number}: {name} is a text or a number, nothing else.", Exit.USAGE)
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError as error:
            code, shown = ord(error.object[error.start]), name.encode(errors="backslashreplace").decode()
            words = f"{shown} contains U+{code:04X}, which is half of a surrogate pair and no character. Take it out."
            raise Failure(f"Item {number}: {words}", Exit.USAGE) from None
    return dict(pairs)


# `interalpha batch`: sends messages to many people from a file; shows and cancels batches.


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
