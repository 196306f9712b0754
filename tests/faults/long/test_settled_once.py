"""F28: what is decided about a message whose fate is open, by a list, by a route or by a person, is decided once."""

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
    """An order that says the same as others do."""

    @property
    def input(self) -> dict[str, Any]:
        return {**super().input, "content": {"text": f"{CANARY} para todos"}}


@dataclass(frozen=True)
class Onward(Order):
    """WhatsApp, and SMS where nobody knows what became of that."""

    @property
    def input(self) -> dict[str, Any]:
        route = [{"channel": "WHATSAPP", "onUnconfirmed": "NEXT_CHANNEL"}, {"channel": "SMS"}]
        return {**super().input, "route": route}


async def ask(city: SystemUnderTest, document: str, base: str | None = None, **variables: Any) -> dict[str, Any]:
    """What the first tenant is answered; raises httpx.HTTPError where the answer is lost."""
    headers = {"authorization": f"Bearer {city.token(city.tenants[0])}"}
    async with httpx.AsyncClient(base_url=base or city.base, headers=headers, trust_env=False, timeout=20) as http:
        answer = (await http.post("/graphql", json={"query": document, "variables": variables})).json()
    assert "errors" not in answer, answer
    return dict(answer["data"])


async def count(city: SystemUnderTest, condition: str) -> int:
    """How many messages of ours are so."""
    query = f"SELECT count(*) FROM messages WHERE direction = 'OUTBOUND' AND ({condition})"
    return int((await city.cellar.fetch(query))[0][0])


async def status(city: SystemUnderTest, message_id: UUID) -> str:
    [row] = await city.cellar.fetch("SELECT status FROM messages WHERE id = $1", message_id)
    return str(row[0])


async def acts(city: SystemUnderTest, action: str) -> list[str]:
    """Which messages the audit says that this was done to, once for each event."""
    nodes = (await ask(city, ACTS, action=action))["auditEvents"]["nodes"]
    return sorted(node["targetId"] for node in nodes if node["outcome"] == "DONE")


def global_ids(traffic: Traffic) -> list[str]:
    return sorted(to_global_id("Message", acked.message_id.bytes) for acked in traffic.acked)


async def two_alike(city: SystemUnderTest, traffic: Traffic) -> tuple[UUID, UUID]:
    """Two messages alike, both in doubt: one that never arrived at Twilio, and one that Twilio has."""
    await city.control.plan_webhooks("twilio", hold=True)
    ids: list[UUID] = []
    for name, is_taken in (("lost", False), ("taken", True)):
        await city.control.arm("twilio", "reset", next=1, accepted=is_taken)
        acked = await traffic.insist(Alike(city.tenants[0], name, "SMS", "+5511983000001"))
        assert acked is not None
        ids.append(acked.message_id)
        await until(lambda: count(city, "status = 'UNCONFIRMED'"), lambda found: found == len(ids), PATIENCE)
    return ids[0], ids[1]


async def test_one_record_for_two_messages_alike_settles_neither(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "alike")
        lost, taken = await two_alike(city, traffic)
        looked_at = "status <> 'UNCONFIRMED' OR updated_at > unconfirmed_at"
        await until(lambda: count(city, looked_at), lambda found: found == 2, PATIENCE)
        assert [await status(city, one) for one in (lost, taken)] == ["UNCONFIRMED"] * 2
        await city.control.plan_webhooks("twilio")
        await city.control.release("twilio")
        # The other one is looked at again and again: that never comes to rest.
        await until(lambda: status(city, taken), lambda found: found == "DELIVERED", PATIENCE)
        evidence = await settle_and_check(city, traffic, seed=traffic.seed, calm=1)
        assert [evidence.messages[one]["status"] for one in (lost, taken)] == ["UNCONFIRMED", "DELIVERED"]
        assert count_copies(evidence) == {0: 1, 1: 1}


async def test_a_signed_report_takes_a_record_from_the_message_that_a_list_gave_it_to(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "corrected")
        lost, taken = await two_alike(city, traffic)
        # So far apart that nothing speaks against the list.
        await city.cellar.execute(
            "UPDATE attempts SET started_at = started_at - interval '2 hours' WHERE message_id = $1", taken
        )
        await until(lambda: status(city, lost), lambda found: found != "UNCONFIRMED", PATIENCE)
        assert await status(city, taken) == "UNCONFIRMED"
        await city.control.plan_webhooks("twilio")
        await city.control.release("twilio")
        await until(lambda: status(city, taken), lambda found: found == "DELIVERED", PATIENCE)
        evidence = await gather_evidence(city, traffic)
        assert [evidence.messages[one]["status"] for one in (lost, taken)] == ["UNCONFIRMED", "DELIVERED"]
        # What falls back is the one that had never been taken.
        [fallen] = breaches(evidence).pop("nothing_falls_back")
        assert fallen.startswith(str(lost))
        assert breaches(evidence).keys() == {"nothing_falls_back"}


