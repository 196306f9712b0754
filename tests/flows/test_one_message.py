"""One message on each channel: accepted, sent, reported by a signed webhook, published to subscribers."""

import asyncio
import json

import pytest

from tests.helpers import until
from tests.running_system import SEND, System


async def test_an_sms_is_accepted_sent_reported_and_published(system: System, phone: str) -> None:
    message_id = await system.sms(phone, "Olá, Ana! Seu pedido saiu.")
    async with system.watch(message_id) as watch:
        first = await watch.next()
        assert (first["previousStatus"], first["message"]["id"]) == (None, message_id)
        if first["message"]["status"] != "DELIVERED":
            await watch.statuses_until("DELIVERED")
    assert await system.changes(message_id) == ["QUEUED", "SENDING", "SENT", "DELIVERED"]
    [taken] = await system.control.messages("twilio", to=phone)
    assert taken["body"] == "Olá, Ana! Seu pedido saiu."


async def test_an_email_is_sent_to_the_mailbox(system: System) -> None:
    async with system.watch() as watch:
        message_id = await system.email("ana@example.com", "Olá, Ana: já saiu")
        statuses = []
        while statuses[-1:] != ["SENT"]:
            change = await watch.next()
            if change["message"]["id"] == message_id:
                statuses.append(change["event"]["status"])
    # The subscription may begin a moment after the mutation; from then on it has every change.
    assert statuses == ["QUEUED", "SENDING", "SENT"][-len(statuses) :]
    assert await system.changes(message_id) == ["QUEUED", "SENDING", "SENT"]
    mail = (await system.control.messages("smtp", to="ana@example.com"))[-1]
    assert (mail["subject"], mail["missing"]) == ("Olá, Ana: já saiu", [])
    assert mail["list_unsubscribe"] is None
    assert mail["headers"]["date"].endswith(" +0000")
    assert "Oi, Ana" in mail["text"]
    assert "<p>Oi, Ana</p>" in mail["html"]


async def test_every_character_reaches_the_provider_as_it_was_written(system: System, phone: str) -> None:
    words = "R$\u00a0150 👩\u200d💻 \U0001fac8 שלום\u200e می\u200cخواهم auto\u00admático\u2066x\u2069"
    text = f"{words}\n\t{words}"
    sms = await system.sms(phone, text)
    await system.control.inbound("whatsapp", sender=phone, text="Oi")
    chat = await system.send(to={"phone": phone}, content={"text": text}, route=[{"channel": "WHATSAPP"}])
    mail = await system.email("marks@example.com", words)
    for message, statuses in {sms: ["DELIVERED"], mail: ["SENT"], chat: ["SENT", "DELIVERED", "READ"]}.items():
        await until(lambda message=message: system.status(message), statuses.__contains__)
    [taken] = await system.control.messages("twilio", to=phone)
    assert taken["body"] == text
    [taken] = await system.control.messages("whatsapp", to=phone)
    assert taken["text"] == text
    [taken] = await system.control.messages("smtp", to="marks@example.com")
    assert taken["subject"] == words


async def test_a_subscription_starts_with_the_present_state_and_then_has_each_change_once(
    system: System, phone: str
) -> None:
    await system.control.plan_webhooks("twilio", automatic=False)
    try:
        message_id = await system.sms(phone)
        await system.comes_to(message_id, "SENT")
        async with system.watch(message_id) as watch:
            opening = await watch.next()
            assert (opening["event"]["status"], opening["previousStatus"]) == ("SENT", None)
            [taken] = await system.control.messages("twilio", to=phone)
            await system.control.report("twilio", taken["sid"], "delivered")
            change = await watch.next()
        assert (change["previousStatus"], change["event"]["status"]) == ("SENT", "DELIVERED")
    finally:
        await system.control.plan_webhooks("twilio")


async def test_server_sent_events_carry_the_same_changes(system: System, phone: str) -> None:
    message_id = await system.sms(phone)
    query = f'subscription {{ messageStatusChanged(filter: {{ids: ["{message_id}"]}}) {{ event {{ status }} }} }}'
    seen: list[str] = []
    headers = {"accept": "text/event-stream"}
    async with (
        asyncio.timeout(10),
        system.http.stream("POST", "/graphql", json={"query": query}, headers=headers) as stream,
    ):
        async for line in stream.aiter_lines():
            if line.startswith("data: {"):
                seen.append(json.loads(line[6:])["data"]["messageStatusChanged"]["event"]["status"])
            if seen[-1:] == ["DELIVERED"]:
                break
    assert seen == sorted(seen, key=["QUEUED", "SENDING", "SENT", "DELIVERED"].index)


async def test_an_answer_of_a_customer_is_stored_as_a_message(system: System, phone: str) -> None:
    async with system.watch() as watch:
        await system.control.inbound("twilio", sender=phone, text="SIM, pode entregar")
        change = await watch.next()
    query = "query($id: ID!) { message(id: $id) { direction from content { ... on TextContent { text } } } }"
    message = (await system.ask(query, id=change["message"]["id"]))["message"]
    assert message == {"direction": "INBOUND", "from": phone, "content": {"text": "SIM, pode entregar"}}


async def test_a_repeated_idempotency_key_sends_once(system: System, phone: str) -> None:
    given = {
        "to": {"phone": phone},
        "content": {"text": "uma vez"},
        "route": [{"channel": "SMS"}],
        "idempotencyKey": phone,
    }
    answers = await asyncio.gather(*(system.ask(SEND, input=given) for _ in range(8)))
    payloads = [answer["sendMessage"] for answer in answers]
    assert len({payload["message"]["id"] for payload in payloads}) == 1
    assert sum(payload["isReplay"] for payload in payloads) == 7
    await system.comes_to(payloads[0]["message"]["id"], "DELIVERED")
    assert await system.copies(phone) == 1


@pytest.mark.parametrize(("address", "code"), [("nobody@example.com", "550 5.1.1"), ("spam@example.com", "554 5.7.1")])
async def test_a_mailbox_that_refuses_fails_the_message_with_its_code(system: System, address: str, code: str) -> None:
    shown = await system.comes_to(await system.email(address), "FAILED")
    assert shown["failure"]["providerCode"] == code
