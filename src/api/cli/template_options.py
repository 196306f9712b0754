"""`--template`, `--locale` and `--set`: a template by its name, as a person knows it, instead of words of one's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import rich_click as click

from api.cli.arguments import Words
from api.cli.client import Api
from api.cli.failures import Failure

_FIND = """
query Find($filter: TemplateFilter!, $after: String) {
  templates(first: 100, after: $after, filter: $filter) {
    nodes { id name locale approval variables { name } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Found:
    """A template that was found by its name, and what its gaps are called."""

    id: str
    name: str
    gaps: Sequence[str]


class Pair(click.ParamType[tuple[str, str]]):
    """A gap and its value, as NAME=VALUE."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, sign, text = Words().convert(value, param, ctx).partition("=")
        if not sign or not name:
            self.fail(f"{value} is no NAME=VALUE, like name=Ana.", param, ctx)
        return name, text


def template_options(command: Command) -> Command:
    """Let a command take a template instead of TEXT."""
    for option in (
        click.option("--set", "pairs", type=Pair(), multiple=True, metavar="NAME=VALUE", help="Fill a gap."),
        click.option("--locale", type=Words(), help="Its language, where it has several: pt-BR."),
        click.option("--template", type=Words(), metavar="NAME", help="Send a template instead of TEXT."),
    ):
        command = option(command)
    return command


def check_choice(text: str | None, template: str | None, locale: str | None, pairs: Sequence[Any]) -> None:
    """Raise UsageError unless there is either a text or a template, and nothing that fits neither."""
    if text is not None and template is not None:
        raise click.UsageError("Give TEXT or --template, not both.")
    if template is None and (locale or pairs):
        raise click.UsageError("--locale and --set go with --template.")
    if template is None and text is None:
        raise click.UsageError("Missing argument 'TEXT': write something, or choose a --template.")


async def template_content(
    api: Api, channel: str, name: str, locale: str | None, pairs: Sequence[tuple[str, str]]
) -> Mapping[str, Any]:
    """Return the content for a message; raises Failure when no template, or more than one, has the name."""
    found = await find_template(api, channel, name, locale)
    variables = [{"key": key, "value": value} for key, value in pairs]
    return {"template": {"templateId": found.id, "variables": variables}}


async def find_template(api: Api, channel: str, name: str, locale: str | None) -> Found:
    """Find a template by its name; raises Failure when none, or more than one, has it."""
    named = [one for one in await _listed(api, channel, name) if one["name"] == name]
    fitting = [one for one in named if locale in (None, one["locale"])]
    if not named:
        raise Failure(f"There is no template {name} for {channel}. `interalpha templates list` shows those there are.")
    if len(fitting) != 1:
        there = ", ".join(sorted(one["locale"] for one in named))
        raise Failure(f"The template {name} exists in {there}: choose with --locale.")
    return Found(fitting[0]["id"], name, [one["name"] for one in fitting[0]["variables"]])


async def _listed(api: Api, channel: str, name: str) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    after = None
    while True:
        condition = {"channels": [channel], "search": name}
        page = (await api.ask(_FIND, {"filter": condition, "after": after}))["templates"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]
