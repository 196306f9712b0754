"""Webhooks at the HTTP edge: an accepted one is stored once and answered; a refused one is only counted."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api.http.webhooks import BODY_LIMIT
from core.access.sessions import DevelopmentTokens
from core.ports import Reference
from core.ports.identity import DEFAULT_TENANT
from tests.edge.factories import (
    FORM_HEADERS,
    TWILIO_WEBHOOK_URL,
    UNREACHABLE_DATABASE,
    UNREACHABLE_REDIS,
    Serving,
    twilio_report,
    twilio_signature,
)

PATH = "/webhooks/twilio"


async def post(client: httpx.AsyncClient, form: dict[str, str], query: str = "", **headers: str) -> httpx.Response:
    """A webhook as Twilio sends it; `headers` take the place of its own."""
    signed = {"x-twilio-signature": twilio_signature(form, TWILIO_WEBHOOK_URL + query)}
    return await client.post(PATH + query, content=urlencode(form), headers={**FORM_HEADERS, **signed, **headers})


async def rows_of(owner: asyncpg.Pool, form: dict[str, str]) -> list[asyncpg.Record]:
    rows = await owner.fetch("SELECT * FROM inbox WHERE dedupe_key LIKE $1", f"{form['MessageSid']}:%")
    return list(rows)


async def counted(client: httpx.AsyncClient, bearer: dict[str, str], result: str, provider: str = "twilio") -> float:
    text = (await client.get("/metrics", headers=bearer)).text
    name = f'interalpha_webhooks_total{{provider="{provider}",result="{result}"}} '
    return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
async def no_trace(owner: asyncpg.Pool) -> AsyncIterator[None]:
    """Nothing is stored meanwhile."""
    before = await owner.fetchval("SELECT count(*) FROM inbox")
    yield
    assert await owner.fetchval("SELECT count(*) FROM inbox") == before


async def test_a_signed_report_is_kept_sealed_and_answered(client: httpx.AsyncClient, owner: asyncpg.Pool) -> None:
    form = twilio_report(To="+5511987654321")
    answer = await post(client, form)
    assert (answer.status_code, answer.content) == (204, b"")
    [row] = await rows_of(owner, form)
    assert (row["integration"], row["event_type"], row["status"]) == ("twilio", "delivered", "RECEIVED")
    assert (row["tenant_id"], row["message_id"]) == (DEFAULT_TENANT, None)
    assert b"987654321" not in row["raw_sealed"] + row["event_sealed"]


async def test_a_report_belongs_to_whom_our_reference_names(client: httpx.AsyncClient, owner: asyncpg.Pool) -> None:
    form, reference = twilio_report(), Reference(uuid4(), uuid4(), 1)
    assert (await post(client, form, f"?ref={reference}")).status_code == 204
    [row] = await rows_of(owner, form)
    assert (row["tenant_id"], row["message_id"]) == (reference.tenant_id, reference.message_id)


@pytest.fixture
async def other_tenant(owner: asyncpg.Pool) -> UUID:
    tenant = uuid4()
    await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Another', 'UTC', 'EUR')", tenant, tenant.hex)
    await owner.execute("INSERT INTO senders VALUES ($1, 'twilio', $2)", tenant, f"+1{tenant.int % 10**10:010}")
    return tenant


async def test_what_people_write_belongs_to_whose_number_it_is(
    client: httpx.AsyncClient, owner: asyncpg.Pool, other_tenant: UUID
) -> None:
    theirs = await owner.fetchval("SELECT address FROM senders WHERE tenant_id = $1", other_tenant)
    for recipient, tenant in ((theirs, other_tenant), ("+15005550009", DEFAULT_TENANT)):
        form = twilio_report(MessageStatus="received", From="+5511987654321", To=recipient, Body="Oi")
        assert (await post(client, form)).status_code == 204
        [row] = await rows_of(owner, form)
        assert (row["tenant_id"], row["event_type"]) == (tenant, "received")


async def test_the_same_report_is_kept_once_and_answered_each_time(
    client: httpx.AsyncClient, owner: asyncpg.Pool, bearer: dict[str, str]
) -> None:
    form, before = twilio_report(), await counted(client, bearer, "duplicate")
    answers = await asyncio.gather(*(post(client, form) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {204}
    assert len(await rows_of(owner, form)) == 1
    assert await counted(client, bearer, "duplicate") == before + 9


async def test_the_signature_covers_the_public_address_even_behind_a_proxy(client: httpx.AsyncClient) -> None:
    answer = await post(client, twilio_report(), host="inner.example.com", **{"x-forwarded-host": "evil.example.com"})
    assert answer.status_code == 204


ANOTHER = twilio_report()
FORGED = {
    "unsigned": {"x-twilio-signature": ""},
    "signed with another token": {"x-twilio-signature": twilio_signature(ANOTHER, token="b" * 32)},
    "signed for another address": {"x-twilio-signature": twilio_signature(ANOTHER, "https://evil.example.com")},
    "signed for another body": {"x-twilio-signature": twilio_signature(twilio_report())},
    "signed with nonsense": {"x-twilio-signature": "nonsense"},
    "its body said to be JSON": {"content-type": "application/json"},
}


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("case", FORGED)
async def test_a_forged_webhook_is_refused_and_counted(
    client: httpx.AsyncClient, bearer: dict[str, str], case: str
) -> None:
    before = await counted(client, bearer, "forged")
    assert (await post(client, ANOTHER, **FORGED[case])).status_code == 401
    assert await counted(client, bearer, "forged") == before + 1


@pytest.mark.usefixtures("no_trace")
async def test_a_webhook_without_the_header_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, content=urlencode(twilio_report()), headers=FORM_HEADERS)).status_code == 401


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("given", [b"\xff\xfe", "assinatura-ção".encode(), b"\xb2"])
async def test_a_signature_that_is_not_ascii_is_merely_wrong(client: httpx.AsyncClient, given: bytes) -> None:
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"x-twilio-signature", given)]
    assert (await client.post(PATH, content=urlencode(twilio_report()), headers=headers)).status_code == 401


async def test_on_a_custom_port_a_signature_without_the_port_is_accepted(serving: Serving) -> None:
    for base, signed in (
        ("https://api.example.com:8443", "https://api.example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://API.example.com:8443/base/", "https://api.example.com/base"),
    ):
        async with serving(PUBLIC_BASE_URL=base) as client:
            for path in (f"{PATH}?ref=a.b", PATH, f"{PATH}/", f"{PATH}/?a=1"):
                form = twilio_report()
                given = {"x-twilio-signature": twilio_signature(form, signed + path)}
                answer = await client.post(path, content=urlencode(form), headers={**FORM_HEADERS, **given})
                assert answer.status_code == 204, (base, signed, path)
                elsewhere = {"x-twilio-signature": twilio_signature(form, f"https://api.example.org{path}")}
                answer = await client.post(path, content=urlencode(form), headers={**FORM_HEADERS, **elsewhere})
                assert answer.status_code == 401, (base, signed, path)


@pytest.mark.usefixtures("no_trace")
async def test_an_address_that_was_changed_on_the_way_is_refused(client: httpx.AsyncClient) -> None:
    form = twilio_report()
    headers = {**FORM_HEADERS, "x-twilio-signature": twilio_signature(form)}
    answer = await client.post(f"{PATH}?ref=another", content=urlencode(form), headers=headers)
    assert answer.status_code == 401


@pytest.mark.usefixtures("no_trace")
async def test_a_compressed_body_is_read_as_it_came_and_never_unpacked(client: httpx.AsyncClient) -> None:
    form = twilio_report(Body="x" * 1_000_000)
    headers = {**FORM_HEADERS, "content-encoding": "gzip", "x-twilio-signature": twilio_signature(form)}
    answer = await client.post(PATH, content=gzip.compress(urlencode(form).encode()), headers=headers)
    assert answer.status_code == 401


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 65_536):
        yield b"x" * 65_536


@pytest.mark.usefixtures("no_trace")
async def test_a_body_beyond_the_limit_is_refused_and_counted(
    client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    before = await counted(client, bearer, "too_big")
    announced = await client.post(PATH, content=b"x" * (BODY_LIMIT + 1), headers=FORM_HEADERS)
    streamed = await client.post(PATH, content=pieces(BODY_LIMIT + 65_536), headers=FORM_HEADERS)
    assert "content-length" not in streamed.request.headers
    assert announced.status_code == streamed.status_code == 413
    assert await counted(client, bearer, "too_big") == before + 2


async def test_a_body_at_the_limit_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, content=pieces(BODY_LIMIT), headers=FORM_HEADERS)).status_code == 401


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("length", ["\u00b2", "-1", "1e9", "9" * 5_000])
async def test_a_length_that_is_no_number_breaks_nothing(client: httpx.AsyncClient, length: str) -> None:
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-length", length.encode("latin-1"))]
    answer = await client.post(PATH, content=urlencode(twilio_report()), headers=headers)
    assert answer.status_code in (400, 401, 413)


@pytest.mark.usefixtures("no_trace")
@pytest.mark.parametrize("name", ["nobody", "smtp", "stripe", "..%2Ftwilio", "TWILIO", "%00"])
async def test_a_name_that_takes_no_webhooks_is_not_there(client: httpx.AsyncClient, name: str) -> None:
    form = twilio_report()
    headers = {**FORM_HEADERS, "x-twilio-signature": twilio_signature(form)}
    assert (await client.post(f"/webhooks/{name}", content=urlencode(form), headers=headers)).status_code == 404


async def test_unknown_integration_names_are_counted_as_one(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    before = await counted(client, bearer, "unknown", "unknown")
    for name in ("made-up", "another"):
        await client.post(f"/webhooks/{name}")
    assert await counted(client, bearer, "unknown", "unknown") == before + 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_for_webhooks(client: httpx.AsyncClient, method: str) -> None:
    assert (await client.request(method, PATH)).status_code == 405


async def test_during_a_database_outage_the_provider_is_asked_to_retry(
    serving: Serving, bearer: dict[str, str]
) -> None:
    async with serving(DATABASE_URL=UNREACHABLE_DATABASE) as client:
        before = await counted(client, bearer, "unavailable")
        assert (await post(client, twilio_report())).status_code == 503
        # A forged one is refused as before: that needs no database.
        assert (await post(client, twilio_report(), **{"x-twilio-signature": "nonsense"})).status_code == 401
        assert await counted(client, bearer, "unavailable") == before + 1


async def test_while_redis_is_away_webhooks_are_kept(serving: Serving, owner: asyncpg.Pool) -> None:
    form = twilio_report()
    async with serving(REDIS_URL=UNREACHABLE_REDIS) as client:
        assert (await post(client, form)).status_code == 204
    assert len(await rows_of(owner, form)) == 1


async def test_metrics_are_for_those_who_may_see_them(
    client: httpx.AsyncClient, bearer: dict[str, str], owner: asyncpg.Pool
) -> None:
    assert (await client.get("/metrics", headers=bearer)).status_code == 200
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic eDp5"}):
        answer = await client.get("/metrics", headers=headers)
        assert (answer.status_code, answer.content) == (401, b"")
    # They count what all tenants of the server do.
    anonymous, tenant = uuid4(), uuid4()
    stray, guest = (DevelopmentTokens(b"k" * 32).make(tenant=one) for one in (anonymous, tenant))
    assert (await client.get("/metrics", headers={"authorization": f"Bearer {stray}"})).status_code == 401
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, 'guest', 'Guest', 'UTC', 'BRL')",
        tenant,
    )
    assert (await client.get("/metrics", headers={"authorization": f"Bearer {guest}"})).status_code == 403
