"""`interalpha templates`: lists templates and whether they can be sent."""

from collections.abc import Sequence

import rich_click as click

from api.cli.client import limit_options, listed, url_option
from api.cli.options import CHANNELS, Utf8Text, choice
from api.cli.terminal import json_option, print_json, screen
from core.ports import TemplateApproval

COMMANDS = {"templates": ("command", "List templates, and whether they can be sent.", 120)}

_LIST = """
query List($first: Int!, $after: String, $filter: TemplateFilter) {
  templates(first: $first, after: $after, filter: $filter) {
    nodes { id name channel locale category approval variables { name isRequired } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
_WORDS = {approval: approval.lower().replace("_", "-") for approval in TemplateApproval}


@click.group()
def command() -> None:
    """List templates, and whether they can be sent."""


@command.command("list")
@choice("--channel", CHANNELS, "Only templates of this channel", name="channels")
@choice("--approval", _WORDS.values(), "Only templates in this state", name="approvals")
@click.option("--search", type=Utf8Text(), metavar="TEXT", help="Only those with this in their name or text.")
@limit_options
@json_option
@url_option
def list_(
    channels: Sequence[str],
    approvals: Sequence[str],
    search: str | None,
    limit: int,
    is_all: bool,
    as_json: bool,
    url: str | None,
) -> None:
    """List templates, newest first, with the gaps to fill; those in brackets have a default."""
    wanted = {
        "channels": [one.upper() for one in channels],
        "approvals": [one.upper().replace("-", "_") for one in approvals],
        "search": search,
    }
    given = {"filter": {name: value for name, value in wanted.items() if value}}

    nodes, has_more = listed(url, _LIST, given, "templates", None if is_all else limit)
    if as_json:
        print_json(nodes)
        return
    out = screen()
    for one in nodes:
        gaps = " ".join(gap["name"] if gap["isRequired"] else f"[{gap['name']}]" for gap in one["variables"])
        approval = _WORDS.get(one["approval"], one["approval"].lower())
        head = f"{one['channel'].lower():<8}  {approval:<10}  {one['locale']:<6}  {one['name']:<28}  {gaps}"
        out.print(head.rstrip())
    if not nodes:
        click.echo("No templates. `interalpha seed` makes three.", err=True)
    elif has_more:
        click.echo("There are more: --all lists them.", err=True)
