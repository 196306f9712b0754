"""Asking before something is done that cannot be undone."""

import sys

import rich_click as click

from api.cli.failures import Failure

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask(question: str, *, yes: bool) -> None:
    """Return when it is meant; raises Failure where nobody can be asked, and ends the command where it is not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} Nobody can be asked here: say --yes if it is meant.")
    click.confirm(question, abort=True)
