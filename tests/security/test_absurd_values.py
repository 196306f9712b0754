"""Every argument of the schema with extreme values: never an INTERNAL, never a 500, never a traceback.

Numbers out of range, times at the ends of the calendar, lone surrogates, megabytes, deep nesting, and values of every
other type; cursors and ids in our format with other content.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
)
from sqlalchemy import text

from api.http.app import create_asgi_app
from api.http.health import Readiness
from core.access.sessions import DevelopmentTokens
from core.inbox.apply import apply_due_events
from core.ports import RawWebhook
from tests.apps import build_application
from tests.contract.providers import PROVIDERS, WEBHOOK_FIXTURES, WITH_WEBHOOKS, fixture_body, signed_webhook
from tests.contributed import EVENT_TYPES
from tests.databases import SharedStores
from tests.edge.factories import client_of
from tests.house.sources import ROOT

Case = TypeVar("Case")

SCHEMA = build_schema((ROOT / "schema.graphql").read_text())


def coded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


OF_ANY_TYPE = [2**31, 2**63, 2**64 - 1, -1, 0, 1e308, True, "", [], {}, [[[]]], None, "x" * 100_000]
"""As JSON that our reader takes. What it refuses is looked at by itself, below."""
TEXTS = [
    "\x00",
    "a\x00b",
    "\u2028",
    "\U0010ffff",
    "9" * 5_000,
    "-1",
    "1e999",
    "NaN",
    "%s%n{0}{x}",
    "' OR 1=1 --",
    coded(b"Message:" + b"\xff" * 16),
    coded(b"MessageCursor:" + b"\x00" * 16),
    coded(b"Message:" + b"1" * 80),
    coded(b":"),
    coded("Mensagem é:\udcff".encode("utf-8", "surrogateescape")),
    "====",
]
MOMENTS = [
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "10000-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-11-30T24:00:00Z",
    "2026-11-30T12:00:00+99:99",
    "1969-12-31T23:59:59Z",
]
DURATIONS = ["P99999W", "P99999DT999999H99999999M9999999999S", "PT0S", "-PT1S", "P", "PT", "P1Y", "PT1e9S"]
SAMPLES: dict[str, Any] = {
    "ID": coded(b"Message:" + b"\x01" * 16),
    "PhoneNumber": "+5511987654321",
    "EmailAddress": "ana@example.com",
    "DateTime": "2030-01-01T00:00:00Z",
    "Duration": "PT1H",
    "Locale": "pt-BR",
    "Int": 1,
    "Float": 1.0,
    "Boolean": True,
    "String": "x",
    "JSON": {},
    "URL": "https://example.com",
    "TimeZone": "UTC",
    "CurrencyCode": "BRL",
}


def sample(kind: GraphQLInputType) -> Any:
    """A value that fits, as small as may be."""
    if is_non_null_type(kind):
        return sample(kind.of_type)
    if is_list_type(kind):
        return [sample(kind.of_type)]
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        if kind.is_one_of:
            name = next(iter(kind.fields))
            return {name: sample(kind.fields[name].type)}
        return {name: sample(field.type) for name, field in kind.fields.items() if is_required_input_field(field)}
    return SAMPLES[get_named_type(kind).name]


def spoiled(kind: GraphQLInputType, depth: int = 0) -> Iterator[Any]:
    """Values of a type with one absurd thing in them, each in its turn."""
    if is_non_null_type(kind):
        yield from spoiled(kind.of_type, depth)
    elif is_list_type(kind):
        yield from ([one] for one in spoiled(kind.of_type, depth))
        yield [sample(kind.of_type)] * 600
    elif isinstance(kind, GraphQLInputObjectType):
        if depth > 4:
            return
        for name, field in kind.fields.items():
            rest = {} if kind.is_one_of else sample(kind)
            yield from ({**rest, name: one} for one in spoiled(field.type, depth + 1))
    elif is_leaf_type(kind):
        name = get_named_type(kind).name
        # Types are refused alike wherever they stand: a few of them here, all where a field has them at its top.
        yield from OF_ANY_TYPE if depth < 2 else OF_ANY_TYPE[:3]
        yield from {"DateTime": MOMENTS, "Duration": DURATIONS, "Int": [], "Boolean": [], "Float": []}.get(name, TEXTS)


def operations(schema: GraphQLSchema) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every root field with every argument spoiled: its name, a document, and variables."""
    for word, root in (("query", schema.query_type), ("mutation", schema.mutation_type)):
        assert root is not None
        for name, field in root.fields.items():
            if not field.args or name.startswith("__"):
                continue
            document = _document(word, name, field)
            usual = {arg: sample(one.type) for arg, one in field.args.items() if is_required_input_field(one)}
            for arg, one in field.args.items():
                yield from ((name, document, {**usual, arg: value}) for value in spoiled(one.type))


