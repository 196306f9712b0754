"""The verification request of a provider: answered in plain text if it has our token."""

import hmac
import json
from collections.abc import AsyncIterator
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.apps import UNREACHABLE
from tests.edge.factories import UNREACHABLE_DATABASE, Serving
from tests.servers import WHATSAPP

PATH = "/webhooks/whatsapp"
TOKEN = WHATSAPP["WHATSAPP_WEBHOOK_VERIFY_TOKEN"]
GREETING = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": TOKEN}


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {**WHATSAPP, "WHATSAPP_API_BASE": UNREACHABLE}


@pytest.fixture
async def listener(serving: Serving, configured: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(**configured) as found:
        yield found


async def test_a_request_with_our_token_gets_the_challenge_back(listener: httpx.AsyncClient) -> None:
    answer = await listener.get(PATH, params=GREETING)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_challenge_comes_back_letter_for_letter(listener: httpx.AsyncClient) -> None:
    challenge = "<script>ção & +%"
    answer = await listener.get(PATH, params={**GREETING, "hub.challenge": challenge})
    assert answer.text == challenge
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "changes",
    [{"hub.verify_token": "another"}, {"hub.verify_token": ""}, {"hub.mode": "x"}, {"hub.challenge": ""}],
)
async def test_a_request_without_our_token_is_refused_with_an_empty_body(
    listener: httpx.AsyncClient, changes: dict[str, str]
) -> None:
    answer = await listener.get(PATH, params={**GREETING, **changes})
    assert (answer.status_code, answer.content) == (403, b"")


@pytest.mark.parametrize(
    "query", ["", "hub.mode=subscribe", "%ff=%fe", "hub.verify_token=%ff&hub.mode=subscribe", "&&="]
)
async def test_a_question_that_is_none_is_refused(listener: httpx.AsyncClient, query: str) -> None:
    assert (await listener.get(f"{PATH}?{query}")).status_code == 403


async def test_of_two_tokens_both_are_not_tried(listener: httpx.AsyncClient) -> None:
    query = urlencode([*GREETING.items(), ("hub.verify_token", "another")])
    assert (await listener.get(f"{PATH}?{query}")).status_code == 403


async def test_a_provider_without_a_handshake_accepts_only_posts(client: httpx.AsyncClient) -> None:
    answer = await client.get("/webhooks/twilio", params=GREETING)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_name_that_takes_no_webhooks_is_not_there(client: httpx.AsyncClient) -> None:
    for name in ("nobody", "smtp", "whatsapp"):
        assert (await client.get(f"/webhooks/{name}", params=GREETING)).status_code == 404


async def test_no_database_is_needed_to_shake_hands(serving: Serving, configured: dict[str, str]) -> None:
    async with serving(**configured, DATABASE_URL=UNREACHABLE_DATABASE) as listener:
        assert (await listener.get(PATH, params=GREETING)).status_code == 200


async def test_handshakes_are_counted(listener: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    async def counted(result: str) -> float:
        text = (await listener.get("/metrics", headers=bearer)).text
        name = f'interalpha_webhooks_total{{provider="whatsapp",result="{result}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    before = await counted("handshake"), await counted("forged")
    await listener.get(PATH, params=GREETING)
    await listener.get(PATH, params={**GREETING, "hub.verify_token": "another"})
    assert (await counted("handshake"), await counted("forged")) == (before[0] + 1, before[1] + 1)


@pytest.mark.slow
async def test_a_webhook_of_the_largest_size_is_kept_whole(listener: httpx.AsyncClient, owner: asyncpg.Pool) -> None:
    run = uuid4().hex
    statuses = [{"id": f"wamid.{run}.{n}", "status": "sent", "filler": "x" * 200} for n in range(9_000)]
    value = {"metadata": {"phone_number_id": WHATSAPP["WHATSAPP_PHONE_NUMBER_ID"]}, "statuses": statuses}
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    signature = hmac.new(WHATSAPP["WHATSAPP_APP_SECRET"].encode(), body, "sha256").hexdigest()
    headers = {"x-hub-signature-256": f"sha256={signature}"}
    for _ in range(2):
        assert (await listener.post(PATH, content=body, headers=headers)).status_code == 204
    kept = await owner.fetchval("SELECT count(*) FROM inbox WHERE dedupe_key LIKE $1", f"wamid.{run}.%")
    assert kept == len(statuses)
    await owner.execute("DELETE FROM inbox WHERE dedupe_key LIKE $1", f"wamid.{run}.%")
