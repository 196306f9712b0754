"""An unconfirmed message is settled once, by a provider's list, by its route or by a person."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from resolvers.global_ids import to_global_id
from tests.faults.evidence import gather_evidence
from tests.faults.invariants import breaches
from tests.faults.processes import Process
from tests.faults.runs import settle_and_check
from tests.faults.steps import PATIENCE, answer_orders, count_copies, count_ever, count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import CANARY, Order, Traffic
from tests.helpers import until
from tests.servers import reserved_port

NUMBER = 4
SETTLE = """
mutation($id: ID!) {
  settleMessage(input: {id: $id, as: RESEND}) { message { id } errors { __typename ... on UserError { message } } }
}"""
CANCEL = """
mutation($id: ID!) {
  cancelMessage(input: {id: $id}) { message { status } errors { __typename ... on UserError { message } } }
}"""
ACTS = """
query($action: String!) { auditEvents(first: 50, filter: {action: $action}) { nodes { outcome targetId } } }"""


@dataclass(frozen=True)
class Alike(Order):
    """An order with the same text as others."""

    @property
    def input(self) -> dict[str, Any]:
        return {**super().input, "content": {"text": f"{CANARY} para todos"}}


@dataclass(frozen=True)
class Onward(Order):
    """An order for WhatsApp, then SMS where WhatsApp stays unconfirmed."""

    @property
    def input(self) -> dict[str, Any]:
        route = [{"channel": "WHATSAPP", "onUnconfirmed": "NEXT_CHANNEL"}, {"channel": "SMS"}]
        return {**super().input, "route": route}


async def ask(system: SystemUnderTest, document: str, base: str | None = None, **variables: Any) -> dict[str, Any]:
    """Send a request for the first tenant; raises httpx.HTTPError where the answer is lost."""
    headers = {"authorization": f"Bearer {system.token(system.tenants[0])}"}
    async with httpx.AsyncClient(base_url=base or system.base, headers=headers, trust_env=False, timeout=20) as http:
        answer = (await http.post("/graphql", json={"query": document, "variables": variables})).json()
    assert "errors" not in answer, answer
    return dict(answer["data"])


async def count(system: SystemUnderTest, condition: str) -> int:
    """Count the outbound messages for which a condition holds."""
    query = f"SELECT count(*) FROM messages WHERE direction = 'OUTBOUND' AND ({condition})"
    return int((await system.stores.fetch(query))[0][0])


async def status(system: SystemUnderTest, message_id: UUID) -> str:
    [row] = await system.stores.fetch("SELECT status FROM messages WHERE id = $1", message_id)
    return str(row[0])


async def acts(system: SystemUnderTest, action: str) -> list[str]:
    """Return the messages for which the audit records this action, once for each event."""
    nodes = (await ask(system, ACTS, action=action))["auditEvents"]["nodes"]
    return sorted(node["targetId"] for node in nodes if node["outcome"] == "DONE")


def global_ids(traffic: Traffic) -> list[str]:
    return sorted(to_global_id("Message", accepted.message_id.bytes) for accepted in traffic.accepted)


async def two_alike(system: SystemUnderTest, traffic: Traffic) -> tuple[UUID, UUID]:
    """Return two unconfirmed messages with the same text: one that Twilio never received, and one that it has."""
    await system.control.plan_webhooks("twilio", hold=True)
    ids: list[UUID] = []
    for name, is_taken in (("lost", False), ("taken", True)):
        await system.control.arm("twilio", "reset", next=1, accepted=is_taken)
        accepted = await traffic.send_until_answered(Alike(system.tenants[0], name, "SMS", "+5511983000001"))
        assert accepted is not None
        ids.append(accepted.message_id)
        await until(lambda: count(system, "status = 'UNCONFIRMED'"), lambda found: found == len(ids), PATIENCE)
    return ids[0], ids[1]


async def test_one_provider_record_for_two_similar_messages_settles_neither(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "alike")
        lost, taken = await two_alike(system, traffic)
        looked_at = "status <> 'UNCONFIRMED' OR updated_at > unconfirmed_at"
        await until(lambda: count(system, looked_at), lambda found: found == 2, PATIENCE)
        assert [await status(system, one) for one in (lost, taken)] == ["UNCONFIRMED"] * 2
        await system.control.plan_webhooks("twilio")
        await system.control.release("twilio")
        # The other message is looked at again and again, so the system does not become quiet.
        await until(lambda: status(system, taken), lambda found: found == "DELIVERED", PATIENCE)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed, limit=1)
        assert [evidence.messages[one]["status"] for one in (lost, taken)] == ["UNCONFIRMED", "DELIVERED"]
        assert count_copies(evidence) == {0: 1, 1: 1}


async def test_a_signed_report_corrects_what_a_provider_list_seemed_to_show(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "corrected")
        lost, taken = await two_alike(system, traffic)
        # So far apart that the list seems to show the lost one only.
        await system.stores.execute(
            "UPDATE attempts SET started_at = started_at - interval '2 hours' WHERE message_id = $1", taken
        )
        await until(lambda: status(system, lost), lambda found: found != "UNCONFIRMED", PATIENCE)
        assert await status(system, taken) == "UNCONFIRMED"
        await system.control.plan_webhooks("twilio")
        await system.control.release("twilio")
        await until(lambda: status(system, taken), lambda found: found == "DELIVERED", PATIENCE)
        evidence = await gather_evidence(system, traffic)
        assert [evidence.messages[one]["status"] for one in (lost, taken)] == ["UNCONFIRMED", "DELIVERED"]
        # The one that falls back is the one that Twilio never received.
        [fallen] = breaches(evidence).pop("no_status_falls_back")
        assert fallen.startswith(str(lost))
        assert breaches(evidence).keys() == {"no_status_falls_back"}


async def second_api(system: SystemUnderTest) -> str:
    """Start a second API; return its address."""
    port = reserved_port()
    process = Process(
        "api-2", ("serve", "--port", str(port)), system.api.environment, system.folder, system.api.fork_server
    )
    system.exit_stack.push_async_callback(process.kill)
    await process.start()
    base = f"http://127.0.0.1:{port}"

    async def is_up() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
                return (await http.get(f"{base}/health/ready")).is_success
        except httpx.HTTPError:
            return False

    await until(is_up, bool, PATIENCE)
    return base


async def test_a_repeated_decision_sends_once(tmp_path: Path) -> None:
    """At two API processes at once, after its answer was lost, and after the message was delivered."""
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        other = await second_api(system)
        traffic = sms_traffic(system, "decided by hand")
        await system.control.arm("twilio", "reset", next=NUMBER)
        await send(traffic, NUMBER)
        await until(lambda: count(system, "status = 'UNCONFIRMED'"), lambda found: found == NUMBER, PATIENCE)
        ids = global_ids(traffic)
        system.proxies["ingress"].loses_answers = True
        vain = [asyncio.create_task(ask(system, SETTLE, id=id)) for id in ids[:2]]
        await until(lambda: count(system, "status <> 'UNCONFIRMED'"), lambda found: found == 2, PATIENCE)
        await system.proxies["ingress"].heal()
        lost = await asyncio.gather(*vain, return_exceptions=True)
        assert all(isinstance(one, httpx.HTTPError) for one in lost), lost
        for _ in range(2):
            answers = await asyncio.gather(*(ask(system, SETTLE, base, id=id) for id in ids for base in (None, other)))
            assert [one["settleMessage"] for one in answers] == [
                {"message": {"id": id}, "errors": []} for id in ids for _ in range(2)
            ]
            await until(lambda: count(system, "status = 'DELIVERED'"), lambda found: found == NUMBER, PATIENCE)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
        assert count_copies(evidence) == {1: NUMBER}
        assert {len(attempts) for attempts in evidence.attempts.values()} == {2}
        assert await acts(system, "settleMessage") == ids


async def test_a_refused_last_step_leaves_an_unconfirmed_earlier_step_open(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = Traffic(system, "refused last step")
        orders = [Onward(one.tenant, one.key, "WHATSAPP", one.to) for one in await answer_orders(system, NUMBER)]
        await until(lambda: system.stores.fetch("SELECT 1 FROM inbox WHERE status = 'RECEIVED'"), _none, PATIENCE)
        await system.control.plan_webhooks("whatsapp", hold=True)
        await system.control.arm("whatsapp", "reset", always=True, accepted=True)
        await system.control.arm("twilio", "code", always=True, code="21211", status=400)
        await traffic.send_all([*orders], at_once=8)
        refused = "SELECT 1 FROM attempts WHERE channel = 'SMS' AND outcome = 'REJECTED'"
        await until(lambda: system.stores.fetch(refused), lambda rows: len(rows) == NUMBER, PATIENCE)
        assert await count(system, "status = 'UNCONFIRMED'") == NUMBER
        await system.control.plan_webhooks("whatsapp")
        await system.control.release("whatsapp")
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_ever(evidence, "FAILED") == 0
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
        assert count_copies(evidence) == {1: NUMBER}


def _none(rows: list[asyncpg.Record]) -> bool:
    return not rows


async def test_a_repeated_cancellation_has_the_same_answer(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        [worker] = system.workers
        await worker.kill()
        traffic = sms_traffic(system, "canceled twice")
        await send(traffic, NUMBER)
        ids = global_ids(traffic)
        system.proxies["ingress"].loses_answers = True
        vain = [asyncio.create_task(ask(system, CANCEL, id=id)) for id in ids]
        await until(lambda: count(system, "status = 'CANCELED'"), lambda found: found == NUMBER, PATIENCE)
        await system.api.kill()
        await system.proxies["ingress"].heal()
        lost = await asyncio.gather(*vain, return_exceptions=True)
        assert all(isinstance(one, httpx.HTTPError) for one in lost), lost
        await system.api.start()
        await until(system.readiness, lambda found: found is not None, PATIENCE)
        answers = await asyncio.gather(*(ask(system, CANCEL, id=id) for id in ids for _ in range(2)))
        assert [one["cancelMessage"] for one in answers] == [{"message": {"status": "CANCELED"}, "errors": []}] * len(
            answers
        )
        assert await acts(system, "cancelMessage") == ids
        await worker.start()
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"CANCELED": NUMBER}
        assert count_copies(evidence) == {0: NUMBER}