def _document(word: str, name: str, field: GraphQLField) -> str:
    declared = ", ".join(f"${arg}: {one.type}" for arg, one in field.args.items())
    passed = ", ".join(f"{arg}: ${arg}" for arg in field.args)
    selected = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    return f"{word} Absurd({declared}) {{ {name}({passed}){selected} }}"


@pytest.fixture(scope="module")
async def client(stores: SharedStores) -> AsyncIterator[httpx.AsyncClient]:
    async with stores.database() as urls:
        application = build_application(urls, CALLER_BUDGET="1000000000", ADDRESS_BUDGET="0")
        transport = httpx.ASGITransport(create_asgi_app(application, Readiness(application)))
        headers = {"authorization": f"Bearer {DevelopmentTokens(b'k' * 32).make()}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7", headers=headers) as found:
            yield found
        await application.close()


def groups(cases: Iterable[Case], size: int = 8) -> Iterator[list[Case]]:
    """Cases that are sent at the same time, so that the stores are not waited for one by one."""
    remaining = iter(cases)
    while group := list(islice(remaining, size)):
        yield group


def wrong(answer: httpx.Response) -> str | None:
    """What is wrong with an answer: it must say that the caller erred, or do what was asked."""
    if answer.status_code >= 500:
        return f"{answer.status_code} {answer.text[:300]}"
    codes = {error["extensions"]["code"] for error in answer.json().get("errors", ())}
    return f"{codes} {answer.text[:300]}" if codes & {"INTERNAL", "TRY_AGAIN"} else None


async def test_no_value_of_any_argument_is_our_error(client: httpx.AsyncClient) -> None:
    tried, fields, bad = 0, set(), []
    for group in groups(operations(SCHEMA)):
        bodies = [json.dumps({"query": document, "variables": variables}) for _, document, variables in group]
        headers = {"content-type": "application/json"}
        answers = await asyncio.gather(*(client.post("/graphql", content=body, headers=headers) for body in bodies))
        for (name, _, _), body, answer in zip(group, bodies, answers, strict=True):
            fields.add(name)
            tried += 1
            if found := wrong(answer):
                bad.append(f"{name} {body[:300]}: {found}")
    assert not bad, f"{len(bad)} of {tried}: " + "\n".join(bad[:10])
    assert len(fields) > 20
    assert tried > 1_500


NUMBERS = [b"1" + b"0" * 400, b"-" + b"9" * 5_000, b"1e999", b"-1e999", b"NaN", b"Infinity", b"0x10", b"1" * 200_000]
BODIES = [
    *(
        b'{"query":"query Q($n: Int) { messages(first: $n) { nodes { id } } }","variables":{"n":%s}}' % one
        for one in NUMBERS
    ),
    *(b'{"query":"{ messages(first: %s) { nodes { id } } }"}' % one for one in NUMBERS),
    *(
        b'{"query":"{ __typename }","extensions":%s}' % one
        for one in (b"[" * 5_000, b'{"persistedQuery":[]}', b"1e999")
    ),
    b'{"query":"{ __typename }","query":"{ viewer }"}',
    b'{"query":"{ node(id: \\"\\ud800\\") { id } }"}',
    b'{"query":"query Q($i: ID!) { node(id: $i) { id } }","variables":{"i":"\\ud800"}}',
    b'{"query":"{ __typename }","variables":' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"}",
    b'{"query":' + b"[" * 100_000,
    b'{"query":"' + b"{a" * 5_000 + b'"}',
    b"\xff\xfe",
    b"\x00",
]


