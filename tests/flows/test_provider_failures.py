"""Refusals, outages, lost answers, early, repeated and reversed reports, and killed workers."""

import asyncio
import signal
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.databases import SharedStores
from tests.helpers import until
from tests.running_system import Process, System, command, readiness, running_system
from tests.servers import free_port


async def test_a_number_that_twilio_refuses_fails_at_once(system: System) -> None:
    message_id = await system.sms("+15005550009")
    shown = await system.comes_to(message_id, "FAILED")
    assert shown["failure"] == {"reason": "INVALID_RECIPIENT", "party": "RECIPIENT", "providerCode": "21614"}
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["REJECTED"]


async def test_a_number_that_is_unreachable_fails_by_a_report(system: System) -> None:
    shown = await system.comes_to(await system.sms("+5511900030005"), "FAILED")
    assert shown["failure"]["providerCode"] == "30005"


async def test_an_outage_of_twilio_costs_another_attempt_and_no_message(system: System, phone: str) -> None:
    await system.control.arm("twilio", "rate_limit", next=1, to=phone, retry_after=1)
    message_id = await system.sms(phone)
    shown = await system.comes_to(message_id, "DELIVERED", 20)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["UNAVAILABLE", "ACCEPTED"]
    assert await system.copies(phone) == 1


async def test_a_greylisted_mailbox_accepts_the_second_try(system: System) -> None:
    shown = await system.comes_to(await system.email("grey@example.com"), "SENT", 20)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["UNAVAILABLE", "ACCEPTED"]


async def test_an_answer_lost_after_acceptance_is_settled_by_the_report_and_not_sent_twice(
    system: System, phone: str
) -> None:
    await system.control.arm("twilio", "reset", next=1, to=phone, accepted=True)
    message_id = await system.sms(phone)
    shown = await system.comes_to(message_id, "DELIVERED")
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["ACCEPTED"]
    assert await system.copies(phone) == 1


async def test_an_answer_lost_before_acceptance_leaves_the_message_unconfirmed(system: System, phone: str) -> None:
    await system.control.arm("twilio", "reset", next=1, to=phone)
    message_id = await system.sms(phone)
    shown = await system.comes_to(message_id, "UNCONFIRMED")
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["UNCONFIRMED"]
    assert await system.copies(phone) == 0


async def test_an_unreadable_answer_is_settled_by_the_report(system: System, phone: str) -> None:
    await system.control.arm("twilio", "garbage", next=1, to=phone, accepted=True)
    await system.comes_to(await system.sms(phone), "DELIVERED")
    assert await system.copies(phone) == 1


async def test_a_report_before_our_commit_is_not_lost(system: System, phone: str) -> None:
    """The reports arrive at once, and the answer to our call after them."""
    await system.control.plan_webhooks("twilio", delays=[0, 0])
    await system.control.arm("twilio", "timeout", next=1, to=phone, accepted=True, seconds=1)
    try:
        message_id = await system.sms(phone)
        await system.comes_to(message_id, "DELIVERED")
        await until(lambda: system.show(message_id), lambda shown: bool(shown["attempts"][0]["providerMessageId"]))
        assert (await system.show(message_id))["status"] == "DELIVERED"
    finally:
        await system.control.plan_webhooks("twilio")


async def test_repeated_and_reversed_reports_lead_to_the_right_status(system: System, phone: str) -> None:
    await system.control.plan_webhooks("twilio", copies=3, reversed=True)
    try:
        message_id = await system.sms(phone)
        await system.comes_to(message_id, "DELIVERED")
        # Wait for the last report, then look again.
        await until(
            lambda: system.control.journal(simulator="twilio", kind="webhook", to=phone), lambda sent: len(sent) >= 6
        )
        assert await system.status(message_id) == "DELIVERED"
        changes = await system.changes(message_id)
        assert changes[-1] == "DELIVERED"
        assert changes.count("DELIVERED") == 1
    finally:
        await system.control.plan_webhooks("twilio")


