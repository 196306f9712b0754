"""The files that are generated from the code: `.env.example` and the references in the documentation.

`make references` writes all of them; tests compare them with what is committed.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from inspect import cleandoc
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import rich_click as click

from api.cli import interalpha
from api.cli.commands import Deferred
from api.http.errors_page import as_markdown
from core.settings import CoreSettings, Variable, describe
from integrations.registry import all_integrations

_ENV_HEAD = """\
# Every setting of Interalpha. Made from the code; a test compares the two.
#
# `make dev` needs none of it. For anything else copy this file to .env and fill in what you use; an integration is
# used when its variables are set, and `interalpha check` says what is missing.
# The process environment wins over .env.local, which wins over .env; an empty value counts as unset, and hides the
# value of the file after it.
# A secret (marked so below) may also stand in a file, as Docker and Kubernetes mount them:
# NAME_FILE=/run/secrets/name in place of NAME. Spaces and line breaks at its ends are left out.
"""
_SETTINGS_HEAD = """\
# Settings

Generated from the code by `make references`; a test compares the two. `interalpha check` checks all of them without
a network. [`.env.example`](../../.env.example) is the same list as a file to copy.

- The process environment overrides `.env.local`, which overrides `.env`. An empty value counts as unset, and also hides
  the value of a file.
- A [secret](secrets.md) can be read from a file: set `NAME_FILE=/run/secrets/name` in place of `NAME`.
- An integration is used when its settings are set. Without them it is off, and nothing else changes.
- A setting without a default is unset unless you set it; *required* means: required once the integration is used.
- Commands also read `PORT` (the port of `make dev` and `serve`), `INTERALPHA_API_KEY` or `INTERALPHA_API_KEY_FILE` (the
  key that they call another server with).
"""
_CLI_HEAD = """\
# Command line

Generated from the code by `make references`; a test compares the two. `interalpha COMMAND --help` prints the same.
Every command takes `--help` (`-h`). Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 not configured.
[Send, find and follow in a terminal](../how-to/terminal.md) has examples.
"""
_TYPES = {bool: "boolean", int: "integer", float: "number", Path: "path"}


def env_example() -> str:
    """Write `.env.example`: defaults behind a #, so that a copy of the file overrides none; everything else empty."""
    sections = [_env_section("Interalpha", describe(CoreSettings))]
    sections += (_env_section(card.title, describe(card.settings), card.docs) for card in all_integrations().values())
    return "\n".join((_ENV_HEAD, *sections))


def _env_section(title: str, variables: Sequence[Variable], docs: str = "") -> str:
    heading = [f"# ─── {title} {'─' * (72 - len(title))}", *([f"# {docs}"] if docs else [])]
    return "\n".join((*heading, "", *(line for variable in variables for line in _env_entry(variable)), ""))


def _env_entry(variable: Variable) -> Iterator[str]:
    aliases = f" (also read as {', '.join(variable.aliases)})" if variable.aliases else ""
    secret = " Secret." if variable.secret else ""
    yield f"# {variable.about}{aliases}: {variable.fix}.{secret}"
    yield f"{variable.name}=" if variable.default is None else f"#{variable.name}={variable.default}"


def settings_reference() -> str:
    """Write the reference of every setting, in the order of `.env.example`."""
    sections = [_settings_section("Interalpha", CoreSettings)]
    for card in all_integrations().values():
        note = f"Read by the API and the worker. Documentation of the provider: <{card.docs}>"
        sections.append(_settings_section(card.title, card.settings, note))
    return "\n".join((_SETTINGS_HEAD, *sections))


def _settings_section(title: str, model: type[Any], note: str = "") -> str:
    has_readers = not note
    heading = ["name", "type", "default", "secret", *(["read by"] if has_readers else []), "what it is; its right form"]
    rows = [heading, ["---"] * len(heading)]
    for field, variable in zip(model.model_fields.values(), describe(model), strict=True):
        names = "<br>".join(f"`{name}`" for name in (variable.name, *variable.aliases))
        default = f"`{variable.default}`" if variable.default is not None else "required" if variable.required else ""
        readers = [variable.read_by] if has_readers else []
        words = f"{variable.about}: {variable.fix}."
        kind = "list" if variable.several else _type_name(field.annotation)
        rows.append([names, kind, default, "yes" if variable.secret else "", *readers, words])
    return "\n".join((f"## {title}\n", *([f"{note}\n"] if note else []), _table(rows), ""))


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next(_type_name(part) for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        return "list"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "enum"
    return _TYPES.get(annotation, "text") if isinstance(annotation, type) else "text"


def cli_reference() -> str:
    """Write the reference of every command, in the order of `interalpha --help`."""
    root = click.RichContext(interalpha, info_name="interalpha")
    commands = ((command, context) for command, context in _commands(interalpha, root) if not command.hidden)
    return "\n".join((_CLI_HEAD, *(_command_section(command, context) for command, context in commands)))


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        listed = group.get_command(context, name)
        if listed is None or listed.hidden:
            continue
        command = listed.load() if isinstance(listed, Deferred) else listed
        inner = click.RichContext(command, parent=context, info_name=name)
        yield command, inner
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _command_section(command: click.Command, context: click.Context) -> str:
    depth = "##" if context.command_path.count(" ") == 1 else "###"
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    lines = [f"{depth} {context.command_path}\n", f"{_plain(cleandoc(command.help or ''))}\n"]
    if not isinstance(command, click.Group):
        lines.append(f"```\n{usage}\n```\n")
    found = (one.get_help_record(context) for one in command.get_params(context) if "--help" not in one.opts)
    if records := [[f"`{record[0]}`", record[1]] for record in found if record and record[1]]:
        lines.append(_table([["option", "what it does"], ["---", "---"], *records]) + "\n")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Put the paragraphs that keep their lines, which click marks with a \\b, into blocks of code."""
    return "\n\n".join(
        f"```\n{paragraph[1:].strip()}\n```" if paragraph.startswith("\b") else paragraph
        for paragraph in text.split("\n\n")
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in rows)


def _cell(text: str) -> str:
    """Keep a text within its cell: line breaks and bars would end it, and `<name>` would be read as HTML."""
    joined = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return re.sub(r"<(?!br>|http)", "&lt;", joined) if "`" not in joined else joined


GENERATED: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        ".env.example": env_example,
        "docs/reference/settings.md": settings_reference,
        "docs/reference/cli.md": cli_reference,
        "docs/reference/errors.md": as_markdown,
    }
)


if __name__ == "__main__":
    for name, write in GENERATED.items():
        Path(sys.argv[1], name).write_text(write(), encoding="utf-8")
