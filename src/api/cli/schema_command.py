"""`interalpha schema`: what clients are promised, printed from the code or compared with the committed file."""

import difflib
import sys
from pathlib import Path

import rich_click as click

from api.cli.failures import Failure

# The schema takes seconds to import; help should not.


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


def _file() -> Path:
    """Find the file: beside `src` in a checkout, inside the package in a wheel."""
    installed = Path(__file__).parents[1] / "schema.graphql"
    return installed if installed.is_file() else Path(__file__).parents[3] / "schema.graphql"
