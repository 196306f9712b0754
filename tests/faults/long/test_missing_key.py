"""A key change in the middle of a rolling restart: the API and one worker have the new key, another worker has not."""

import asyncio
from base64 import b64encode
from pathlib import Path
from uuid import UUID

import httpx

from core.access.development_tokens import DevelopmentTokens
from tests.databases import ENCRYPTION_KEY
from tests.faults.evidence import gather_evidence, wait_until_quiet
from tests.faults.invariants import breaches
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until

NUMBER = 10
TURNS = 3.0
"""Seconds in which a worker looks for work several times."""
NEW_KEY = b64encode(b"n" * 32).decode()
LIST = "query { messages(first: 50) { nodes { id status to content { __typename } } } }"


async def test_what_a_worker_lacks_the_key_for_waits_for_one_that_has_it(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        late, early = city.workers
        for part in (city.api, *city.workers):
            await part.end()
        for part in (city.api, early):
            part.environment = {**part.environment, "ENCRYPTION_KEYS": f"k2:{NEW_KEY},k1:{ENCRYPTION_KEY}"}
        # Tokens of development are signed with the first key.
        old_tokens, city.token = city.token, new_token  # type: ignore[method-assign]
        await city.api.start()
        await late.start()
        traffic = sms_traffic(city, "missing key")
        await until(city.readiness, lambda found: found is not None and found["parts"]["worker"]["ok"], 40)
        await send(traffic, NUMBER)
        await city.control.inbound("whatsapp", sender="+5511982000001", text="Oi")
        await until(lambda: unread(city), lambda found: found == 1, 20)
        await asyncio.sleep(TURNS)
        # It neither began nor failed them, and they are due for whoever has the key.
        untouched = "SELECT count(*) FROM messages WHERE status = 'QUEUED' AND attempt_count = 0 AND due_at <= now()"
        assert (await city.cellar.fetch(untouched))[0][0] == NUMBER
        assert (await city.cellar.fetch("SELECT count(*) FROM inbox WHERE attempts = 0"))[0][0] == 1
        await early.start()
        await wait_until_quiet(city, 60)
        evidence = await gather_evidence(city, traffic)
        assert breaches(evidence) == {}
        assert set(count_statuses(evidence, traffic.acked)) == {"DELIVERED"}
        assert await unread(city) == 0
        city.token = old_tokens  # type: ignore[method-assign]
        await a_list_is_served_by_a_process_without_the_key(city)


def new_token(tenant: UUID) -> str:
    return DevelopmentTokens(b"n" * 32).make(tenant=tenant)


async def unread(city: SystemUnderTest) -> int:
    [row] = await city.cellar.fetch("SELECT count(*) FROM inbox WHERE status = 'RECEIVED'")
    return int(row[0])


async def a_list_is_served_by_a_process_without_the_key(city: SystemUnderTest) -> None:
    await city.api.end()
    city.api.environment = {**city.api.environment, "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}"}
    await city.api.start()
    await until(city.readiness, lambda found: found is not None, 40)
    headers = {"authorization": f"Bearer {city.token(city.tenants[0])}"}
    async with httpx.AsyncClient(base_url=city.base, headers=headers, trust_env=False, timeout=20) as http:
        answer = (await http.post("/graphql", json={"query": LIST})).json()
    nodes = answer["data"]["messages"]["nodes"]
    assert len(nodes) == NUMBER + 1
    assert [node["content"] for node in nodes] == [None] * len(nodes)
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"VALUE_UNREADABLE"}
