"""A key change during a rolling restart: the API and one worker have the new key, another worker does not."""

import asyncio
from base64 import b64encode
from pathlib import Path
from uuid import UUID

import httpx

from core.access.sessions import DevelopmentTokens
from tests.databases import ENCRYPTION_KEY
from tests.faults.evidence import gather_evidence, wait_until_quiet
from tests.faults.invariants import breaches
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until

NUMBER = 10
TURNS = 3.0
"""Seconds within which a worker looks for work several times."""
NEW_KEY = b64encode(b"n" * 32).decode()
LIST = "query { messages(first: 50) { nodes { id status to content { __typename } } } }"


async def test_work_under_a_missing_key_waits_for_a_worker_that_has_it(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        late, early = system.workers
        for part in (system.api, *system.workers):
            await part.end()
        for part in (system.api, early):
            part.environment = {**part.environment, "ENCRYPTION_KEYS": f"k2:{NEW_KEY},k1:{ENCRYPTION_KEY}"}
        # Development tokens are signed with the first key.
        old_tokens, system.token = system.token, new_token  # type: ignore[method-assign]
        await system.api.start()
        await late.start()
        traffic = sms_traffic(system, "missing key")
        await until(system.readiness, lambda found: found is not None and found["parts"]["worker"]["ok"], 40)
        await send(traffic, NUMBER)
        await system.control.inbound("whatsapp", sender="+5511982000001", text="Oi")
        await until(lambda: unread(system), lambda found: found == 1, 20)
        await asyncio.sleep(TURNS)
        # The worker without the key neither began nor failed them, and they are still due.
        untouched = "SELECT count(*) FROM messages WHERE status = 'QUEUED' AND attempt_count = 0 AND due_at <= now()"
        assert (await system.stores.fetch(untouched))[0][0] == NUMBER
        assert (await system.stores.fetch("SELECT count(*) FROM inbox WHERE attempts = 0"))[0][0] == 1
        await early.start()
        await wait_until_quiet(system, 60)
        evidence = await gather_evidence(system, traffic)
        assert breaches(evidence) == {}
        assert set(count_statuses(evidence, traffic.accepted)) == {"DELIVERED"}
        assert await unread(system) == 0
        system.token = old_tokens  # type: ignore[method-assign]
        await a_list_is_served_by_a_process_without_the_key(system)


def new_token(tenant: UUID) -> str:
    return DevelopmentTokens(b"n" * 32).make(tenant=tenant)


async def unread(system: SystemUnderTest) -> int:
    [row] = await system.stores.fetch("SELECT count(*) FROM inbox WHERE status = 'RECEIVED'")
    return int(row[0])


async def a_list_is_served_by_a_process_without_the_key(system: SystemUnderTest) -> None:
    await system.api.end()
    system.api.environment = {**system.api.environment, "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}"}
    await system.api.start()
    await until(system.readiness, lambda found: found is not None, 40)
    headers = {"authorization": f"Bearer {system.token(system.tenants[0])}"}
    async with httpx.AsyncClient(base_url=system.base, headers=headers, trust_env=False, timeout=20) as http:
        answer = (await http.post("/graphql", json={"query": LIST})).json()
    nodes = answer["data"]["messages"]["nodes"]
    assert len(nodes) == NUMBER + 1
    assert [node["content"] for node in nodes] == [None] * len(nodes)
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"VALUE_UNREADABLE"}