async def second_api(city: SystemUnderTest) -> str:
    """Start another API beside the first; returns where it is found."""
    port = reserved_port()
    part = Process("api-2", ("serve", "--port", str(port)), city.api.environment, city.folder, city.api.nursery)
    city.leaving.push_async_callback(part.kill)
    await part.start()
    base = f"http://127.0.0.1:{port}"

    async def is_up() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
                return (await http.get(f"{base}/health/ready")).is_success
        except httpx.HTTPError:
            return False

    await until(is_up, bool, PATIENCE)
    return base


async def test_a_decision_told_again_sends_once(tmp_path: Path) -> None:
    """By two API processes at once, after its answer was lost, and when the message has long arrived."""
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        other = await second_api(city)
        traffic = sms_traffic(city, "decided by hand")
        await city.control.arm("twilio", "reset", next=NUMBER)
        await send(traffic, NUMBER)
        await until(lambda: count(city, "status = 'UNCONFIRMED'"), lambda found: found == NUMBER, PATIENCE)
        ids = global_ids(traffic)
        city.wires["ingress"].loses_answers = True
        vain = [asyncio.create_task(ask(city, SETTLE, id=id)) for id in ids[:2]]
        await until(lambda: count(city, "status <> 'UNCONFIRMED'"), lambda found: found == 2, PATIENCE)
        await city.wires["ingress"].heal()
        lost = await asyncio.gather(*vain, return_exceptions=True)
        assert all(isinstance(one, httpx.HTTPError) for one in lost), lost
        for _ in range(2):
            told = await asyncio.gather(*(ask(city, SETTLE, base, id=id) for id in ids for base in (None, other)))
            assert [one["settleMessage"] for one in told] == [
                {"message": {"id": id}, "errors": []} for id in ids for _ in range(2)
            ]
            await until(lambda: count(city, "status = 'DELIVERED'"), lambda found: found == NUMBER, PATIENCE)
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
        assert count_copies(evidence) == {1: NUMBER}
        assert {len(attempts) for attempts in evidence.attempts.values()} == {2}
        assert await acts(city, "settleMessage") == ids


async def test_a_refused_last_step_does_not_end_what_an_earlier_one_may_have_reached(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = Traffic(city, "refused behind a doubt")
        orders = [Onward(one.tenant, one.key, "WHATSAPP", one.to) for one in await answer_orders(city, NUMBER)]
        await until(lambda: city.cellar.fetch("SELECT 1 FROM inbox WHERE status = 'RECEIVED'"), _none, PATIENCE)
        await city.control.plan_webhooks("whatsapp", hold=True)
        await city.control.arm("whatsapp", "reset", always=True, accepted=True)
        await city.control.arm("twilio", "code", always=True, code="21211", status=400)
        await traffic.burst([*orders], at_once=8)
        refused = "SELECT 1 FROM attempts WHERE channel = 'SMS' AND outcome = 'REJECTED'"
        await until(lambda: city.cellar.fetch(refused), lambda rows: len(rows) == NUMBER, PATIENCE)
        assert await count(city, "status = 'UNCONFIRMED'") == NUMBER
        await city.control.plan_webhooks("whatsapp")
        await city.control.release("whatsapp")
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_ever(evidence, "FAILED") == 0
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
        assert count_copies(evidence) == {1: NUMBER}


def _none(rows: list[asyncpg.Record]) -> bool:
    return not rows


async def test_a_cancellation_whose_answer_is_lost_is_answered_alike_when_asked_again(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        [worker] = city.workers
        await worker.kill()
        traffic = sms_traffic(city, "canceled twice")
        await send(traffic, NUMBER)
        ids = global_ids(traffic)
        city.wires["ingress"].loses_answers = True
        vain = [asyncio.create_task(ask(city, CANCEL, id=id)) for id in ids]
        await until(lambda: count(city, "status = 'CANCELED'"), lambda found: found == NUMBER, PATIENCE)
        await city.api.kill()
        await city.wires["ingress"].heal()
        lost = await asyncio.gather(*vain, return_exceptions=True)
        assert all(isinstance(one, httpx.HTTPError) for one in lost), lost
        await city.api.start()
        await until(city.readiness, lambda found: found is not None, PATIENCE)
        told = await asyncio.gather(*(ask(city, CANCEL, id=id) for id in ids for _ in range(2)))
        assert [one["cancelMessage"] for one in told] == [{"message": {"status": "CANCELED"}, "errors": []}] * len(told)
        assert await acts(city, "cancelMessage") == ids
        await worker.start()
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"CANCELED": NUMBER}
        assert count_copies(evidence) == {0: NUMBER}