async def test_no_body_is_our_error(client: httpx.AsyncClient) -> None:
    for body in BODIES:
        answer = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
        assert wrong(answer) is None, body[:100]
        assert answer.status_code in (200, 400, 413), body[:100]
    for query in ("variables=%ff", "query=%00", "query={a}&variables=" + "[" * 5_000, "extensions=1e999&query={a}"):
        answer = await client.get(f"/graphql?{query}")
        assert wrong(answer) is None, query[:50]
        assert answer.status_code in (200, 400), query[:50]


# ─── webhooks ───────────────────────────────────────────────────────────────

LEAVES = ["\x00", "\ud800", "9" * 5_000, 10**400, -1, 1e308, True, None, "", [], {}, [[[]]], "x" * 10_000]


def spoiled_json(value: Any) -> Iterator[Any]:
    """A document with each of its values replaced, and each of its lists and objects."""
    yield from LEAVES
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: one} for one in spoiled_json(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], one, *value[place + 1 :]] for one in spoiled_json(inner))


def spoiled_body(body: bytes) -> Iterator[bytes]:
    """A webhook's body, JSON or a form, with one absurd thing in it, each in its turn."""
    if not body.startswith(b"{"):
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
        for place, (name, _) in enumerate(pairs):
            for value in ("\x00", "9" * 5_000, "-1", "", "x" * 10_000, "\u2028", "😀" * 500):
                yield urlencode([*pairs[:place], (name, value), *pairs[place + 1 :]]).encode()
            yield urlencode([*pairs, (name, "twice")]).encode()
        return
    yield from (json.dumps(one).encode() for one in spoiled_json(json.loads(body)))
    yield from (b"[" * 10_000, b'{"a":' * 10_000, body + body, body.replace(b"{", b'{"type":1,"type":2,', 1))


async def post(client: httpx.AsyncClient, webhook: RawWebhook) -> httpx.Response:
    path = webhook.url.replace("https://api.example.com", "")
    return await client.post(path, content=webhook.body, headers=dict(webhook.headers))


async def test_no_content_of_a_signed_webhook_is_our_error(stores: SharedStores) -> None:
    """What is taken in is applied as well: nothing of it stops what comes behind it."""
    async with stores.database() as urls:
        settings = {name: value for one in WITH_WEBHOOKS for name, value in PROVIDERS[one].settings.items()}
        application = build_application(urls, **settings)
        worker = build_application(urls, **settings, DATABASE_URL=urls.worker)
        bad, tried = [], 0
        async with client_of(application) as client:
            for name, file in WEBHOOK_FIXTURES:
                for bodies in groups(islice(spoiled_body(fixture_body(name, file)), 0, None, 3)):
                    webhooks = [signed_webhook(name, body) for body in bodies]
                    answers = await asyncio.gather(*(post(client, webhook) for webhook in webhooks))
                    tried += len(answers)
                    bad += [
                        (name, file, answer.status_code, webhook.body[:200])
                        for webhook, answer in zip(webhooks, answers, strict=True)
                        if answer.status_code not in (204, 400, 401, 413)
                    ]
        assert not bad, bad[:5]
        assert tried > 1_000
        while await apply_due_events(worker.database, worker.sealer, worker.hub, EVENT_TYPES):
            pass
        async with worker.database.transaction() as connection:
            rows = await connection.execute(text("SELECT DISTINCT status, error FROM inbox WHERE error IS NOT NULL"))
        # Ignored, or waiting for a message that may still come: in our own words, not in an exception's.
        assert {(row.status, "no message is known" in row.error) for row in rows} <= {
            ("IGNORED", False),
            ("IGNORED", True),
            ("RECEIVED", True),
        }
        await application.close()
        await worker.close()
