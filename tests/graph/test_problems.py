"""problems: what needs an operator, filtered, page by page, in the caller's language."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.ports.identity import DEFAULT_TENANT, Principal, Scope
from core.problems.tables import OPERATOR
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, global_id, problem_id

LIST = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: ProblemFilter) {
  problems(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
WHOLE = """
{
  problems {
    nodes {
      code severity title detail advice count extent extentUnit firstAt lastAt closedAt isOpen
      integration { kind } subject { ... on Message { id } }
    }
  }
}
"""
TEXTS = "{ problems { nodes { title detail advice } } }"


@pytest.fixture
def installation(caller: Caller) -> Caller:
    """A caller of the default tenant, which acts for the operator."""
    return replace(caller, principal=Principal(DEFAULT_TENANT, "test", frozenset(Scope)))


async def found(caller: Caller, **filter: object) -> list[str]:
    page = (await caller.ask(LIST, first=100, filter=filter))["problems"]
    return [one["id"] for one in page["nodes"]]


async def test_a_problem_says_what_is_wrong_how_often_and_what_to_do(caller: Caller, factory: RecordFactory) -> None:
    message, moment = await factory.message(caller), datetime(2026, 1, 1, tzinfo=UTC)
    await factory.problem(
        caller,
        subject_kind="Message",
        subject_id=message,
        count=7,
        extent=12,
        extent_unit="messages",
        first_at=moment,
        last_at=moment,
    )
    assert (await caller.ask(WHOLE))["problems"]["nodes"] == [
        {
            "code": "TWILIO_REFUSES_US",
            "severity": "CRITICAL",
            "title": "Twilio refuses our credentials.",
            "detail": "Authenticate (20003)",
            "advice": "Compare TWILIO_AUTH_TOKEN with Twilio's console.",
            "count": 7,
            "extent": 12,
            "extentUnit": "messages",
            "firstAt": "2026-01-01T00:00:00.000Z",
            "lastAt": "2026-01-01T00:00:00.000Z",
            "closedAt": None,
            "isOpen": True,
            "integration": {"kind": "TWILIO"},
            "subject": {"id": global_id(message)},
        }
    ]


async def test_its_words_are_in_the_language_of_the_caller(caller: Caller, factory: RecordFactory) -> None:
    await factory.problem(
        caller, integration="of-a-later-version", code="NEW_CODE", title="It broke.", advice="Mend it."
    )
    await factory.problem(caller)
    spoken = replace(caller, languages=("pt-br",))
    for reader, title, advice in (
        (caller, "Twilio refuses our credentials.", "Compare TWILIO_AUTH_TOKEN with Twilio's console."),
        (
            spoken,
            "A Twilio recusa nossas credenciais.",
            "Compare TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN e a chave de API com o console da Twilio.",
        ),
    ):
        known, unknown = (await reader.ask(TEXTS))["problems"]["nodes"]
        assert (known["title"], known["advice"]) == (title, advice)
        assert (unknown["title"], unknown["advice"]) == ("It broke.", "Mend it.")


async def test_pages_go_both_ways_newest_first(caller: Caller, factory: RecordFactory) -> None:
    ids = [problem_id(await factory.problem(caller, first_at=datetime(2026, 1, day, tzinfo=UTC))) for day in (3, 2, 1)]
    first = (await caller.ask(LIST, first=2))["problems"]
    assert [one["id"] for one in first["nodes"]] == ids[:2]
    rest = (await caller.ask(LIST, first=2, after=first["pageInfo"]["endCursor"]))["problems"]
    assert ([one["id"] for one in rest["nodes"]], rest["pageInfo"]["hasNextPage"]) == (ids[2:], False)
    last = (await caller.ask(LIST, last=1))["problems"]
    assert ([one["id"] for one in last["nodes"]], last["pageInfo"]["hasPreviousPage"]) == (ids[2:], True)
    assert await caller.code(LIST, after="nonsense") == "INVALID_INPUT"


async def test_every_filter_filters(caller: Caller, factory: RecordFactory) -> None:
    refused = problem_id(await factory.problem(caller))
    mild = problem_id(await factory.problem(caller, integration="smtp", code="SMTP_UNREACHABLE", severity="WARNING"))
    over = problem_id(await factory.problem(caller, closed_at=datetime.now(UTC), closed_by="PROBE", integration=None))
    for filter, wanted in (
        ({}, [mild, refused]),
        ({"isOpen": True}, [mild, refused]),
        ({"isOpen": False}, [over]),
        ({"isOpen": None}, [over, mild, refused]),
        ({"severities": ["WARNING"]}, [mild]),
        ({"severities": []}, []),
        ({"integrations": ["TWILIO"]}, [refused]),
        ({"codes": ["SMTP_UNREACHABLE", "OTHER"]}, [mild]),
        ({"codes": ["TWILIO_REFUSES_US"], "isOpen": None}, [over, refused]),
    ):
        assert await found(caller, **filter) == wanted, filter


async def test_problems_of_other_tenants_and_of_the_installation_are_not_there(
    caller: Caller, stranger: Caller, installation: Caller, factory: RecordFactory
) -> None:
    own = problem_id(await factory.problem(caller))
    whole = problem_id(await factory.problem(caller, tenant_id=OPERATOR))
    assert await found(caller) == [own]
    assert await found(stranger) == []
    shown = await found(installation)
    assert (whole in shown, own in shown) == (True, False)
    node = "query ($id: ID!) { node(id: $id) { id } }"
    for reader, id, is_found in (
        (caller, own, True),
        (caller, whole, False),
        (stranger, own, False),
        (installation, whole, True),
        (installation, own, False),
    ):
        assert (await reader.ask(node, id=id))["node"] == ({"id": id} if is_found else None)


async def test_reading_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ, Scope.OPERATIONS_WRITE}))
    assert await reader.code(LIST) == "FORBIDDEN"
    assert await anonymous.code(LIST) == "UNAUTHENTICATED"
