"""WhatsApp: messages in an open service window, reports, messages of customers, and failures."""

from collections.abc import AsyncIterator

import pytest

from tests.helpers import until
from tests.running_system import System

ANA = "+5511987654321"
"""She wrote recently: the simulator starts with an open service window for her."""


async def whatsapp(system: System, phone: str, text: str = "Olá, Ana!", **more: object) -> str:
    route = more.pop("route", [{"channel": "WHATSAPP"}])
    return await system.send(to={"phone": phone}, content={"text": text}, route=route, **more)


@pytest.fixture
async def friend(system: System, phone: str) -> str:
    """A number for one test with an open service window; the rate for each recipient is limited."""
    await system.control.inbound("whatsapp", sender=phone, text="Oi")
    return phone


@pytest.fixture
async def usual_reports(system: System) -> AsyncIterator[None]:
    yield
    await system.control.plan_webhooks("whatsapp")


async def test_a_text_is_delivered_and_read(system: System) -> None:
    message_id = await whatsapp(system, ANA, "Seu pedido saiu. Até já! ❤")
    async with system.watch(message_id) as watch:
        while (await watch.next())["message"]["status"] not in ("DELIVERED", "READ"):
            pass
    changes = await system.changes(message_id)
    assert changes[:2] == ["QUEUED", "SENDING"]
    assert "DELIVERED" in changes
    shown = await system.show(message_id)
    assert shown["attempts"][0]["providerMessageId"].startswith("wamid.")


async def test_a_message_from_a_customer_is_stored(system: System, phone: str) -> None:
    async with system.watch() as watch:
        await system.control.inbound("whatsapp", sender=phone, text="Oi! Já saiu? ❤")
        while True:
            change = await watch.next()
            query = "query($id: ID!) { message(id: $id) { direction channel content { ... on TextContent { text } } } }"
            message = (await system.ask(query, id=change["message"]["id"]))["message"]
            if message["direction"] == "INBOUND":
                break
    assert message == {"direction": "INBOUND", "channel": "WHATSAPP", "content": {"text": "Oi! Já saiu? ❤"}}


async def test_after_a_message_from_the_customer_free_text_is_allowed(system: System, phone: str) -> None:
    closed = await system.comes_to(await whatsapp(system, phone), "FAILED")
    assert closed["failure"] == {
        "reason": "SESSION_WINDOW_CLOSED",
        "party": "CALLER",
        "providerCode": "131047",
    }
    await system.control.inbound("whatsapp", sender=phone, text="SIM")
    message_id = await whatsapp(system, phone, "Obrigado!")
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"))


async def test_a_message_that_whatsapp_refuses_is_sent_by_sms(system: System, phone: str) -> None:
    """Outside the service window free text is refused, and the route's next channel is used."""
    message_id = await whatsapp(system, phone, route=[{"channel": "WHATSAPP"}, {"channel": "SMS"}])
    shown = await system.comes_to(message_id, "DELIVERED", 20)
    assert len(shown["attempts"]) == 2
    [taken] = await system.control.messages("twilio", to=phone)
    assert taken["body"] == "Olá, Ana!"


async def test_repeated_reversed_and_batched_reports_lead_to_the_right_status(
    system: System, friend: str, usual_reports: None
) -> None:
    await system.control.plan_webhooks("whatsapp", copies=3, reversed=True)
    message_id = await whatsapp(system, friend)
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"))
    changes = await system.changes(message_id)
    assert changes == sorted(changes, key=["QUEUED", "SENDING", "SENT", "DELIVERED", "READ"].index)


async def test_an_answer_lost_after_acceptance_is_settled_by_the_report(system: System, friend: str) -> None:
    before = len(await system.control.messages("whatsapp", to=friend))
    await system.control.arm("whatsapp", "reset", next=1, to=friend, accepted=True)
    message_id = await whatsapp(system, friend, "uma vez")
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"))
    assert len(await system.control.messages("whatsapp", to=friend)) == before + 1


async def test_with_an_expired_token_the_message_waits_for_the_operator(system: System, friend: str) -> None:
    await system.control.arm("whatsapp", "code", next=1, to=friend, code="190")
    message_id = await whatsapp(system, friend)
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"), 20)
    shown = await system.show(message_id)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["UNAVAILABLE", "ACCEPTED"]


LAST = """
{ messages(first: 1, filter: {direction: INBOUND}) {
  nodes { id from content { ... on TextContent { text } } inReplyTo { id } }
} }"""
BIA = "BR.1005511900000004"
"""She has a user name and shares no number."""


async def last_inbound(system: System, text: str) -> dict[str, object]:
    async def newest() -> dict[str, object]:
        nodes = (await system.ask(LAST))["messages"]["nodes"]
        return dict(nodes[0]) if nodes else {"content": None}

    return await until(newest, lambda message: message["content"] == {"text": text})


async def test_a_person_without_a_number_is_answered_by_id_with_the_quoted_message(system: System) -> None:
    received = await system.control.trigger("whatsapp", "whatsapp.inbound", sender=BIA, text="Vocês abrem hoje?")
    question = await last_inbound(system, "Vocês abrem hoje?")
    assert question["from"] == BIA
    message_id = await system.send(
        to={"whatsappUserId": question["from"]},
        content={"text": "Sim, até as 20 h"},
        route=[{"channel": "WHATSAPP"}],
        inReplyTo=question["id"],
    )
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"))
    query = "query($id: ID!) { message(id: $id) { to toMasked inReplyTo { id } } }"
    assert (await system.ask(query, id=message_id))["message"] == {
        "to": BIA,
        "toMasked": "BR.••••0004",
        "inReplyTo": {"id": question["id"]},
    }
    sent = (await system.control.messages("whatsapp", to=BIA))[-1]
    assert (sent["addressed_as"], sent["reply_to"]) == (BIA, received["message_id"])


async def test_an_answer_of_a_customer_refers_to_our_message(system: System) -> None:
    message_id = await whatsapp(system, ANA, "Podemos confirmar?")
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"))
    [attempt] = (await system.show(message_id))["attempts"]
    answered = attempt["providerMessageId"]
    await system.control.trigger("whatsapp", "whatsapp.inbound", sender=ANA, text="Confirmo!", message=answered)
    assert (await last_inbound(system, "Confirmo!"))["inReplyTo"] == {"id": message_id}