@pytest.mark.slow
async def test_a_worker_killed_after_acceptance_loses_nothing_and_sends_nothing_twice(
    system: System, phone: str
) -> None:
    await system.control.plan_webhooks("twilio", automatic=False)
    await system.control.arm("twilio", "timeout", next=1, to=phone, accepted=True)
    try:
        message_id = await system.sms(phone)
        await until(lambda: system.copies(phone), lambda copies: copies == 1)
        await system.worker.end(signal.SIGKILL)
        await system.worker.start()
        assert await system.status(message_id) == "SENDING"
        [taken] = await system.control.messages("twilio", to=phone)
        await system.control.report("twilio", taken["sid"], "delivered")
        await system.comes_to(message_id, "DELIVERED", 20)
        assert await system.copies(phone) == 1
    finally:
        await system.control.plan_webhooks("twilio")


@pytest.mark.slow
async def test_messages_accepted_without_a_worker_wait_for_one(system: System, phone: str) -> None:
    assert await system.worker.end(signal.SIGTERM) == 0
    # A worker killed by an earlier test would count as alive for 15 seconds.
    await forget_workers(system)
    message_id = await system.sms(phone)
    assert await readiness(system.http) == 503
    assert await system.status(message_id) == "QUEUED"
    await system.worker.start()
    await system.comes_to(message_id, "DELIVERED", 20)
    await until(lambda: readiness(system.http), lambda status: status == 200, 20)


async def test_a_forged_webhook_changes_nothing(system: System, phone: str) -> None:
    await system.control.plan_webhooks("twilio", automatic=False)
    try:
        message_id = await system.sms(phone)
        await system.comes_to(message_id, "SENT")
        [taken] = await system.control.messages("twilio", to=phone)
        form = {"MessageSid": taken["sid"], "MessageStatus": "delivered"}
        for headers in ({}, {"x-twilio-signature": "AAAA"}, {"x-twilio-signature": "ã"}):
            raw = {name: value.encode() for name, value in headers.items()}
            answer = await system.http.post("/webhooks/twilio?ref=x", data=form, headers=raw)
            assert answer.status_code == 401
        assert await system.status(message_id) == "SENT"
    finally:
        await system.control.plan_webhooks("twilio")


@pytest.mark.slow
async def test_without_redis_messages_are_sent_and_published(stores: SharedStores, phone: str, tmp_path: Path) -> None:
    dead = f"redis://127.0.0.1:{free_port()}/0"
    async with running_system(stores, tmp_path, is_ready=503, REDIS_URL=dead) as system:
        parts = (await system.http.get("/health/ready")).json()["parts"]
        assert not parts["redis"]["ok"]
        message_id = await system.sms(phone)
        async with system.watch(message_id) as watch:
            while (await watch.next())["message"]["status"] != "DELIVERED":
                pass
        assert await system.changes(message_id) == ["QUEUED", "SENDING", "SENT", "DELIVERED"]


@pytest.mark.slow
async def test_a_server_that_shuts_down_closes_its_streams(system: System) -> None:
    port = free_port()
    log = system.api.log.with_name("second.log")
    second = Process(command("serve", "--port", str(port)), system.environment, log)
    await second.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        await until(lambda: readiness(http), lambda status: status == 200, 30)
    other = System(
        f"http://127.0.0.1:{port}", system.token, second, system.worker, system.control, system.http, system.urls
    )
    async with other.watch() as watch:
        ending = asyncio.create_task(second.end())
        closed = asyncio.create_task(watch.socket.wait_closed())
        await asyncio.wait_for(closed, 10)
        assert await ending == 0
    assert "Traceback" not in log.read_text()


async def forget_workers(system: System) -> None:
    owner = await asyncpg.connect(system.urls.superuser)
    await owner.execute("DELETE FROM workers")
    await owner.close()
