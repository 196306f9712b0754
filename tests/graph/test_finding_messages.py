"""messages(filter:): by sender, recipient and external id; the content stays sealed."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from graphql import GraphQLInputObjectType
from sqlalchemy import event

from api.bootstrap import App
from core.ports.identity import Scope
from resolvers.schema import build_schema
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, global_id

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ANA, BIA, MAIL, USER = "+5511987654321", "+5521999998888", "Ana@Example.com", "BR.13491208655302741918"
_PLAINLY = "query ($filter: MessageFilter) { messages(filter: $filter) { nodes { id } } }"
FIND = """
query ($first: Int, $after: String, $filter: MessageFilter) {
  messages(first: $first, after: $after, filter: $filter) {
    totalCount nodes { id } pageInfo { hasNextPage endCursor }
  }
}
"""


async def found(caller: Caller, **condition: Any) -> list[str]:
    page = (await caller.ask(FIND, first=100, filter=condition))["messages"]
    assert page["totalCount"] == len(page["nodes"]), condition
    return [node["id"] for node in page["nodes"]]


async def test_messages_are_found_by_recipient_in_any_spelling(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    ana = global_id(await factory.message(caller, to=ANA))
    old = global_id(await factory.message(caller, to="+551187654321"))
    mail, user = [global_id(await factory.message(caller, to=one)) for one in (MAIL, USER)]
    wrote = global_id(await factory.message(caller, to="+5511333344444", sender=ANA))
    await factory.message(stranger, to=ANA, sender=ANA)
    numbers = (
        ANA,
        "+55 11 98765-4321",
        "+55 (11) 98765\u20114321",
        "+55\u00a011\u00a0987654321",
        "+551187654321",
        "+55 011 98765-4321",
    )
    for phone in numbers:
        assert await found(caller, to={"phone": phone}) == [old, ana], phone
        assert await found(caller, **{"from": {"phone": phone}}) == [wrote], phone
    for address in (MAIL, "ana@example.com", "ANA@EXAMPLE.COM"):
        assert await found(caller, to={"email": address}) == [mail], address
    assert await found(caller, to={"whatsappUserId": USER}) == [user]
    assert await found(caller, to={"phone": BIA}) == []
    assert await found(caller, to={"phone": ANA}, statuses=["FAILED"]) == []
    assert await found(caller, to={"phone": ANA}, **{"from": {"phone": ANA}}) == []


async def test_a_message_is_found_by_its_external_id_exactly(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    made = {
        name: global_id(await factory.message(caller, external_id=name))
        for name in ("order-1", "order-10", "ação 👩\u200d💻")
    }
    await factory.message(stranger, external_id="order-1")
    for name, id in made.items():
        assert await found(caller, externalId=name) == [id]
    for other in ("order", "ORDER-1", "order-1 ", "", "%", "x" * 5_000, "\x00", "\ud800"):
        assert await found(caller, externalId=other) == [], other
    assert await found(caller, externalId=None) == list(made.values())[::-1]


async def test_finding_by_address_needs_the_scope_that_reads_addresses(
    new_caller: NewCaller, factory: RecordFactory
) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ}))
    id = global_id(await factory.message(reader, to=ANA, external_id="order-1"))
    for name in ("to", "from"):
        assert await reader.code(FIND, filter={name: {"phone": ANA}}) == "FORBIDDEN"
    assert await found(reader, externalId="order-1") == [id]


async def test_an_address_that_is_none_is_refused_by_its_place(caller: Caller) -> None:
    cases = [
        ({"to": {"phone": "12"}}, "filter.to.phone", "PHONE_MALFORMED"),
        ({"to": {"phone": "11 98765-4321"}}, "filter.to.phone", "PHONE_LACKS_COUNTRY"),
        ({"from": {"email": "ana@"}}, "filter.from.email", "EMAIL_MALFORMED"),
        ({"to": {"whatsappUserId": "ana"}}, "filter.to.whatsappUserId", "WHATSAPP_USER_MALFORMED"),
    ]
    for condition, argument, reason in cases:
        [error] = (await caller.answer(FIND, filter=condition)).errors
        told = error["extensions"]
        assert (told["code"], told["argument"], told["reason"]) == ("INVALID_INPUT", argument, reason), condition
    for condition in ({"to": {}}, {"to": {"phone": ANA, "email": MAIL}}, {"to": {"phone": None}}):
        assert await caller.code(FIND, filter=condition) == "VARIABLES", condition


async def test_pages_of_one_person_join_while_messages_arrive(caller: Caller, factory: RecordFactory) -> None:
    made = [
        global_id(await factory.message(caller, at=NOON + timedelta(seconds=second), to=(ANA, BIA)[second % 2]))
        for second in range(10)
    ]
    seen: list[str] = []
    after = None
    while True:
        given = {"first": 2, "after": after, "filter": {"to": {"phone": ANA}}}
        page = (await caller.ask(FIND, **given))["messages"]
        seen += [node["id"] for node in page["nodes"]]
        await factory.message(caller, to=ANA)
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == made[::2][::-1]


async def test_finding_is_one_statement_on_an_index(
    caller: Caller, application: App, factory: RecordFactory, owner: asyncpg.Pool
) -> None:
    for number in range(300):
        await factory.message(caller, to=f"+55119{80000000 + number}", external_id=f"order-{number}")
    await factory.message(caller, to=ANA, sender=BIA)
    await owner.execute("ANALYZE messages; ANALYZE external_ids")
    cases = [
        ({"to": {"phone": ANA}}, "ix_messages_to"),
        ({"from": {"phone": BIA}}, "ix_messages_from"),
        ({"externalId": "order-7"}, "pk_external_ids"),
    ]
    for condition, index in cases:
        with _reads(application) as seen:
            await caller.ask(_PLAINLY, filter=condition)
        [(statement, parameters)] = seen
        plan = json.dumps(await owner.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters))
        assert index in plan, plan
        assert "Seq Scan" not in plan, plan


@contextmanager
def _reads(application: App) -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """Every statement about messages that the application runs meanwhile, with its parameters."""
    seen: list[tuple[str, Sequence[Any]]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Sequence[Any], *_: object) -> None:
        if "FROM messages" in statement:
            seen.append((statement, parameters))

    engine = application.database.engine.sync_engine
    event.listen(engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "after_cursor_execute", note)


def test_no_filter_searches_the_content_of_a_message() -> None:
    filter = build_schema()._schema.type_map["MessageFilter"]
    assert isinstance(filter, GraphQLInputObjectType)
    assert not {"search", "text", "content"} & filter.fields.keys()
