"""`interalpha problems`: conditions that need an operator."""

from collections.abc import Iterator, Mapping
from typing import Any

import rich_click as click

from api.cli.client import limit_options, listed, url_option
from api.cli.options import choice
from api.cli.terminal import clock, json_option, print_json, screen

COMMANDS = {"problems": ("command", "List problems: conditions that need an operator.", 100)}

_LIST = """
query List($first: Int!, $after: String, $filter: ProblemFilter) {
  problems(first: $first, after: $after, filter: $filter) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id code severity title detail advice count extent extentUnit firstAt lastAt closedAt isOpen integration { kind }
    }
  }
}
"""
_MARKS = {"INFO": "✓", "WARNING": "!", "CRITICAL": "✗"}


@click.group()
def command() -> None:
    """Conditions that need an operator: a provider refuses us, a key is missing."""


@command.command("list")
@click.option("--closed", is_flag=True, help="List closed ones instead.")
@choice("--severity", [one.lower() for one in _MARKS], "Only problems as bad as this", name="severities")
@limit_options
@json_option
@url_option
def list_(closed: bool, severities: tuple[str, ...], limit: int, is_all: bool, as_json: bool, url: str | None) -> None:
    """List open problems, newest first. Workers probe each provider every ten minutes."""
    condition: dict[str, Any] = {"isOpen": not closed}
    condition |= {"severities": [one.upper() for one in severities]} if severities else {}
    nodes, has_more = listed(url, _LIST, {"filter": condition}, "problems", None if is_all else limit)
    if as_json:
        print_json(nodes)
        return
    out = screen()
    for one in nodes:
        for line in _lines(one):
            out.print(line)
    if not nodes:
        click.echo("No closed problems." if closed else "No open problems.", err=True)
    elif has_more:
        click.echo("There are more: --all lists them.", err=True)


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    provider = one["integration"]["kind"].lower() if one["integration"] else ""
    yield f"{_MARKS.get(one['severity'], '!')} {one['code']:<28}  {provider:<9}  {_times(one)}".rstrip()
    detail = f" {one['detail']}" if one["detail"] != one["title"] else ""
    extent = f" ({one['extent']} {one['extentUnit']})" if one["extent"] is not None else ""
    yield f"    {one['title']}{detail}{extent}"
    yield f"    {one['advice']}"


def _times(one: Mapping[str, Any]) -> str:
    """Since when, how often, and until when."""
    often = f", {one['count']} times" if one["count"] > 1 else ""
    closed = f", closed {clock(one['closedAt'], millis=False)}" if one["closedAt"] else ""
    return f"since {clock(one['firstAt'], millis=False)}{often}{closed}"
