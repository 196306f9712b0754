"""Injection: in every text argument, in headers, in templates, in statements."""

import asyncio
import email
import json
from email import policy
from typing import Any

import asyncpg
import httpx
import pytest
from graphql import GraphQLInputObjectType, GraphQLScalarType, build_schema, extend_schema, get_named_type, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from core.addresses import email_address
from core.errors import InvalidInput
from core.ports import Channel, EmailContent
from core.ports.content import check_content
from integrations.http_client import HttpClient
from integrations.smtp.mail import SenderHeaders, build_mail
from integrations.smtp.settings import Settings as SmtpSettings
from resolvers.schema import build_schema as build_ours
from tests.contract.providers import settings_of
from tests.edge.conftest import edge_urls, serving
from tests.edge.factories import Serving
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory
from tests.providers.factories import email as an_email
from tests.providers.servers import Connection, scripted_server
from tests.security.belongings import SHARED_TYPES, Belongings, belongings_of, rows_of_tenant
from tests.security.operations import OperationBuilder

pytestmark = pytest.mark.slow
__all__ = ["edge_urls", "serving"]

SCHEMA = build_ours()._schema
NUMBERS = {"Int", "Float", "Boolean"}
SCALARS = [name for name, one in SCHEMA.type_map.items() if isinstance(one, GraphQLScalarType) and name not in NUMBERS]
TARGETS = [target for target in OperationBuilder(SCHEMA).targets(*SCALARS) if target.operation != "subscription"]
PAYLOADS = [
    "' OR '1'='1",
    "'; DROP TABLE messages; --",
    "1) UNION SELECT subject FROM users --",
    "\\'; SELECT pg_sleep(9); --",
    "%' ESCAPE '",
    "$1",
    ":tenant_id",
    "ana@example.com\r\nBcc: eva@example.com",
    "Oi\r\n\r\n.\r\nMAIL FROM:<eva@example.com>",
    "+5511987654321\nTo: +5511999999999",
    "{{7*7}}{{ self.__init__.__globals__ }}${7*7}<%= 7*7 %>#{7*7}{0.__class__}",
    '"},"admin":true,{"x":"',
    "\x1b[2J\x1b[31m\u202e\u2028",
    "\x00",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
]


def test_there_are_arguments_for_text() -> None:
    assert {str(target) for target in TARGETS} >= {
        "sendMessage.input.content.text",
        "sendMessage.input.content.email.subject",
        "sendMessage.input.content.template.variables.value",
        "sendMessage.input.idempotencyKey",
        "node.id",
    }


async def test_a_text_is_only_text_in_every_argument(
    subtests: pytest.Subtests,
    operations: OperationBuilder,
    stranger: Caller,
    theirs: Belongings,
    caller: Caller,
    owner: asyncpg.Pool,
) -> None:
    for target in TARGETS:
        with subtests.test(str(target)):
            before = await rows_of_tenant(owner, caller.tenant)
            document = operations.document(target.operation, target.field)
            asked = [stranger.answer(document, **operations.variables(target, payload)) for payload in PAYLOADS]
            for payload, heard in zip(PAYLOADS, await asyncio.gather(*asked), strict=True):
                codes = [error.get("extensions", {}).get("code") for error in heard.errors]
                assert "INTERNAL" not in codes, (payload, heard.errors)
                told = json.dumps(heard.data, default=str)
                assert not any(id in told for id in theirs.every), payload
            assert await rows_of_tenant(owner, caller.tenant) == before


# ─── what would be attacked if it were there ────────────────────────────────

PLANTED = """
extend type Query { loot(id: ID!, like: String): Loot }
extend type Mutation { steal(input: [StealInput!]!): Loot }
extend type Subscription { watchLoot(near: StealInput): Loot }
type Loot implements Node { id: ID! weight: Int }
input StealInput { nested: DeeperInput, note: String }
input DeeperInput { lootId: ID!, url: URL }
"""


def test_a_field_that_is_new_is_attacked_from_its_birth() -> None:
    planted = OperationBuilder(extend_schema(SCHEMA, parse(PLANTED)))
    ours = OperationBuilder(SCHEMA)
    assert {str(target) for target in planted.targets()} - {str(target) for target in ours.targets()} == {
        "loot.id",
        "steal.input.nested.lootId",
        "watchLoot.near.nested.lootId",
    }
    assert {str(target) for target in planted.targets("String")} - {
        str(target) for target in ours.targets("String")
    } == {
        "loot.like",
        "steal.input.note",
        "watchLoot.near.note",
    }
    assert "loot_" not in planted.document("query", "loot")
    assert "Loot_id" in planted.document("query", "loot")


async def test_a_type_that_is_new_fails_until_it_is_said_how_to_make_one(
    caller: Caller, factory: RecordFactory
) -> None:
    planted = OperationBuilder(extend_schema(SCHEMA, parse(PLANTED)))
    made = (await belongings_of(caller, factory)).ids.keys() | SHARED_TYPES
    assert planted.node_types() - made == {"Loot"}


