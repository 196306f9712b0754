"""F15, F16 and F17: reports five times, in any order, before our own commit, forged, or lost with our door closed."""

import asyncio
from itertools import permutations
from pathlib import Path

import httpx

from tests.faults.runs import settle_and_check
from tests.faults.steps import PATIENCE, count_copies, count_statuses, count_taken_by_twilio, send, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.helpers import until

REPORTS = (("sent", None), ("delivered", None), ("undelivered", 30008), ("failed", 30008))


async def test_five_of_each_in_reverse_and_before_our_commit_end_the_same(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        traffic = sms_traffic(city, "five of each")
        await city.control.plan_webhooks("twilio", copies=5, reversed=True)
        await send(traffic, 30)
        await city.control.plan_webhooks("twilio", copies=2, delays=[0, 0])
        # The answer to our call comes long after its reports.
        await city.control.arm("twilio", "timeout", always=True, accepted=True, seconds=3)
        await send(traffic, 30)
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": 60}
        assert count_copies(evidence) == {1: 60}
        answers = {entry["status"] for entry in await city.control.journal(simulator="twilio", direction="webhook")}
        assert answers == {204}, "a copy is not an error"
        moves = [event for events in evidence.events.values() for event in events if event["source"] == "WEBHOOK"]
        changed = [event for event in moves if event["status"] != event["previous_status"]]
        assert len(changed) <= 2 * 60, "a report told five times moved a message more than once"


async def test_every_order_of_reports_ends_delivered(tmp_path: Path) -> None:
    orders = list(permutations(REPORTS))
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        traffic = sms_traffic(city, "any order")
        await city.control.plan_webhooks("twilio", automatic=False)
        await send(traffic, len(orders))
        await until(lambda: count_taken_by_twilio(city), lambda found: found == len(orders), PATIENCE)
        for message, order in zip(await city.control.messages("twilio"), orders, strict=True):
            for word, code in order:
                await city.control.report("twilio", message["sid"], word, code)
        # The last word of a company is not the last that reaches us: they travel on ways of their own.
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": len(orders)}


async def test_with_our_door_closed_sending_goes_on_and_nothing_is_doubled(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        traffic = sms_traffic(city, "door closed")
        for worker in city.workers:
            await worker.kill()
        await send(traffic, 60)
        city.wires["ingress"].refuse()
        city.wires["ingress"].cut(reset=True)
        await city.control.arm("twilio", "reset", every=6, accepted=True)
        for worker in city.workers:
            await worker.start()
        await until(lambda: count_taken_by_twilio(city), lambda found: found == 60, PATIENCE)
        await asyncio.sleep(10)
        await city.wires["ingress"].heal()
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_copies(evidence) == {1: 60}, "every report was lost, and nothing is sent again for it"
        assert set(count_statuses(evidence)) <= {"SENT", "UNCONFIRMED", "DELIVERED"}
        assert count_statuses(evidence)["UNCONFIRMED"] <= 10


async def test_forgeries_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
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
        async with httpx.AsyncClient(base_url=city.base, trust_env=False, timeout=20) as http:
            for body, headers in cases:
                raw = {name: value.encode() for name, value in {**headers, "content-type": form}.items()}
                answer = await http.post("/webhooks/twilio?ref=x", content=body, headers=raw)
                assert 400 <= answer.status_code < 500, (answer.status_code, headers)
        [row] = await city.cellar.fetch("SELECT count(*) FROM inbox")
        assert row[0] == 0
        assert "Traceback" not in city.api.log.read_text()
