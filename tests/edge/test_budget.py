"""A caller's budget: counted over all processes, sent in headers, and refused when it is used up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.bootstrap import App
from api.database_commands import ApiKeyAdmin
from core.access.api_key_lookup import KeyKind
from core.access.api_keys import NewKey
from core.access.sessions import DevelopmentTokens
from core.ports.identity import Principal, Scope
from core.rate_limit import Budget
from engine.engine import Engine
from tests.databases import Urls
from tests.edge.factories import UNREACHABLE_REDIS, Serving
from tests.helpers import until

GRAPHQL = "application/graphql-response+json"
PAGE = "{ messages(first: 99) { nodes { status } } }"
WIDE = "{ messages(first: 100) { nodes { events(first: 100) { nodes { at } } } } }"


@pytest.fixture
async def redis(edge_urls: Urls) -> AsyncIterator[Redis]:
    async with Redis.from_url(edge_urls.redis) as found:
        yield found


async def test_processes_count_together(edge_urls: Urls) -> None:
    who = uuid4().hex
    async with Redis.from_url(edge_urls.redis) as one, Redis.from_url(edge_urls.redis) as other:
        budgets = [Budget(one), Budget(other)]
        found = await asyncio.gather(*(budgets[n % 2].spend(who, 100, 1_000) for n in range(15)))
    granted = [one for one in found if one.is_granted]
    assert len(granted) == 10
    assert all(one.wait > 0 for one in found if not one.is_granted)
    assert min(one.remaining for one in granted) < 100


async def test_a_budget_fills_again_as_time_passes(redis: Redis) -> None:
    budget, who = Budget(redis), uuid4().hex
    assert (await budget.spend(who, 6_000, 6_000)).remaining == 0
    refused = await budget.spend(who, 20, 6_000)
    # A hundred points a second: twenty are there after a fifth of one.
    assert (refused.is_granted, 0 < refused.wait <= 0.2) == (False, True)
    await until(lambda: budget.spend(who, 20, 6_000), lambda found: found.is_granted, 5)


async def test_what_is_refused_costs_nothing(redis: Redis) -> None:
    budget, who = Budget(redis), uuid4().hex
    assert (await budget.spend(who, 900, 1_000)).is_granted
    for _ in range(5):
        assert not (await budget.spend(who, 500, 1_000)).is_granted
    assert (await budget.spend(who, 100, 1_000)).is_granted


async def test_callers_have_each_their_own(redis: Redis) -> None:
    budget = Budget(redis)
    assert (await budget.spend(uuid4().hex, 100, 100)).is_granted
    assert (await budget.spend(uuid4().hex, 100, 100)).is_granted


async def test_with_the_store_away_a_process_counts_for_itself() -> None:
    async with Redis.from_url(UNREACHABLE_REDIS, retry=Retry(NoBackoff(), 0)) as nowhere:
        budget = Budget(nowhere)
        first = await budget.spend("ana", 600, 1_000)
        second = await budget.spend("ana", 600, 1_000)
        assert (first.is_granted, second.is_granted, (await budget.spend("bob", 600, 1_000)).is_granted) == (
            True,
            False,
            True,
        )
    assert 400 <= first.remaining <= 401
    assert 11 < second.wait <= 12


async def ask(client: httpx.AsyncClient, query: str, accept: str = GRAPHQL, **headers: str) -> httpx.Response:
    return await client.post("/graphql", json={"query": query}, headers={"accept": accept, **headers})


@pytest.fixture
def ana(application: App) -> dict[str, str]:
    """A caller with an unused budget."""
    assert isinstance(application.tokens, DevelopmentTokens)
    return {"authorization": f"Bearer {application.tokens.make(subject=uuid4().hex)}"}


async def test_the_remaining_budget_is_sent_with_every_answer(client: httpx.AsyncClient, ana: dict[str, str]) -> None:
    answer = await ask(client, PAGE, **ana)
    told = {name: text for name, text in answer.headers.items() if name.startswith("ratelimit")}
    assert told == {"ratelimit-limit": "60000", "ratelimit-remaining": "59900", "ratelimit-reset": "1"}
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("accept", [GRAPHQL, "application/json"])
async def test_the_viewer_and_the_headers_say_the_same(
    client: httpx.AsyncClient, ana: dict[str, str], accept: str
) -> None:
    answer = await ask(client, "{ viewer { rateLimit { limit remaining cost } } }", accept, **ana)
    assert answer.json()["data"]["viewer"]["rateLimit"] == {
        "limit": int(answer.headers["ratelimit-limit"]),
        "remaining": int(answer.headers["ratelimit-remaining"]),
        "cost": int(answer.headers["ratelimit-limit"]) - int(answer.headers["ratelimit-remaining"]),
    }


async def test_an_anonymous_caller_has_no_budget(client: httpx.AsyncClient) -> None:
    assert "ratelimit-limit" not in (await ask(client, PAGE)).headers


async def test_a_caller_over_budget_is_told_when_to_retry(serving: Serving, ana: dict[str, str]) -> None:
    async with serving(CALLER_BUDGET="250") as client:
        for _ in range(2):
            assert (await ask(client, PAGE, **ana)).status_code == 200
        refused = await ask(client, PAGE, **ana)
        plain = await ask(client, PAGE, "application/json", **ana)
        stream = await ask(client, PAGE, "text/event-stream", **ana)
        other = await ask(client, "{ __typename }", **ana)
    assert refused.status_code == 429
    # 50 points are left, 50 more take a fifth of a minute.
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    (error,) = refused.json()["errors"]
    assert "data" not in refused.json()
    found = error["extensions"]
    assert (found["code"], found["cost"], found["limit"]) == ("QUOTA_EXCEEDED", 100, 250)
    assert found["resetsAt"].endswith("Z")
    assert found["requestId"] == refused.headers["x-request-id"]
    # `application/json` has no word for it but the body's.
    assert (plain.status_code, plain.json()["errors"][0]["extensions"]["code"]) == (200, "QUOTA_EXCEEDED")
    assert b"QUOTA_EXCEEDED" in stream.content
    # What costs nothing is answered.
    assert other.status_code == 200


async def test_one_operation_that_costs_too_much_is_refused_and_not_paid_for(
    serving: Serving, ana: dict[str, str]
) -> None:
    async with serving(OPERATION_COST="1000") as client:
        refused = await ask(client, WIDE, **ana)
        (error,) = refused.json()["errors"]
        assert refused.status_code == 400
        assert (error["extensions"]["code"], error["extensions"]["limit"]) == ("LIMIT_EXCEEDED", "cost")
        assert (error["extensions"]["found"], error["extensions"]["allowed"]) == (10_201, 1_000)
        assert (await ask(client, PAGE, **ana)).headers["ratelimit-remaining"] == "59900"


async def test_the_caller_is_told_what_is_left(application: App) -> None:
    from api.http.quotas import Account, Meter
    from resolvers.errors import translate
    from resolvers.schema import build_schema

    caller = Principal(uuid4(), "ana", frozenset(Scope))
    meter = Meter(Budget(application.redis), 500, 500, 700)
    plan = Engine(build_schema()._schema, translate=translate).plan("{ __typename }")
    allowance = (await meter.admit(plan, None, caller)).allowance
    assert allowance is not None
    assert (allowance.limit, allowance.remaining, allowance.cost) == (500, 500, 0)
    key = replace(caller, api_key=uuid4())
    assert meter.account(key) == Account(f"{caller.tenant_id}:keys", 700)
    assert meter.account(replace(key, subject="key:another", api_key=uuid4())) == meter.account(key)
    assert meter.account(replace(key, tenant_id=uuid4())) != meter.account(key)


async def test_the_keys_of_a_tenant_share_one_account_however_many_there_are(
    serving: Serving, edge_urls: Urls, application: App, owner: asyncpg.Pool, ana: dict[str, str]
) -> None:
    tenant = uuid4()
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, $2, 'Keys', 'UTC', 'BRL')",
        tenant,
        tenant.hex,
    )
    key_admin = ApiKeyAdmin(edge_urls.app, application.sealer, tenant)
    secrets = [
        (await asyncio.to_thread(key_admin.create, NewKey(f"key {number}", KeyKind.LIVE, frozenset(Scope))))[1]
        for number in range(3)
    ]
    async with serving(TENANT_BUDGET="250") as client:
        answers = [await ask(client, PAGE, authorization=f"Bearer {secret}") for secret in secrets]
        # People have accounts of their own, of another size.
        assert (await ask(client, PAGE, **ana)).headers["ratelimit-limit"] == "60000"
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert {one.headers["ratelimit-limit"] for one in answers} == {"250"}
    assert int(answers[1].headers["ratelimit-remaining"]) < int(answers[0].headers["ratelimit-remaining"])
