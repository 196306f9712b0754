"""The command line: `interalpha`. A command's module is imported when it is used, so that help comes at once."""

import os
import sys
from errno import ENOSPC, EPIPE
from typing import Any

import rich_click as click

from api.cli.commands import CommandGroup
from api.cli.terminal import Exit, name_zone


@click.group(
    cls=CommandGroup,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="interalpha", message="%(prog)s %(version)s")
def interalpha() -> None:
    """One GraphQL API for everything a business says, charges and schedules through external providers.

    Start with `make dev`. Then, in another terminal:

    \b
        interalpha send sms "+55 11 98765-4321" "Olá!"

    In production, commands that call the API use the key in INTERALPHA_API_KEY or INTERALPHA_API_KEY_FILE.
    """


def main() -> Any:
    """Run the command line."""
    try:
        try:
            return interalpha(prog_name="interalpha")
        finally:
            # Flushed here, so that a write error is noticed before the interpreter ends.
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in (ENOSPC, EPIPE):
            raise
        # Otherwise the interpreter would try to write the buffer again at exit, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == ENOSPC:
            click.echo(
                "✗ The disk is full: part of the output could not be written. The command itself was completed.",
                err=True,
            )
        sys.exit(Exit.FAILED)
    finally:
        name_zone(lambda words: click.echo(words, err=True))
