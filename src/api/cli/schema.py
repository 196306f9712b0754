"""`interalpha schema`: prints the schema of the code, and compares it with the committed one or an older one."""

import difflib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import rich_click as click
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    find_breaking_changes,
    find_dangerous_changes,
    is_required_input_field,
    is_specified_scalar_type,
)

from api.cli.terminal import Failure

COMMANDS = {"schema": ("command", "Print the GraphQL schema, or compare it with schema.graphql.", 210)}

# The schema is imported where it is used: importing it takes seconds.


@click.group()
def command() -> None:
    """Print the GraphQL schema, or compare it with schema.graphql."""


@command.command("print")
def print_() -> None:
    """Print the schema. To write the file: interalpha schema print > schema.graphql."""
    from resolvers.schema import print_schema

    sys.stdout.write(print_schema())


@command.command()
def check() -> None:
    """Compare the schema of the code with schema.graphql; status 1 and a diff when they differ."""
    from resolvers.schema import print_schema

    file = _file()
    try:
        committed = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Failure(f"There is no {file}. Make it: interalpha schema print > schema.graphql") from None
    printed = print_schema()
    if committed == printed:
        click.echo(f"✓ {file.name} is what the code says.")
        return
    before, after = committed.splitlines(keepends=True), printed.splitlines(keepends=True)
    sys.stdout.writelines(difflib.unified_diff(before, after, fromfile=file.name, tofile="the code"))
    raise Failure("They differ. If the code is right: interalpha schema print > schema.graphql")


@command.command()
@click.option(
    "--against",
    metavar="FILE|REF",
    help="An older schema: a file, or a commit, branch or tag whose schema.graphql counts. Default: schema.graphql.",
)
def diff(against: str | None) -> None:
    """List what changed for clients: breaking, dangerous, safe; status 1 when anything breaks them."""
    from graphql import GraphQLSyntaxError, build_schema

    from resolvers.schema import print_schema

    try:
        old = build_schema(_promised(against))
    except (GraphQLSyntaxError, TypeError) as error:
        raise Failure(f"{against or _file()} holds no schema: {error}") from error
    found = changes(old, build_schema(print_schema()))
    for one in found:
        click.echo(f"{one.weight.value:<10} {one.sentence}")
    breaking = sum(one.weight is Weight.BREAKING for one in found)
    if breaking:
        raise Failure(f"{breaking} of {len(found)} changes break clients. Deprecate first, keep a year, then remove.")
    click.echo(f"✓ {len(found)} changes, none of which breaks a client." if found else "✓ Nothing changed for clients.")


def _promised(against: str | None) -> str:
    file = _file() if against is None else Path(against)
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if against is None:
        raise Failure(f"There is no {file}. Name an older schema with --against.")
    if against.startswith("-"):
        raise Failure(f"{against} is neither a file nor a commit.")
    command = ["git", "show", f"{against}:./{_file().name}"]
    try:
        found = subprocess.run(command, cwd=_file().parent, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    except FileNotFoundError as error:
        raise Failure(f"There is no file {against}, and no git to look it up as a commit.") from error
    if found.returncode:
        raise Failure(f"{against} is neither a file nor a commit with a {_file().name}.")
    return found.stdout


def _file() -> Path:
    """Find the file: beside `src` in a checkout, inside the package in a wheel."""
    installed = Path(__file__).parents[1] / "schema.graphql"
    return installed if installed.is_file() else Path(__file__).parents[3] / "schema.graphql"


# What changed between two schemas, judged by what it does to clients that were written for the older one.
#
# Breaking: a document that was valid is no longer, or a value that was always there may be missing. Dangerous:
# documents
# stay valid, but a client may meet what it has not seen (a new value of an enum, a new member of a union). Safe: the
# rest.


class Weight(StrEnum):
    """What a change does to clients."""

    BREAKING = "breaking"
    DANGEROUS = "dangerous"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Change:
    """One change, in a sentence."""

    weight: Weight
    sentence: str


def changes(old: GraphQLSchema, new: GraphQLSchema) -> list[Change]:
    """Find every change, the worst first."""
    return [
        *(Change(Weight.BREAKING, one.description) for one in find_breaking_changes(old, new)),
        *(Change(Weight.DANGEROUS, one.description) for one in find_dangerous_changes(old, new)),
        *(Change(Weight.SAFE, sentence) for sentence in _additions(old, new)),
    ]


def _additions(old: GraphQLSchema, new: GraphQLSchema) -> Iterator[str]:
    for name, type_ in new.type_map.items():
        before = old.type_map.get(name)
        if before is None:
            if not is_specified_scalar_type(type_):
                yield f"{name} was added."
        elif type(before) is type(type_):
            yield from _of_type(before, type_)


def _of_type(before: GraphQLNamedType, now: GraphQLNamedType) -> Iterator[str]:
    if isinstance(now, GraphQLObjectType | GraphQLInterfaceType):
        yield from _new_names(now.name, getattr(before, "fields", {}), now.fields)
        yield from _deprecations(now.name, getattr(before, "fields", {}), now.fields)
    elif isinstance(now, GraphQLInputObjectType):
        known = getattr(before, "fields", {})
        # What must be given is breaking and optional fields are dangerous to graphql-core; both are told already.
        yield from (f"{now}.{name} may be left out now." for name in _relaxed(known, now))
    elif isinstance(now, GraphQLEnumType):
        yield from _deprecations(now.name, getattr(before, "values", {}), now.values)


def _new_names(place: str, before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{place}.{name} was added." for name in now if name not in before)


def _deprecations(place: str, before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name, one in now.items():
        reason = getattr(one, "deprecation_reason", None)
        if reason and name in before and not getattr(before[name], "deprecation_reason", None):
            yield f"{place}.{name} was deprecated: {reason}"


def _relaxed(before: Mapping[str, object], now: GraphQLInputObjectType) -> Iterator[str]:
    for name, field in now.fields.items():
        known = before.get(name)
        if known is not None and is_required_input_field(known) and not is_required_input_field(field):  # type: ignore[arg-type]
            yield name
