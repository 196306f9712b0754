"""A file of messages: CSV as spreadsheets write it, or a JSON list of objects; one message for each line or object."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.cli.message_input import FoundTemplate, first_line, recipient
from api.cli.options import CHANNELS
from api.cli.terminal import Exit, Failure

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
