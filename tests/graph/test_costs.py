"""The cost of an operation: as many statements for one message as for fifty, and no sealed column read needlessly."""

import pytest

from api.bootstrap import App
from core.ports.content import Filled
from tests.graph.callers import Caller, statements
from tests.graph.factories import RecordFactory, global_id

LIST = """
{ messages(first: 50) { nodes {
  status
  attempts { number integration { name } failure { reason } }
  events(first: 2) { nodes { status } pageInfo { hasNextPage } }
} } }
"""
TEMPLATES = """
{ messages(first: 50) { nodes {
  template { name variables { name } }
  content { ... on TemplateContent { rendered variables { value } template { body } } }
} } }
"""
TWO_SLICES = (
    "{ messages { nodes { early: events(first: 1) { nodes { at } } late: events(last: 1) { nodes { at } } } } }"
)

COSTS = {
    "a list": ("{ messages { nodes { status route { channel } toMasked } } }", 1),
    "a list and its count": ("{ messages { totalCount nodes { status } } }", 2),
    "a list with attempts and events": (LIST, 3),
    "a list with what each answers": ("{ messages { nodes { inReplyTo { status content { __typename } } } } }", 2),
    "a list with two slices of events": (TWO_SLICES, 3),
    "a list with templates": (TEMPLATES, 2),
    "templates": ("{ templates(first: 50) { nodes { name variables { name } } } }", 1),
    "the integrations": ("{ integrations { name configuration { state } } }", 0),
}


@pytest.mark.parametrize("case", COSTS)
async def test_fifty_messages_cost_as_many_statements_as_one(
    caller: Caller, factory: RecordFactory, application: App, case: str
) -> None:
    document, expected = COSTS[case]
    counts = []
    for missing in (1, 49):
        for _ in range(missing):
            filled = Filled(await factory.template(caller), {"day": "hoje"})
            await factory.message(caller, attempts=2, filled=filled, in_reply_to=await factory.message(caller))
        with statements(application) as seen:
            await caller.ask(document)
        counts.append(len(seen))
    assert counts == [expected, expected]


async def test_messages_are_counted_only_when_the_count_is_asked_for(caller: Caller, application: App) -> None:
    for document, is_counted in (
        ("{ messages { nodes { id } } }", False),
        ("{ messages { totalCount @include(if: false) } }", False),
        ("{ messages { totalCount } }", True),
    ):
        with statements(application) as seen:
            await caller.ask(document)
        assert any("count(" in statement for statement in seen) is is_counted, document


SELECTIONS = {
    "status toMasked route { channel }": set(),
    "content { __typename }": {"content_sealed"},
    "to": {"to_sealed"},
    "from": {"from_sealed"},
    "recipient: to": {"to_sealed"},
    "... on Message { writer: from }": {"from_sealed"},
    "...Words": {"content_sealed", "to_sealed"},
}
WORDS = "fragment Words on Message { ...More to } fragment More on Message { content { __typename } }"
ROOTS = {
    "message": "query ($id: ID!) {{ message(id: $id) {{ id {} }} }}",
    "messages": "query {{ messages {{ nodes {{ id {} }} }} }}",
    "edges": "query {{ messages {{ edges {{ node {{ id {} }} }} }} }}",
    "node": "query ($id: ID!) {{ node(id: $id) {{ ... on Message {{ id {} }} }} }}",
}


async def test_a_sealed_column_is_read_only_when_it_is_selected(
    subtests: pytest.Subtests, caller: Caller, factory: RecordFactory, application: App
) -> None:
    for root in ROOTS:
        for selection in SELECTIONS:
            with subtests.test(f"{root}: {selection}"):
                message = await factory.message(caller)
                document = ROOTS[root].format(selection) + (WORDS if "Words" in selection else "")
                with statements(application) as seen:
                    await caller.ask(document, id=global_id(message))
                read = {
                    column for column in ("content_sealed", "to_sealed", "from_sealed") for one in seen if column in one
                }
                assert read == SELECTIONS[selection]


async def test_a_stream_reads_no_sealed_column_for_nothing(
    caller: Caller, factory: RecordFactory, application: App
) -> None:
    message = await factory.message(caller)
    document = "subscription ($id: ID!) {{ messageStatusChanged(filter: {{ids: [$id]}}) {{ message {{ {} }} }} }}"
    for selection, is_read in (("status", False), ("content { ... on TextContent { text } }", True)):
        stream = caller.follow(document.format(selection), id=global_id(message))
        with statements(application) as seen:
            await stream.next()
        await stream.close()
        assert any("_sealed" in statement for statement in seen) is is_read


async def test_look_up_hashes_are_never_read(caller: Caller, factory: RecordFactory, application: App) -> None:
    await factory.message(caller)
    with statements(application) as seen:
        await caller.ask("{ messages { nodes { to from content { __typename } } } }")
    assert not any("_hash" in statement for statement in seen)