def addresses_taken(schema: Any) -> list[str]:
    """Arguments through which a caller could give an address that would then be fetched."""
    found = [str(target) for target in OperationBuilder(schema).targets("URL")]
    for type_ in schema.type_map.values():
        fields = type_.fields if isinstance(type_, GraphQLInputObjectType) else {}
        found += [f"{type_.name}.{name}" for name in fields if {"url", "uri", "link", "host"} & set(words(name))]
    return found


def words(name: str) -> list[str]:
    return "".join(f" {letter}" if letter.isupper() else letter for letter in name).lower().split()


def test_callers_can_give_no_address_that_is_fetched_here() -> None:
    """There is nothing to guard yet. The first such field needs a guard:

    HTTPS only, the name resolved once, no private address in any spelling, the connection made to the resolved
    address, no redirects, a limit of size and time.
    """
    assert addresses_taken(SCHEMA) == []
    assert addresses_taken(extend_schema(SCHEMA, parse(PLANTED))) == [
        "steal.input.nested.url",
        "watchLoot.near.nested.url",
        "DeeperInput.url",
    ]
    assert get_named_type(build_schema("type Query { a: String }").query_type.fields["a"].type).name == "String"  # type: ignore[union-attr]


# ─── e-mail ─────────────────────────────────────────────────────────────────

HEADERS = {
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "message-id",
    "mime-version",
    "subject",
    "to",
}
CRUMBS = ["\r", "\n", "\r\n", " ", "=?utf-8?q?", "=0D=0ABcc:", "?=", "a", "<", ">", ",", '"']
SPITEFUL = st.one_of(
    st.text(max_size=60),
    st.sampled_from(PAYLOADS),
    st.lists(st.sampled_from(CRUMBS), max_size=12).map("".join),
)


def smtp() -> SmtpSettings:
    found = settings_of("smtp")
    assert isinstance(found, SmtpSettings)
    return found


@settings(max_examples=60, deadline=None)
@given(subject=SPITEFUL, words=SPITEFUL, name=SPITEFUL)
def test_no_text_adds_a_header_or_a_recipient(subject: str, words: str, name: str) -> None:
    content = EmailContent(subject, words, words)
    try:
        to = email_address(f"{name}@example.com", path=[])
        check_content(content, Channel.EMAIL, path=[])
    except InvalidInput:
        to = email_address("ana@example.com", path=[])
    message = an_email(to=to.value)
    try:
        mail = build_mail(SenderHeaders.of(smtp()), message, content)
    except ValueError:
        return
    head, _, _ = mail.raw.partition(b"\r\n\r\n")
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    parsed = email.message_from_bytes(mail.raw, policy=policy.compat32)
    names = [key.lower() for key, _ in parsed.items()]
    assert set(names) <= HEADERS
    assert len(names) == len(set(names))
    assert mail.recipient.count("@") == 1
    assert not {"\r", "\n", " ", "<", ">", ","} & set(mail.recipient.replace('"', ""))


# ─── headers of HTTP ────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["x\r\nx-evil: 1", "x\nx-evil: 1", "x\rx-evil: 1", "x\0"])
@pytest.mark.parametrize("place", ["name", "value"])
async def test_a_header_of_ours_stays_on_its_line(value: str, place: str) -> None:
    requests: list[bytes] = []

    async def talk(line: Connection) -> None:
        requests.append(await line.request())
        await line.answer(200)

    async with scripted_server(talk) as wire:
        http = HttpClient("company")
        headers = {value: "1"} if place == "name" else {"authorization": value}
        with pytest.raises(ValueError):
            await http.call("GET", f"{wire.base}/", headers=headers)
        # An address cannot bring a header either.
        await http.call("GET", f"{wire.base}/a?b=%0d%0ax-evil:1", query={"c": value})
        await http.close()
    [request] = requests
    assert b"x-evil: 1" not in request
    assert request.count(b"\n") == request.count(b"\r\n")


ECHOED = [
    "origin",
    "x-request-id",
    "access-control-request-headers",
    "access-control-request-method",
    "accept",
    "accept-language",
    "host",
    "cookie",
    "x-forwarded-host",
    "content-type",
]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "GET"])
async def test_no_response_header_contains_text_of_the_request(serving: Serving, method: str) -> None:
    """As the application sees it: a server that lets line breaks through would change nothing."""
    async with serving() as client:
        for name in ECHOED:
            for evil in (b"x\r\nx-evil: 1", b"x\x00", b"https://evil.example\r\nset-cookie: a=b", b"\xe2\x80\xa8"):
                for path in ("/graphql", "/graphiql", "/%0d%0ax-evil:%201", "/webhooks/twilio%0d%0ax-evil:%201"):
                    answer = await client.request(method, path, headers=[(name.encode(), evil)])
                    assert_even(answer)


def assert_even(answer: httpx.Response) -> None:
    for key, value in answer.headers.raw:
        text = (key + value).decode("latin-1")
        assert text.isprintable(), answer.headers
        assert text.isascii(), answer.headers
        assert "evil" not in text, answer.headers
