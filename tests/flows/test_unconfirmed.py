"""Unconfirmed messages, deadlines, cancellations and retries on the running system."""

from typing import Any

import pytest

from tests.helpers import until
from tests.running_system import System

CHANGE = """
mutation($id: ID!) {
  %s(input: {id: $id}) { message { status } errors { __typename ... on InvalidStateError { state } } }
}"""
SMS, WHATSAPP = {"channel": "SMS"}, {"channel": "WHATSAPP"}


async def change(system: System, mutation: str, message_id: str) -> dict[str, Any]:
    return dict((await system.ask(CHANGE % mutation, id=message_id))[mutation])


@pytest.fixture
async def no_reports(system: System) -> Any:
    await system.control.plan_webhooks("twilio", drop=True)
    yield
    await system.control.plan_webhooks("twilio")


async def test_with_answer_and_reports_lost_the_provider_list_settles_the_message(
    system: System, phone: str, no_reports: None
) -> None:
    await system.control.arm("twilio", "reset", next=1, to=phone, accepted=True)
    message_id = await system.sms(phone)
    shown = await until(lambda: system.show(message_id), lambda one: one["status"] in ("SENT", "DELIVERED"), 20)
    assert any("list shows it" in (event["detail"] or "") for event in shown["events"]["nodes"])
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["ACCEPTED"]
    assert shown["attempts"][0]["providerMessageId"]
    assert await system.copies(phone) == 1


async def test_a_message_missing_from_the_provider_list_is_sent_again_if_its_route_says_so(
    system: System, phone: str
) -> None:
    await system.control.arm("twilio", "reset", next=1, to=phone)
    route = [SMS | {"onUnconfirmed": "RESEND"}]
    message_id = await system.send(to={"phone": phone}, content={"text": "Olá"}, route=route)
    shown = await system.comes_to(message_id, "DELIVERED", 20)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["UNCONFIRMED", "ACCEPTED"]
    assert await system.copies(phone) == 1


async def test_an_email_whose_confirmation_was_lost_is_sent_once_more_with_its_message_id(system: System) -> None:
    address = "perdida@example.com"
    await system.control.arm("smtp", "reset", next=1, to=address, accepted=True)
    message_id = await system.email(address)
    shown = await system.comes_to(message_id, "SENT", 20)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["UNCONFIRMED", "ACCEPTED"]
    mails = await system.control.messages("smtp", to=address)
    assert len(mails) == 2
    assert len({mail["message_id"] for mail in mails}) == 1


async def test_the_next_channel_is_used_after_the_deadline_and_a_late_report_still_counts(
    system: System, phone: str
) -> None:
    await system.control.inbound("whatsapp", sender=phone, text="Oi")
    await system.control.plan_webhooks("whatsapp", automatic=False)
    try:
        message_id = await system.send(
            to={"phone": phone}, content={"text": "Olá"}, route=[WHATSAPP | {"within": "PT2S"}, SMS]
        )
        shown = await system.comes_to(message_id, "DELIVERED", 20)
        assert len(shown["attempts"]) == 2
        [first] = await system.control.messages("whatsapp", to=phone)
        await system.control.report("whatsapp", first["id"], "read")
        await system.comes_to(message_id, "READ", 20)
        query = "query($id: ID!) { message(id: $id) { channel route { channel outcome } } }"
        assert (await system.ask(query, id=message_id))["message"] == {
            "channel": "WHATSAPP",
            "route": [
                {"channel": "WHATSAPP", "outcome": "DELIVERED"},
                {"channel": "SMS", "outcome": "DELIVERED"},
            ],
        }
    finally:
        await system.control.plan_webhooks("whatsapp")


async def test_a_canceled_scheduled_message_is_not_sent(system: System, phone: str) -> None:
    message_id = await system.sms(phone, schedule={"after": "PT2S"})
    assert await change(system, "cancelMessage", message_id) == {"message": {"status": "CANCELED"}, "errors": []}
    other = await system.sms(phone, "depois", schedule={"after": "PT3S"})
    await system.comes_to(other, "DELIVERED", 20)
    assert await system.copies(phone) == 1
    assert await system.status(message_id) == "CANCELED"
    [error] = (await change(system, "cancelMessage", other))["errors"]
    assert error == {"__typename": "InvalidStateError", "state": "DELIVERED"}


async def test_a_retry_calls_the_provider_again(system: System, phone: str) -> None:
    await system.control.arm("twilio", "code", next=1, to=phone, code="21610")
    message_id = await system.sms(phone)
    await system.comes_to(message_id, "FAILED")
    assert await system.copies(phone) == 0
    assert (await change(system, "retryMessage", message_id))["message"] == {"status": "QUEUED"}
    shown = await system.comes_to(message_id, "DELIVERED")
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["REJECTED", "ACCEPTED"]
    assert await system.copies(phone) == 1
