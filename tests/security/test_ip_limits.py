"""Per-IP limits: the budget of anonymous callers, the client address behind proxies, and the headers of answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from api.database_commands import ApiKeyAdmin
from api.http.app import create_asgi_app
from api.http.health import Readiness
from api.http.ip_limit import TokenBuckets, TrustedProxies, limit_key
from api.http.limits import LARGEST_ON_CREDIT, MOST_ON_CREDIT, LimitsMiddleware
from core.access.api_key_lookup import KeyKind, generate_key
from core.access.api_keys import NewKey
from core.access.sessions import DevelopmentTokens
from core.ports.identity import DEFAULT_TENANT, Scope
from core.settings import CoreSettings, load
from tests.apps import build_application
from tests.databases import SharedStores, Urls
from tests.edge.factories import (
    CLERK_SETTINGS,
    FORM_HEADERS,
    UNREACHABLE_DATABASE,
    error_codes,
    twilio_report,
    twilio_signature,
)
from tests.providers.clerk_tokens import STRANGERS_KEY, claims, token
from tests.security.raw_http import BAD_TOKEN, GOOD_TOKEN, paths_of, serving, socket_close_code

WHO = {"query": "{ viewer { scopes } }"}
BUDGET = 40


@pytest.fixture(scope="module")
async def urls_here(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@asynccontextmanager
async def served(urls: Urls, **changes: str) -> AsyncIterator[LimitsMiddleware]:
    application = build_application(urls, **{"ADDRESS_BUDGET": str(BUDGET), **changes})
    yield create_asgi_app(application, Readiness(application))
    await application.close()


@asynccontextmanager
async def from_address(app: LimitsMiddleware, address: str = "192.0.2.1") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=(address, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as client:
        yield client


async def asked(client: httpx.AsyncClient, headers: Mapping[str, str] | None = None) -> int:
    return (await client.post("/graphql", json=WHO, headers=headers)).status_code


async def until_turned_away(client: httpx.AsyncClient, headers: Mapping[str, str] | None = None) -> int:
    """How many requests came through before the first that did not."""
    for number in range(BUDGET * 20):
        if await asked(client, headers) == 429:
            return number
    raise AssertionError("nobody was ever turned away")


# ─── budgets ────────────────────────────────────────────────────────────────


async def test_anonymous_calls_have_a_budget_per_minute_and_bad_credentials_cost_eleven_times_as_much(
    urls_here: Urls,
) -> None:
    async with served(urls_here) as app, from_address(app) as client, from_address(app, "192.0.2.2") as forger:
        assert BUDGET <= await until_turned_away(client) <= BUDGET + 2
        assert await until_turned_away(forger, BAD_TOKEN) <= BUDGET // 11 + 1


async def test_bad_credentials_of_an_address_lock_out_no_good_ones_behind_it(urls_here: Urls) -> None:
    """Three hundred forgeries of every kind, then a token, a key never seen before, a cookie, and a signed webhook."""
    application = build_application(urls_here, **{"ADDRESS_BUDGET": str(BUDGET), **CLERK_SETTINGS})
    books = ApiKeyAdmin(urls_here.app, application.sealer, DEFAULT_TENANT)
    made = [(await asyncio.to_thread(books.create, NewKey("n", KeyKind.LIVE, frozenset(Scope))))[1] for _ in range(2)]
    app = create_asgi_app(application, Readiness(application))
    unknown = generate_key(KeyKind.LIVE)[0]
    forged = ["nonsense", unknown, DevelopmentTokens(b"x" * 32).make(), token(key=STRANGERS_KEY), made[0][:-1]]
    async with from_address(app) as client:
        for number in range(300):
            assert await asked(client, {"authorization": f"Bearer {forged[number % len(forged)]}"}) in (401, 429)
        for good in (GOOD_TOKEN["authorization"], f"Bearer {made[0]}", f"Bearer {token(claims())}"):
            assert await asked(client, {"authorization": good}) == 200
        assert await asked(client, {"cookie": f"__session={token(claims())}"}) == 200
        assert (await client.get("/metrics", headers={"authorization": f"Bearer {made[1]}"})).status_code == 200
        # A caller without valid credentials is asked to retry later.
        for headers in (
            {},
            BAD_TOKEN,
            {"authorization": f"Bearer {unknown}"},
            {"cookie": "a=b"},
            {"authorization": "Basic x"},
        ):
            answer = await client.post("/graphql", json=WHO, headers=headers)
            assert (answer.status_code, error_codes(answer)) == (429, ["LIMIT_EXCEEDED"]), headers
        for path in ("/health/ready", "/metrics", "/nowhere"):
            assert (await client.get(path, headers=BAD_TOKEN)).status_code == 429, path
    await application.close()


async def test_forged_webhooks_lock_out_no_signed_ones_from_the_same_address(urls_here: Urls) -> None:
    async with served(urls_here, ADDRESS_BUDGET="1") as app, from_address(app) as client:

        async def post(signed: str, form: dict[str, str], name: str = "twilio") -> int:
            headers = {**FORM_HEADERS, "x-twilio-signature": signed}
            return (await client.post(f"/webhooks/{name}", content=urlencode(form), headers=headers)).status_code

        form = twilio_report()
        for _ in range(30):
            assert await post("nonsense", form) in (401, 429)
        assert await post("nonsense", form) == 429
        assert await post("nonsense", form, "nobody") == 429
        assert await post(twilio_signature(form), form) == 204
        # A request that would cost more than the budget is asked to retry, whoever signed it.
        large = {**twilio_report(), "Body": "x" * LARGEST_ON_CREDIT}
        assert await post(twilio_signature(large), large) == 429


async def test_a_slow_client_on_credit_is_displaced_and_does_not_block_good_credentials(urls_here: Urls) -> None:
    """A hundred webhooks whose bodies drip, then more: the oldest are turned away, a signed one is taken at once."""

    async def dripping() -> AsyncIterator[bytes]:
        yield b"MessageSid="
        await asyncio.sleep(30)

    async with served(urls_here, ADDRESS_BUDGET="1") as app, from_address(app) as client:
        form = twilio_report()
        headers = {**FORM_HEADERS, "x-twilio-signature": "nonsense", "content-length": "100"}
        while (await client.post("/webhooks/twilio", content=urlencode(form), headers=FORM_HEADERS)).status_code != 429:
            pass
        slow = [
            asyncio.create_task(client.post("/webhooks/twilio", content=dripping(), headers=headers))
            for _ in range(MOST_ON_CREDIT + 5)
        ]
        done, waiting = await asyncio.wait(slow, timeout=2)
        assert [one.result().status_code for one in done] == [429] * 5
        signed = {**FORM_HEADERS, "x-twilio-signature": twilio_signature(form)}
        assert (await client.post("/webhooks/twilio", content=urlencode(form), headers=signed)).status_code == 204
        # What the API is asked has places of its own.
        await until_turned_away(client)
        assert await asked(client, GOOD_TOKEN) == 200
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert app._on_credit == {}


async def test_a_browser_may_send_a_preflight_regardless_of_the_budget_of_its_address(
    urls_here: Urls,
) -> None:
    async with served(urls_here, CORS_ORIGINS="https://app.example.com") as app, from_address(app) as client:
        await until_turned_away(client)
        page = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
        asks = {**page, "access-control-request-headers": "authorization,content-type"}
        answer = await client.options("/graphql", headers=asks)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, page["origin"])
        assert (await client.options("/graphql", headers=page)).status_code == 429
        assert await asked(client, {**GOOD_TOKEN, "origin": page["origin"]}) == 200


async def test_a_socket_opens_with_good_credentials_regardless_of_the_budget_of_its_address(urls_here: Urls) -> None:
    async with serving(urls_here, ADDRESS_BUDGET="1") as (_, port):
        assert [await socket_close_code(port, "nonsense") for _ in range(3)] == [4403] * 3
        assert await socket_close_code(port, GOOD_TOKEN["authorization"].removeprefix("Bearer ")) == 0
        async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "connection_init"}))
            with pytest.raises(ConnectionClosedError):
                await socket.recv()
            assert socket.close_code == 1013


async def test_an_authenticated_caller_is_not_limited_by_address(urls_here: Urls) -> None:
    async with served(urls_here) as app, from_address(app) as client:
        assert {await asked(client, GOOD_TOKEN) for _ in range(BUDGET * 3)} == {200}
        assert (await client.get("/metrics", headers=GOOD_TOKEN)).status_code == 200


async def test_one_address_does_not_spend_the_budget_of_another(urls_here: Urls) -> None:
    async with served(urls_here) as app:
        async with from_address(app) as client:
            await until_turned_away(client)
        async with from_address(app, "192.0.2.2") as neighbour:
            assert await asked(neighbour) == 200


async def test_a_rejected_client_is_told_when_to_retry_in_the_form_it_reads(urls_here: Urls) -> None:
    async with served(urls_here, CORS_ORIGINS="https://app.example.com") as app, from_address(app) as client:
        await until_turned_away(client)
        headers = {"origin": "https://app.example.com", "accept": "application/graphql-response+json"}
        answer = await client.post("/graphql", json=WHO, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (
            429,
            "application/graphql-response+json; charset=utf-8",
        )
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        [error] = answer.json()["errors"]
        assert (error["extensions"]["code"], bool(error["extensions"]["requestId"])) == ("LIMIT_EXCEEDED", True)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        for path in ("/health/ready", "/graphiql", "/nowhere", "/metrics"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (429, "text/plain; charset=utf-8")
            assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_signed_webhooks_cost_nothing_and_forged_ones_end_by_and_by(urls_here: Urls) -> None:
    async with served(urls_here, ADDRESS_BUDGET="2") as app, from_address(app) as client:

        async def post(signed: str) -> int:
            headers = {**FORM_HEADERS, "x-twilio-signature": signed}
            return (await client.post("/webhooks/twilio", content=urlencode(form), headers=headers)).status_code

        form = twilio_report()
        assert {await post(twilio_signature(form)) for _ in range(30)} == {204}
        assert [await post("nonsense") for _ in range(3)] == [401, 401, 429]
        # Neither spends anything of what the address may ask of the API.
        assert await asked(client) == 200


async def test_no_budget_is_no_limit(urls_here: Urls) -> None:
    async with served(urls_here, ADDRESS_BUDGET="0") as app, from_address(app) as client:
        assert {await asked(client, BAD_TOKEN) for _ in range(50)} == {401}


def test_a_bucket_fills_evenly_and_never_beyond_a_minutes_worth() -> None:
    now = [0.0]
    buckets = TokenBuckets(60, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(60)] == [0.0] * 60
    assert buckets.take("a") == 1.0
    now[0] += 0.5
    assert buckets.take("a") == 0.5
    now[0] += 3_600
    assert [buckets.take("a") for _ in range(61)] == [0.0] * 60 + [1.0]
    buckets.charge("a", 1_000)
    assert buckets.take("a") == 61.0
    buckets.refund("a", 1_000)
    assert len(buckets) == 0


def test_buckets_are_never_more_than_they_may_be() -> None:
    buckets = TokenBuckets(10, most=100)
    for number in range(10_000):
        buckets.take(number)
    assert len(buckets) == 100


# ─── whose address it is ────────────────────────────────────────────────────


def seen(client: str | None, *forwarded: str, trusted: tuple[str, ...] = ()) -> str:
    proxies = TrustedProxies([ip_network(one) for one in trusted])
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    return str(proxies.address_of({"client": client and (client, 1), "headers": headers}))


INNER = ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("client", "forwarded", "trusted", "address"),
    [
        ("192.0.2.1", (), (), "192.0.2.1"),
        # No proxy is trusted unless named.
        ("192.0.2.1", ("198.51.100.7",), (), "192.0.2.1"),
        ("127.0.0.1", ("198.51.100.7",), (), "127.0.0.1"),
        ("192.0.2.1", ("198.51.100.7",), INNER, "192.0.2.1"),
        ("10.0.0.1", ("198.51.100.7",), INNER, "198.51.100.7"),
        # What the client wrote itself is further left.
        ("10.0.0.1", ("1.1.1.1, 198.51.100.7",), INNER, "198.51.100.7"),
        ("10.0.0.1", ("1.1.1.1", "198.51.100.7"), INNER, "198.51.100.7"),
        ("10.0.0.1", ("1.1.1.1, 198.51.100.7, 10.9.9.9",), INNER, "198.51.100.7"),
        ("10.0.0.1", ("10.1.1.1, 198.51.100.7, 10.9.9.9",), INNER, "198.51.100.7"),
        # An invalid entry ends the chain at the proxy that passed it on.
        ("10.0.0.1", ("1.1.1.1, nonsense",), INNER, "10.0.0.1"),
        ("10.0.0.1", ("",), INNER, "10.0.0.1"),
        ("10.0.0.1", ("1.1.1.1, unknown, 10.2.2.2",), INNER, "10.2.2.2"),
        ("10.0.0.1", ("198.51.100.7:4711",), INNER, "198.51.100.7"),
        ("fd00::1", ("[2001:db8::7]:4711",), INNER, "2001:db8::7"),
        ("::ffff:10.0.0.1", ("2001:db8::7",), INNER, "2001:db8::7"),
        ("10.0.0.1", ("::ffff:198.51.100.7",), INNER, "198.51.100.7"),
        ("fe80::1%eth0", (), (), "fe80::1"),
        (None, ("198.51.100.7",), INNER, "None"),
    ],
)
def test_the_client_address_is_the_one_a_trusted_proxy_saw(
    client: str | None, forwarded: tuple[str, ...], trusted: tuple[str, ...], address: str
) -> None:
    assert seen(client, *forwarded, trusted=trusted) == address


def test_a_household_of_ipv6_is_its_network() -> None:
    told = TrustedProxies()
    one, other, another = (
        limit_key(told.address_of({"client": (text, 1), "headers": []}))
        for text in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert one == other != another
    assert limit_key(None) == ""


async def test_a_forged_address_buys_nothing_and_a_proxys_word_does(urls_here: Urls) -> None:
    async with served(urls_here, TRUSTED_PROXIES="10.0.0.0/8") as app:
        async with from_address(app) as client:
            for number in range(BUDGET):
                await asked(client, {"x-forwarded-for": f"198.51.100.{number}"})
            assert await asked(client, {"x-forwarded-for": "203.0.113.9"}) == 429
        async with from_address(app, "10.0.0.1") as proxy:
            for _ in range(BUDGET):
                await asked(proxy, {"x-forwarded-for": "198.51.100.7"})
            assert await asked(proxy, {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}) == 429
            assert await asked(proxy, {"x-forwarded-for": "203.0.113.9"}) == 200


# ─── every answer ───────────────────────────────────────────────────────────

STANDING = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "strict-transport-security": "max-age=31536000",
}


def assert_fenced(answer: httpx.Response, told: str) -> None:
    missing = {name: value for name, value in STANDING.items() if answer.headers.get_list(name) != [value]}
    assert missing == {}, told
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1, told
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert part in policy[0], told
    # Only what is the same for all callers may be cached: the files of the Explorer, the page that explains errors.
    caching = answer.headers.get_list("cache-control")
    may_be_kept = told.partition(" ")[2].startswith(("/graphiql", "/docs/errors"))
    assert caching == ["no-store"] or (may_be_kept and len(caching) == 1), told


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "BREW"])
async def test_every_answer_of_every_route_is_fenced(urls_here: Urls, method: str) -> None:
    async with (
        served(urls_here, ADDRESS_BUDGET="0", DATABASE_URL=UNREACHABLE_DATABASE) as app,
        from_address(app) as client,
    ):
        statuses = set()
        for path in paths_of(app):
            for headers in ({}, GOOD_TOKEN, BAD_TOKEN):
                answer = await client.request(method, path, headers=headers)
                assert_fenced(answer, f"{method} {path}")
                statuses.add(answer.status_code)
    assert len(statuses) > 1


async def test_errors_are_fenced_too(urls_here: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: object) -> tuple[bool, dict[str, Any]]:
        raise RuntimeError("segredo")

    monkeypatch.setattr(Readiness, "report", broken)
    async with served(urls_here) as app, from_address(app) as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, "segredo" in answer.text) == (500, False)
        assert_fenced(answer, "GET /health/ready")
        answer = await client.get("/health/live", headers=[(f"x-{number}", "1") for number in range(120)])
        assert answer.status_code == 431
        assert_fenced(answer, "GET /health/live")
        await until_turned_away(client)
        assert_fenced(await client.post("/graphql", json=WHO), "POST /graphql")


async def test_browsers_are_held_to_https_only_where_the_world_comes_over_it(urls_here: Urls) -> None:
    async with served(urls_here, PUBLIC_BASE_URL="http://localhost:8000") as app, from_address(app) as client:
        assert "strict-transport-security" not in (await client.get("/health/live")).headers


async def test_rejected_clients_are_counted(urls_here: Urls) -> None:
    async with served(urls_here) as app, from_address(app) as client, from_address(app, "192.0.2.9") as other:
        before = (await other.get("/metrics", headers=GOOD_TOKEN)).text
        await until_turned_away(client)
        after = (await other.get("/metrics", headers=GOOD_TOKEN)).text
    name = 'interalpha_turned_away_total{reason="address"} '
    counts = [
        sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))
        for text in (before, after)
    ]
    assert counts[1] == counts[0] + 1


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.1,::/0", "10.0.0.1/8", "proxy.example.com", ","])
def test_trusted_proxies_are_named_and_never_all_addresses(text: str) -> None:
    [problem] = load(CoreSettings, {"TRUSTED_PROXIES": text}).problems
    assert problem.setting == "TRUSTED_PROXIES"
