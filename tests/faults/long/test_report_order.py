"""Reports that are repeated, out of order, earlier than the commit, forged, or lost."""

import asyncio
from itertools import permutations
from pathlib import Path

import httpx

from tests.faults.runs import settle_and_check
from tests.faults.steps import PATIENCE, count_copies, count_statuses, count_taken_by_twilio, send, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.helpers import until

REPORTS = (("sent", None), ("delivered", None), ("undelivered", 30008), ("failed", 30008))


async def test_repeated_reversed_and_early_reports_lead_to_the_same_status(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, "five of each")
        await system.control.plan_webhooks("twilio", copies=5, reversed=True)
        await send(traffic, 30)
        await system.control.plan_webhooks("twilio", copies=2, delays=[0, 0])
        # The reports arrive long before the answer to the call.
        await system.control.arm("twilio", "timeout", always=True, accepted=True, seconds=3)
        await send(traffic, 30)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": 60}
        assert count_copies(evidence) == {1: 60}
        answers = {entry["status"] for entry in await system.control.journal(simulator="twilio", direction="webhook")}
        assert answers == {204}, "a copy is not an error"
        moves = [event for events in evidence.events.values() for event in events if event["source"] == "WEBHOOK"]
        changed = [event for event in moves if event["status"] != event["previous_status"]]
        assert len(changed) <= 2 * 60, "a repeated report changed a message more than once"
        repeated = "SELECT 1 FROM inbox GROUP BY message_id, event_type HAVING count(*) > 1"
        assert not await system.stores.fetch(repeated), "a repeated report was stored more than once"


async def test_reports_in_any_order_end_in_delivered(tmp_path: Path) -> None:
    orders = list(permutations(REPORTS))
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, "any order")
        await system.control.plan_webhooks("twilio", automatic=False)
        await send(traffic, len(orders))
        await until(lambda: count_taken_by_twilio(system), lambda found: found == len(orders), PATIENCE)
        for message, order in zip(await system.control.messages("twilio"), orders, strict=True):
            for word, code in order:
                await system.control.report("twilio", message["sid"], word, code)
        # Reports can overtake one another, so the last one that arrives is not the provider's last word.
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": len(orders)}


async def test_while_webhooks_cannot_reach_the_api_sending_continues_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, "no webhooks")
        for worker in system.workers:
            await worker.kill()
        await send(traffic, 60)
        system.proxies["ingress"].refuse()
        system.proxies["ingress"].cut(reset=True)
        await system.control.arm("twilio", "reset", every=6, accepted=True)
        for worker in system.workers:
            await worker.start()
        await until(lambda: count_taken_by_twilio(system), lambda found: found == 60, PATIENCE)
        await asyncio.sleep(10)
        await system.proxies["ingress"].heal()
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_copies(evidence) == {1: 60}, "every report was lost, and nothing is sent again for it"
        assert set(count_statuses(evidence)) <= {"SENT", "UNCONFIRMED", "DELIVERED"}
        assert count_statuses(evidence)["UNCONFIRMED"] <= 10


async def test_forged_webhooks_are_refused_and_store_nothing(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        signed = {"x-twilio-signature": "AAAA"}
        form = "application/x-www-form-urlencoded"
        cases: list[tuple[bytes, dict[str, str]]] = [
            (b"MessageSid=SM1&MessageStatus=delivered", {}),
            (b"MessageSid=SM1&MessageStatus=delivered", signed),
            (b"MessageSid=SM1", {"x-twilio-signature": "ã"}),
            (b"x" * 10_000_000, signed),
            (b"\x1f\x8b\x08\x00" + b"\x00" * 1_000, {**signed, "content-encoding": "gzip"}),
            (b"\xff\xfe%%%=&&&", signed),
        ]
        async with httpx.AsyncClient(base_url=system.base, trust_env=False, timeout=20) as http:
            for body, headers in cases:
                raw = {name: value.encode() for name, value in {**headers, "content-type": form}.items()}
                answer = await http.post("/webhooks/twilio?ref=x", content=body, headers=raw)
                assert 400 <= answer.status_code < 500, (answer.status_code, headers)
        [row] = await system.stores.fetch("SELECT count(*) FROM inbox")
        assert row[0] == 0
        assert "Traceback" not in system.api.log.read_text()
