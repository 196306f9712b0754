"""templates: pages of the tenant's own templates, filtered."""

from typing import Any

import pytest

from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory

LIST = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: TemplateFilter) {
  templates(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { name } }
    nodes { name channel approval }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


async def names(caller: Caller, **given: Any) -> list[str]:
    return [one["name"] for one in (await caller.ask(LIST, **given))["templates"]["nodes"]]


async def test_templates_come_newest_first_and_page_by_page(caller: Caller, factory: RecordFactory) -> None:
    for number in range(5):
        await factory.template(caller, name=f"t{number}")
    assert await names(caller) == ["t4", "t3", "t2", "t1", "t0"]
    edges = (await caller.ask(LIST))["templates"]["edges"]
    cursors = [edge["cursor"] for edge in edges]
    pages = {
        "the first two": ({"first": 2}, ["t4", "t3"], (True, False)),
        "the two after": ({"first": 2, "after": cursors[1]}, ["t2", "t1"], (True, True)),
        "the last one": ({"first": 2, "after": cursors[3]}, ["t0"], (False, True)),
        "the last two": ({"last": 2}, ["t1", "t0"], (False, True)),
        "the two before": ({"last": 2, "before": cursors[3]}, ["t3", "t2"], (True, True)),
        "none": ({"first": 0}, [], (True, False)),
    }
    for name, (given, expected, (has_next, has_previous)) in pages.items():
        page = (await caller.ask(LIST, **given))["templates"]
        assert [one["name"] for one in page["nodes"]] == expected, name
        assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (has_next, has_previous), name


async def test_a_filter_matches_when_each_of_its_conditions_does(caller: Caller, factory: RecordFactory) -> None:
    await factory.template(caller, name="sms_100%", body="Chega amanhã")
    await factory.template(caller, name="mail", channel="EMAIL", subject="Recibo", body="x")
    await factory.template(
        caller, name="ours_or_not", channel="WHATSAPP", approval="PENDING", header="Pedido", body="x"
    )
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"sms_100%", "mail", "ours_or_not"}),
        ({"channels": ["SMS", "EMAIL"]}, {"sms_100%", "mail"}),
        ({"channels": []}, set()),
        ({"approvals": ["PENDING", "REJECTED"]}, {"ours_or_not"}),
        ({"approvals": ["NOT_NEEDED"], "channels": ["EMAIL"]}, {"mail"}),
        ({"search": "MAIL"}, {"mail"}),
        ({"search": "AMANHÃ"}, {"sms_100%"}),
        ({"search": "recibo"}, {"mail"}),
        ({"search": "pedido"}, {"ours_or_not"}),
        ({"search": "%"}, {"sms_100%"}),
        ({"search": "_1"}, {"sms_100%"}),
        ({"search": "nothing"}, set()),
    ]
    for condition, expected in cases:
        assert set(await names(caller, filter=condition)) == expected, condition


async def test_a_template_the_provider_no_longer_lists_is_not_listed(caller: Caller, factory: RecordFactory) -> None:
    id = await factory.template(caller, name="gone")
    await factory.owner.execute("UPDATE templates SET gone_at = now() WHERE id = $1", id)
    assert await names(caller) == []


async def test_the_templates_of_others_are_not_listed(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    await factory.template(caller, name="mine")
    assert (await names(caller), await names(stranger)) == (["mine"], [])


@pytest.mark.parametrize(
    "given",
    [
        {"first": -1},
        {"first": 101},
        {"first": 1, "last": 1},
        {"after": ""},
        {"before": "x"},
        {"filter": {"search": "\x00"}},
    ],
)
async def test_a_page_that_cannot_be_is_refused(caller: Caller, given: dict[str, Any]) -> None:
    assert await caller.code(LIST, **given) == "INVALID_INPUT"


async def test_listing_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    sender = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    assert await sender.code(LIST) == "FORBIDDEN"
    assert await anonymous.code(LIST) == "UNAUTHENTICATED"
